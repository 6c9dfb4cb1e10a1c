"""``python -m ldmlib ...`` is the command ``ldm ...``."""

from ldmlib.cli import main

main()
