"""Narrow input: a net is evaluated on an input that is long along one axis and very narrow along the other."""

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
"""The least length of the short side in pixels."""
DRAWS = 16
"""The number of pairs of inputs for a net that hides NaN."""
BLOBS = (1, 3, 8, 20)
"""The sizes of the blobs in these inputs in pixels."""
REFUSED = (ValueError, RuntimeError, AssertionError, IndexError, ZeroDivisionError)
"""The exceptions that nets raise for unsuitable sizes."""

Image = Float[Tensor, "batch channel across along"]
Answer = Float[Tensor, "batch channel2 across2 along2"]


def replica(module: nn.Module) -> nn.Module:
    """Return a copy of a net with the same weights, whose layers may be replaced, hooked and run in any mode."""
    return copy.deepcopy(module, {id(weight): weight for weight in module.parameters()})


def fields(channels: int, shape: tuple[int, int], seed: int, blobs: Sequence[int] = BLOBS) -> Image:
    """Return a random image with mean 0 and variance 1, whose channels have blobs of several sizes."""
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
class AxisMap:
    """The relation between output and input positions of a net along an axis."""

    align: int
    """The number of which the sides of the input must be multiples."""
    scale: Fraction = Fraction(1)
    """The number of output pixels for one input pixel."""
    margin: Fraction = Fraction(0)
    """The number of input pixels before the first output pixel."""

    @classmethod
    def through(cls, align: int, lengths: Sequence[int], out: Sequence[int]) -> "AxisMap | None":
        """Return the relation from output lengths for some input lengths, or None when they are not on a line."""
        scale = Fraction(out[-1] - out[0], lengths[-1] - lengths[0])
        if scale <= 0 or any(b != out[0] + scale * (a - lengths[0]) for a, b in zip(lengths, out, strict=True)):
            return None
        return cls(align=align, scale=scale, margin=(lengths[0] - out[0] / scale) / 2)

    def first(self, column: int) -> int:
        """Return the first input pixel of an output pixel."""
        return int((column / self.scale + self.margin) // 1)

    def last(self, column: int) -> int:
        """Return the last input pixel of an output pixel."""
        return -int(-((column + 1) / self.scale + self.margin) // 1) - 1


@final
@dataclass(frozen=True, kw_only=True)
class NarrowInput:
    """A net on a strip, a long and narrow input."""

    module: nn.Module
    """The net that is measured."""
    channels: int
    """The number of channels of its input."""
    line: AxisMap
    """The relation between output and input positions."""
    vertical: bool = False
    """Whether the strip is long along y."""
    norms: bool = True
    """Whether norms are evaluated; else they are replaced by the identity."""
    hides: bool = False
    """Whether NaN does not appear in the net's output."""

    @property
    def across(self) -> int:
        """The length of the short side in pixels."""
        return -(-NARROW // self.line.align) * self.line.align

    def output(self, length: int) -> int | None:
        """Return the output's length for a strip of ``length``; None when the net refuses it."""
        try:
            return self.answer(self._ones(length)).shape[-1]
        except REFUSED:
            return None

    def marked(self, length: int, columns: slice) -> Bool[Tensor, " along2"] | None:
        """Return which output columns change with the input's ``columns``; None if the strip is too large."""
        try:
            return self._changed(length, columns) if self.hides else self._blanked(length, columns)
        except OversizedError:
            return None

    def _blanked(self, length: int, columns: slice) -> Bool[Tensor, " along2"]:
        return self.answer(self._ones(length, columns)).isnan().flatten(0, 2).any(dim=0)

    def _changed(self, length: int, columns: slice) -> Bool[Tensor, " along2"]:
        shape, changed = (self.across, length), []
        for k in range(DRAWS):  # from fine to coarse blobs, because an opening removes fine ones
            one, other = (fields(self.channels, shape, 2 * k + i, BLOBS[k % len(BLOBS) :]) for i in (0, 1))
            mixed = one.clone()
            mixed[..., columns] = other[..., columns]
            changed.append((self.answer(one) != self.answer(mixed)).flatten(0, 2).any(dim=0))
        return torch.stack(changed).any(dim=0)

    def _ones(self, length: int, blank: slice = slice(0)) -> Image:
        """Return ones, with NaN in the columns ``blank``, and only one channel in memory."""
        x = torch.ones(1, 1, self.across, length)
        x[..., blank] = torch.nan
        return x.expand(-1, self.channels, -1, -1)

    def answer(self, x: Image, *, thin: bool = True) -> Answer:
        """Return the output with its long axis last; ``thin`` evaluates the net's `Structure`."""
        set_sample_ids(self.module, range(len(x)))
        image = x.transpose(2, 3) if self.vertical else x
        with torch.inference_mode():
            if thin and not self.hides:
                with Structure(norms=self.norms):
                    y = self.module(image)
            else:
                y = self.module(image)
        return y.transpose(2, 3) if self.vertical else y
