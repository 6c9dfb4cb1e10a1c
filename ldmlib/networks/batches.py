"""Apply a network to many pictures, a batch at a time."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def in_batches(function, x: Tensor, batch_size: int = 500) -> Tensor:
    """Apply `function` to x in batches, without gradients, and join the results."""
    return torch.cat([function(part) for part in x.split(batch_size)])
