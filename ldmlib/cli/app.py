"""The Typer application that every command of ``ldm`` registers with, and its entry point."""

from __future__ import annotations

import sys
import warnings

import typer

from ldmlib.cli.streams import open_standard_streams

app = typer.Typer(
    help="Latent diffusion models, small enough to read and fast enough for a laptop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def show_warnings_as_sentences() -> None:
    """Print each warning as ``ldm: warning: ...``, without the file and line that raised it."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if sys.stderr is not None:  # closed by the caller: nobody reads it
            print(f"ldm: warning: {message}", file=sys.stderr, flush=True)

    warnings.showwarning = show


def main() -> None:
    """Run the command line; expected mistakes end in one clear sentence, not a traceback."""
    open_standard_streams()
    show_warnings_as_sentences()
    try:
        app()
    except (ValueError, TypeError, OSError, FloatingPointError, ImportError) as error:
        sys.exit(f"ldm: {error}")
