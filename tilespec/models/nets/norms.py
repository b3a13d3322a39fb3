"""Norms and dropout with a defined behaviour on tiles and on ranks, and the initial weights.

=========  ==========================================  =============================================
norm       statistics                                  on tiles
=========  ==========================================  =============================================
channel    the channels of one pixel                   pixelwise: exact, equal on any number of ranks
none       none                                        exact
batch      the batch; frozen running means afterwards  exact when frozen; `live`: those of each tile
instance   one tile                                    differ from tile to tile: seams
group      groups of channels of one tile              differ from tile to tile: seams
=========  ==========================================  =============================================

In nets that move along the bands of single pixels (1 dimension), a pixel takes the place of a tile: all are exact.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.core.errors import UserError

MASK_64 = (1 << 64) - 1


@final
class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each position, independent of other positions and samples."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = _affine(channels)

    def forward(self, x: Float[Tensor, "batch channel *position"]) -> Float[Tensor, "batch channel *position"]:
        """Return ``x`` with mean 0 and variance 1 over the channels of each position, scaled and shifted."""
        last = x.movedim(1, -1)
        return functional.layer_norm(last, last.shape[-1:], self.weight, self.bias).movedim(-1, 1)


@final
class BatchNorm(nn.Module):
    """Batch normalisation (eps 1e-3, momentum 0.01, as Keras has it), frozen or live at prediction.

    Frozen: the running means give one affine map for the whole scene. ``live``: the statistics are those of each tile
    alone, as pix2pix predicts (Isola et al. 2017, section 3.4); a tile's output then does not depend on its batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, live: bool = False, eps: float = 1e-3, momentum: float = 0.01) -> None:
        super().__init__()
        self.weight, self.bias = _affine(channels)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.live, self.eps, self.momentum = live, eps, momentum

    def forward(self, x: Float[Tensor, "batch channel *position"]) -> Float[Tensor, "batch channel *position"]:
        """Return ``x`` normalised by the batch (training), by each tile (``live``) or by the running means."""
        if self.live and not self.training:
            return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        mean, var = self.running_mean, self.running_var
        return functional.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)


@final
class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018) with 32 groups, or as many as divide both 32 and the number of channels."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__(math.gcd(GROUPS, channels), channels)
        self.dimensions = dimensions


def norm(name: str, channels: int, *, live: bool = False, dimensions: int = 2) -> nn.Module:
    """Return the norm layer ``name`` over ``channels`` of spectra (1 dimension), images (2) or volumes (3)."""
    if name not in NORMS:
        raise UserError("net.norm", found=repr(name), expected=f"one of {', '.join(NORMS)}", do="Check the spelling.")
    return NORMS[name](channels, live, dimensions)


SPATIAL: dict[type[nn.Module], Callable[[Any], bool]] = {
    BatchNorm: lambda norm: norm.live or norm.training,
    nn.InstanceNorm2d: lambda norm: norm.training or not norm.track_running_stats,
    nn.BatchNorm2d: lambda norm: norm.training or norm.running_mean is None,
    nn.GroupNorm: lambda norm: getattr(norm, "dimensions", 2) == 2,
}
"""The norms of images that may use statistics of the whole tile, and the condition under which they do."""


def spatial_norms(module: nn.Module) -> list[str]:
    """Return the names of the norms of images whose statistics are those of the tile, which `freeze` can replace."""
    return [
        name
        for name, layer in module.named_modules()
        if any(isinstance(layer, kind) and spatial(layer) for kind, spatial in SPATIAL.items())
    ]


PIXELWISE = ("none", "batch", "channel")
"""The norms without statistics of a tile."""
GROUPS = 32
"""The largest number of groups of a group norm, as published."""
INSTANCE: dict[int, Callable[..., nn.Module]] = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
"""The instance norms by number of dimensions."""
NORMS: dict[str, Callable[[int, bool, int], nn.Module]] = {
    "batch": lambda channels, live, _: BatchNorm(channels, live=live),
    "instance": lambda channels, _, dimensions: INSTANCE[dimensions](channels, affine=True),
    "group": lambda channels, _, dimensions: GroupNorm(channels, dimensions),
    "channel": lambda channels, *_: ChannelNorm(channels),
    "none": lambda *_: nn.Identity(),
}


@final
class SeededDropout(nn.Module):
    """Dropout whose mask is a pure function of the sample's id and of the layer.

    A sample has the same mask in any batch, on any rank, worker and device. Ids come from `set_sample_ids`; without
    them, a sample's index in the batch is its id.
    """

    def __init__(self, p: float, layer: int, *, live: bool = False) -> None:
        super().__init__()
        self.p, self.layer, self.live = p, layer, live
        self.ids: tuple[int, ...] = ()

    def forward(self, x: Float[Tensor, "batch channel *position"]) -> Float[Tensor, "batch channel *position"]:
        """Return ``x`` with a share ``p`` of its values dropped while training, or always when ``live``."""
        if self.p == 0 or not (self.training or self.live):
            return x
        ids = self.ids or tuple(range(len(x)))
        parts, rest = divmod(len(x), len(ids))  # a sample may be cut into parts, which follow each other
        assert not rest, f"{len(x)} samples, but ids of {len(ids)}"
        keep = torch.cat([self._keep(i, (parts, *x.shape[1:])) for i in ids]).to(x.device)
        return x * keep.to(x.dtype) / (1 - self.p)

    def _keep(self, sample: int, shape: tuple[int, ...]) -> Tensor:
        """Return the mask of one sample, drawn on the CPU so that every device drops the same values."""
        draw = np.random.default_rng([sample, self.layer]).random(shape, dtype=np.float32)
        return torch.from_numpy(draw >= self.p)


def set_sample_ids(module: nn.Module, indices: Iterable[int] | Tensor, seed: int = 0) -> None:
    """Set the ids of the next samples in the dropout layers of ``module``.

    Args:
        module: The net; without a `SeededDropout` it does not change.
        indices: The number of each sample of the next batch: its position in the training stream, or its tile.
        seed: The seed of the run.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, SeededDropout)]
    ids = tuple(_mix(seed, int(index)) for index in indices) if layers else ()  # batches of spectra are large
    for layer in layers:
        layer.ids = ids


def _mix(seed: int, index: int) -> int:
    """Return one 64-bit number for a pair (SplitMix64, Steele et al. 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + index * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D) & MASK_64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK_64
    return z ^ (z >> 31)


def initialise(module: nn.Module, init: str) -> None:
    """Draw the weights of all convolutions from torch's generator; biases start at 0.

    ``normal`` is the Normal(0, 0.02) of pix2pix; ``kaiming`` preserves the variance through leaky ReLUs (He et al.
    2015).
    """
    if init not in INITS:
        raise UserError("net.init", found=repr(init), expected=f"one of {', '.join(INITS)}", do="Check the spelling.")
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            INITS[init](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda weight: nn.init.normal_(weight, 0.0, 0.02),
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, a=0.2),
}


def _affine(channels: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Return the initial gain (ones) and shift (zeros) of a norm."""
    return nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
