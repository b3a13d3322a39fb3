"""A task, a metric and nets of a user's own: another plane than the scene's, another input than the recipe gives."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from tilespec.core.types import TileClass
from tilespec.evaluate.metrics.base import Metric
from tilespec.models.tasks.base import Geometry, without_gaps
from tilespec.models.tasks.reconstruct import Reconstruct
from tilespec.models.tasks.segment import Segment


@dataclass(frozen=True, kw_only=True, eq=False)
class QuarticErrors:
    """Sums of the fourth powers of errors, and of the values that have one."""

    sums: np.ndarray
    ADDS = ("sums",)

    @classmethod
    def zero(cls, channels):
        return cls(sums=np.zeros((2, channels)))

    def of(self, block, origin=(0, 0)):
        error = block[1].astype(np.float64) - block[0]
        known = np.isfinite(error)
        return replace(self, sums=np.stack([known.sum((0, 1)), np.where(known, error**4, 0).sum((0, 1))]))

    def __add__(self, other):
        return replace(self, sums=self.sums + other.sums)

    def finish(self):
        values, total = self.sums.sum(axis=1).tolist()
        return {"quartic": total / values if values else None}


QUARTIC = Metric(name="quartic", truth="field", better="smaller", statistic=QuarticErrors.zero)
NAMELESS = Metric(name="rmse", truth="field", better="smaller", statistic=QuarticErrors.zero)


class Elsewhere:
    """Another plane and another input; all else is as in a task of tilespec's, ``inner``."""

    def __post_init__(self):
        inner = self.inner
        for name in ("channels_out", "head", "known", "planes", "answer", "magnitude", "activate", "decode"):
            object.__setattr__(self, name, getattr(inner, name))

    @property
    def geometry(self):
        return Geometry(scale=Fraction(self.scale), margin=self.margin)

    def channels_in(self, scores):
        return scores + self.mean

    def inputs(self, scores):
        return torch.cat([scores, scores.mean(dim=1, keepdim=True)], dim=1) if self.mean else scores

    def pair(self, scores, truth):
        return without_gaps(scores, truth, self.geometry, np.nan if truth.dtype == np.float32 else 255)


@dataclass(frozen=True, kw_only=True)
class Values(Elsewhere):
    """Values on a plane of another scale, with a margin; the net may read the mean of the channels too."""

    truth: ClassVar = "field"
    metrics: ClassVar = ("own_tasks:QUARTIC", "rmse")

    channels: int
    low: float = 0.0
    high: float = 1.0
    scale: str = "1"
    margin: int = 0
    mean: bool = False

    @property
    def inner(self):
        return Reconstruct(channels=self.channels, low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class Labels(Elsewhere):
    """Classes on such a plane."""

    truth: ClassVar = "classes"
    metrics: ClassVar = ("oa", "miou")

    classes: int
    scale: str = "1"
    margin: int = 0
    mean: bool = False

    @property
    def inner(self):
        return Segment(classes=self.classes)


class OfClasses(Values):
    """A task that names a metric of maps of classes."""

    metrics: ClassVar = ("oa",)


class TakesAName(Values):
    """A task whose metric has the name of one of tilespec's."""

    metrics: ClassVar = ("own_tasks:NAMELESS",)


class Halves(nn.Sequential):
    """Two output pixels become one after a convolution without padding: scale 1/2, margin 2."""

    tile_class = TileClass(kind="exact", align=2)

    def __init__(self, channels_in, channels_out):
        super().__init__(nn.Conv2d(channels_in, channels_out, 5), nn.AvgPool2d(2))


class Approximate(Halves):
    """The same, whose tiles are blended."""

    tile_class = TileClass(kind="approximate", align=2)


class Doubles(nn.Sequential):
    """Each pixel becomes four: scale 2."""

    tile_class = TileClass(kind="pixelwise")

    def __init__(self, channels_in, channels_out):
        super().__init__(nn.Conv2d(channels_in, 4 * channels_out, 1), nn.PixelShuffle(2))


class OfCells(nn.Sequential):
    """The mean spectrum of each cell of 8 x 8 pixels gives its class: scale 1/8."""

    tile_class = TileClass(kind="exact", align=8)

    def __init__(self, channels_in, channels_out):
        super().__init__(nn.AvgPool2d(8), nn.Conv2d(channels_in, channels_out, 1))
