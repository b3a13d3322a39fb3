"""Narrow input: a net evaluated on an input that is long along one axis and as narrow as may be along the other."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.models.nets.norms import set_sample_ids
from tilespec.models.probe.dependency_net import OversizedError, Structure

NARROW = 32
"""Pixels of the short side, at least."""
DRAWS = 16
"""Pairs of inputs that a net which hides NaN is given."""
BLOBS = (1, 3, 8, 20)
"""Sizes of the blobs in them, in pixels."""
REFUSED = (ValueError, RuntimeError, AssertionError, IndexError, ZeroDivisionError)
"""What nets raise on sizes that do not suit them."""

Image = Float[Tensor, "batch channel across along"]
Answer = Float[Tensor, "batch channel2 across2 along2"]


def replica(module: nn.Module) -> nn.Module:
    """Return a copy of a net that shares its weights: its layers may be replaced, hooked and run in any mode."""
    return copy.deepcopy(module, {id(weight): weight for weight in module.parameters()})


def fields(channels: int, shape: tuple[int, int], seed: int, blobs: Sequence[int] = BLOBS) -> Image:
    """Return a random image of mean 0 and variance 1 whose channels have blobs of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    planes = []
    for blob in blobs:
        coarse = [-(-side // blob) + 1 for side in shape]
        noise = torch.randn(1, channels, *coarse, generator=generator)
        wide = functional.interpolate(noise, size=[side * blob for side in coarse], mode="nearest")
        planes.append(wide[:, :, : shape[0], : shape[1]])
    return torch.stack(planes).sum(0) / len(blobs) ** 0.5


@final
@dataclass(frozen=True, kw_only=True)
class Line:
    """How the output of a net lies on its input, along an axis."""

    align: int
    """Sides of the input must be multiples of this."""
    scale: Fraction = Fraction(1)
    """Output pixels per input pixel."""
    margin: Fraction = Fraction(0)
    """Input pixels ahead of the first output pixel."""

    @classmethod
    def through(cls, align: int, lengths: Sequence[int], out: Sequence[int]) -> "Line | None":
        """Return the line of outputs of some sides of input, None where they lie on none."""
        scale = Fraction(out[-1] - out[0], lengths[-1] - lengths[0])
        if scale <= 0 or any(b != out[0] + scale * (a - lengths[0]) for a, b in zip(lengths, out, strict=True)):
            return None
        return cls(align=align, scale=scale, margin=(lengths[0] - out[0] / scale) / 2)

    def first(self, column: int) -> int:
        """Return the first input pixel under an output pixel."""
        return int((column / self.scale + self.margin) // 1)

    def last(self, column: int) -> int:
        """Return the last input pixel under an output pixel."""
        return -int(-((column + 1) / self.scale + self.margin) // 1) - 1


@final
@dataclass(frozen=True, kw_only=True)
class Strip:
    """A net on a strip."""

    module: nn.Module
    """The net."""
    channels: int
    """Of its input."""
    line: Line
    """How its output lies."""
    vertical: bool = False
    """Whether the strip is long along y."""
    norms: bool = True
    """Whether norms see the strip; else values pass through them."""
    hides: bool = False
    """Whether NaN does not come out of the net."""

    @property
    def across(self) -> int:
        """Pixels of the short side."""
        return -(-NARROW // self.line.align) * self.line.align

    def output(self, length: int) -> int | None:
        """Return the output's length on a strip of ``length``; None when the net refuses it."""
        try:
            return self.answer(self._ones(length)).shape[-1]
        except REFUSED:
            return None

    def marked(self, length: int, columns: slice) -> Bool[Tensor, " along2"] | None:
        """Return which output columns change with the input's ``columns``; None where the strip is too large."""
        try:
            return self._changed(length, columns) if self.hides else self._blanked(length, columns)
        except OversizedError:
            return None

    def _blanked(self, length: int, columns: slice) -> Bool[Tensor, " along2"]:
        return self.answer(self._ones(length, columns)).isnan().flatten(0, 2).any(dim=0)

    def _changed(self, length: int, columns: slice) -> Bool[Tensor, " along2"]:
        shape, changed = (self.across, length), []
        for k in range(DRAWS):  # from fine to coarse blobs: an opening leaves nothing of fine ones
            one, other = (fields(self.channels, shape, 2 * k + i, BLOBS[k % len(BLOBS) :]) for i in (0, 1))
            mixed = one.clone()
            mixed[..., columns] = other[..., columns]
            changed.append((self.answer(one) != self.answer(mixed)).flatten(0, 2).any(dim=0))
        return torch.stack(changed).any(dim=0)

    def _ones(self, length: int, blank: slice = slice(0)) -> Image:
        """Return ones, NaN in the columns ``blank``; one channel in memory."""
        x = torch.ones(1, 1, self.across, length)
        x[..., blank] = torch.nan
        return x.expand(-1, self.channels, -1, -1)

    def answer(self, x: Image, *, thin: bool = True) -> Answer:
        """Return the output, its long axis last; ``thin``: of the net's `Structure`."""
        set_sample_ids(self.module, range(len(x)))
        given = x.transpose(2, 3) if self.vertical else x
        with torch.inference_mode():
            if thin and not self.hides:
                with Structure(norms=self.norms):
                    y = self.module(given)
            else:
                y = self.module(given)
        return y.transpose(2, 3) if self.vertical else y
