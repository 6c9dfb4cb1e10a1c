"""The standard streams of a program, made safe to write to."""

from __future__ import annotations

import os
import sys

STREAMS = {0: ("stdin", "r"), 1: ("stdout", "w"), 2: ("stderr", "w")}


def open_standard_streams() -> None:
    """Put ``os.devnull`` where a standard stream is closed (``ldm ... 2>&-``), and let none fail
    at a character that its encoding lacks.

    Python sets a closed stream to None, at which progress bars fail. Its number is free as well,
    so that the next file to be opened would get it: what a C++ library writes to number 2, its
    standard error, would then end up in a picture or a checkpoint. So this is to be called before
    anything else is opened.
    """
    for number, (name, mode) in STREAMS.items():
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # for programs that are started from here
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's or a test's own stream may not have it
            stream.reconfigure(errors="backslashreplace")
