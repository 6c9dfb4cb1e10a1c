"""ldmlib: latent diffusion models, small enough to read and fast enough for a laptop.

from ldmlib import LatentDiffusion
model = LatentDiffusion.from_pretrained("mnist")
pictures = model.sample(16, labels=3)        # (16, 1, 32, 32) in [-1, 1]
"""

from __future__ import annotations

import os
import sys

# PyTorch's OpenMP threads spin while they wait for work, 300,000 times unless told otherwise. When
# other programs run, they then take the cores from each other and become many times slower. A tenth
# of it costs nothing on a quiet machine. OpenMP reads this once, when torch is loaded.
if "torch" not in sys.modules and not os.environ.get("OMP_WAIT_POLICY"):
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

__version__ = "0.1.0"
__all__ = ["LatentDiffusion", "__version__"]


def __getattr__(name: str):
    if name == "LatentDiffusion":  # imported when first asked for: `import ldmlib` stays quick
        from ldmlib.latent.model import LatentDiffusion

        return LatentDiffusion
    raise AttributeError(f"module 'ldmlib' has no attribute {name!r}")
