"""``ldm info``."""

from __future__ import annotations

from ldmlib.cli.app import app


@app.command()
def info() -> None:
    """Say what this machine has and which bundled models there are."""
    from ldmlib.environment import describe_environment
    from ldmlib.latent.model import BUNDLED

    print(describe_environment())
    print("bundled models: " + ", ".join(BUNDLED))
