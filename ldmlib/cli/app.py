"""The Typer application that every command of ``ldm`` registers with, and its entry point."""

from __future__ import annotations

import sys

import typer

from ldmlib.streams import open_standard_streams

app = typer.Typer(
    help="Latent diffusion models, small enough to read and fast enough for a laptop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; expected mistakes end in one clear sentence, not a traceback."""
    open_standard_streams()
    try:
        app()
    except (ValueError, TypeError, OSError, FloatingPointError, ImportError) as error:
        sys.exit(f"ldm: {error}")
