"""Checks of the notebooks' exercises: they say in words what is wrong, and never raise.

One module a notebook (`from ldmlib.check import forward as check`); `core` holds what they share.
"""
