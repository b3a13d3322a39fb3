"""Options of `evaluate`: which pixels and values a score is of, and on what scale."""

import math
from dataclasses import dataclass
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.core.options import Device, DryRun, Region, Seeded, values_of

PAPER = 255.0
"""What ``peak`` becomes: published errors of 8-bit scales are of 0 to 255."""


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """The options of `evaluate` that decide the score of a pixel."""

    mask: str | None = None
    """Only pixels count that have a label in this class map of TRUTH, or a value that is not 0 in another layer."""
    peak: float | None = None
    """The truth has at most this value: both are scaled by 255 / peak first, so that errors are of a scale of 0 to 255,
    as published ones are."""
    floor: float = 0.0
    """True values at or below this, in the unit of the truth, enter no relative figure."""
    keep_black: bool = False
    """Count pixels whose truth is 0 in every one of several channels, which are taken for padding otherwise."""
    illuminant: str = "D65"
    """Colours are compared under this light of the CIE (D65, E, A, ...); none compares no colours. That saves a
    second and 100 MB."""
    radiance: bool = False
    """Spectra are light already, and not the share of the light that a surface reflects."""

    ssim: bool = False
    """Bands are compared by their structural similarity too, in windows of 11 x 11 pixels. That takes longer than all
    other figures, and without ``peak`` one more reading beforehand, for the range of the truth."""

    def __post_init__(self) -> None:
        if self.peak is not None and not 0 < self.peak < math.inf:
            raise UserError(
                "--peak",
                found=self.peak,
                expected="the largest value that the truth can have, above 0",
                do="Give 4095 for counts of 12 bits, 1 for reflectance.",
            )
        if not 0 <= self.floor < math.inf:
            raise UserError("--floor", found=self.floor, expected="0 or more", do="It is in the unit of the truth.")

    @property
    def factor(self) -> float:
        """What both are multiplied by."""
        return 1.0 if self.peak is None else PAPER / self.peak

    @property
    def whole(self) -> float:
        """What a reflectance of 1 has become."""
        return 1.0 if self.peak is None else PAPER

    def plain(self) -> dict[str, Any]:
        """Return what decides the figures, for the result."""
        return values_of(self, ScoreOptions)

    def for_classes(self) -> None:
        """Refuse what a class map cannot follow.

        Raises:
            UserError: an option that is about values is given.
        """
        default = ScoreOptions()
        for name in ("peak", "floor", "keep_black", "ssim"):
            if getattr(self, name) != getattr(default, name):
                raise UserError(
                    f"--{name.replace('_', '-')}",
                    found="a prediction of classes",
                    expected="one of channels",
                    do="Leave the option out: classes have no values.",
                )


@final
@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ScoreOptions, Region, Device, Seeded, DryRun):
    """The options of `evaluate`."""

    patches: int = 1000
    """The score is the mean over this many random patches."""
    patch_size: int | None = None
    """A patch has this many pixels on each side; the default is 512, or what the region has room for."""
    layer: str | None = None
    """This layer of TRUTH is the truth, such as a reference map of one quantity."""
    bootstrap: int = 0
    """This many draws of square blocks give the 95 % intervals of the scores; 0 gives none."""
    blocks: int = 0
    """Square blocks are dealt into this many folds, each of which is scored alone; 0 makes none."""
    block_size: int = 256
    """A block has this many pixels on each side. It must be wider than the distance over which neighbours are alike."""
