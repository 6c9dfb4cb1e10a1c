"""The command ``ldm``: train, sample and score latent diffusion models from a terminal.

Each command has a file of its own, which registers it with the application in `ldmlib.cli.app`.
"""

# The order of these imports is the order in which ``ldm --help`` lists the commands.
from ldmlib.cli import edit, evaluate, info, sample, teach, train  # noqa: F401, I001
from ldmlib.cli.app import app, main
from ldmlib.cli.options import Sampler, Spacing

__all__ = ["Sampler", "Spacing", "app", "main"]
