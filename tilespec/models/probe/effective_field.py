"""Effective field: the distance of the pixels with most influence on an output pixel (Luo et al., NeurIPS 2016)."""

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn

from tilespec.models.nets.norms import set_sample_ids
from tilespec.models.probe.narrow_input import AxisMap

SHARES = (0.90, 0.95, 0.99)
"""The shares of the absolute gradient."""
BATCH = 2
"""The number of windows at a time, which bounds memory."""


def effective_reach(
    module: nn.Module, line: AxisMap, x: Float32[Tensor, "n channel y x"], *, positions: int, seed: int
) -> dict[str, float | None] | None:
    """Return the distance (the larger of ``|dy|`` and ``|dx|``) that contains each share of the input's gradient.

    Averaged over ``positions`` output pixels in the middle of each window, for a random direction of the output's
    channels, with equal weights of pixels and windows. A distance of half the window means "at least".

    Returns:
        The distances ``{"90": ..., "95": ..., "99": ...}`` in pixels; None for nets without a gradient.
    """
    rng = np.random.default_rng([seed, 11])
    total = np.zeros(max(x.shape[2:]))
    for start in range(0, len(x), BATCH):
        for _ in range(positions):
            profile = _profile(module, line, x[start : start + BATCH], rng, len(total))
            if profile is None:
                return None
            total += profile
    if total.sum() == 0:
        return None
    held = np.cumsum(total) / total.sum()
    return {f"{100 * share:.0f}": float(np.searchsorted(held, share)) for share in SHARES}


def _profile(
    module: nn.Module, line: AxisMap, x: Float32[Tensor, "n channel y x"], rng: np.random.Generator, length: int
) -> Float64[np.ndarray, " distance"] | None:
    """Return the absolute gradient at each distance from one output pixel of each window, with sum 1 for a window."""
    leaf = x.clone().requires_grad_(True)
    set_sample_ids(module, range(len(x)))
    out = module(leaf)
    if not out.requires_grad:
        return None
    rows, columns = (rng.integers(side * 3 // 8, side - side * 3 // 8, size=len(x)) for side in out.shape[2:])
    direction = torch.from_numpy(rng.standard_normal((len(x), out.shape[1]), dtype=np.float32))
    picked = out[torch.arange(len(x)), :, torch.from_numpy(rows), torch.from_numpy(columns)]
    gradient = torch.autograd.grad((picked * direction).sum(), leaf)[0].abs().sum(1).double().numpy()
    profile = np.zeros(length)
    for plane, row, column in zip(gradient, rows.tolist(), columns.tolist(), strict=True):
        away = [
            np.abs(np.arange(side) - (line.first(place) + line.last(place)) // 2)
            for side, place in zip(plane.shape, (row, column), strict=True)
        ]
        distance = np.maximum(away[0][:, None], away[1][None])
        sums = np.bincount(distance.ravel(), plane.ravel(), length)
        profile += sums / sums.sum() if sums.sum() > 0 else 0
    return profile
