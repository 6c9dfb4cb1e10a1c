"""How each bundled weight is made: ``python -m ldmlib.bundled``, or ``make weights``."""
