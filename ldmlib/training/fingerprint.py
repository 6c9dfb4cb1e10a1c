"""A few numbers for each picture, by which a checkpoint recognises the data of its training.

Latents are computed, and another processor or a GPU rounds them differently. So checkpoints do not
keep a hash of the data but four sums over each picture's values with random signs, and compare them
with a tolerance: rounding passes, another picture practically never does.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ldmlib.rng import seeded

SUMS = 4  # numbers for each picture
TOLERANCE = 0.05  # of the sums' spread over all pictures
PART = 2**24  # values that are worked off at a time


def fingerprint(x: Tensor, y: Tensor | None) -> dict[str, object]:
    """What a checkpoint keeps of pictures (or latents) x, (n, ...), and labels y, (n, ...) or None.

    Returns:
        ``shape`` of x, ``sums`` (n, 4) float32, and the labels' ``labels_shape`` and ``labels``, a
        hash, or None.
    """
    flat = x.detach().reshape(len(x), -1)
    signs = torch.randint(2, (flat.shape[1], SUMS), generator=seeded(0, 7)).float() * 2 - 1
    signs = (signs / max(1, flat.shape[1]) ** 0.5).to(x.device)
    part = max(1, PART // max(1, flat.shape[1]))
    sums = torch.cat([rows.float() @ signs for rows in flat.split(part)]).cpu()
    found: dict[str, object] = {"shape": list(x.shape), "sums": sums, "labels_shape": None}
    if y is None:
        return {**found, "labels": None}
    values = y.detach().cpu().contiguous()
    digest = hashlib.sha256(values.view(torch.uint8).numpy().tobytes()) if len(y) else None
    return {**found, "labels_shape": list(y.shape), "labels": digest and digest.hexdigest()}


def data_differences(then: dict, now: dict) -> str:
    """What differs between two fingerprints, in words for a message; empty if nothing does."""
    if then["shape"][0] != now["shape"][0]:
        return f"{then['shape'][0]:,} pictures there, {now['shape'][0]:,} here"
    if then["shape"] != now["shape"]:
        return f"shape {tuple(then['shape'])} there, {tuple(now['shape'])} here"
    tolerance = _tolerance(now["sums"])
    other = _far(then["sums"], now["sums"], tolerance)
    if bool(other.any()):
        ordered = [sums[other][sums[other][:, 0].argsort()] for sums in (then["sums"], now["sums"])]
        if float(_far(*ordered, tolerance).float().mean()) < 0.01:  # near ties may be swapped
            return "the same pictures, in another order"
        return f"{int(other.sum()):,} of {now['shape'][0]:,} pictures differ"
    if (then["labels"] is None) != (now["labels"] is None):
        return "labels there, none here" if now["labels"] is None else "no labels there, but here"
    return "the same pictures with other labels" if then["labels"] != now["labels"] else ""


def _tolerance(sums: Tensor) -> Tensor:
    """How much each of the four sums may differ for the pictures to count as the same."""
    spread = sums.std(0, correction=0)
    return torch.maximum(TOLERANCE * spread, 1e-3 * sums.abs().mean(0)) + 1e-6


def _far(a: Tensor, b: Tensor, tolerance: Tensor) -> Tensor:
    """Which rows of two (n, 4) tensors differ by more than rounding: bool (n,)."""
    return ((a - b).abs() > tolerance).any(1)
