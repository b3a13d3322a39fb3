"""Options: which pixels and values a score is of, and on what scale; what the options of `evaluate` say."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from tilespec.core.errors import UserError

PAPER = 255.0
"""What ``peak`` becomes: published errors of 8-bit scales are of 0 to 255."""


@final
@dataclass(frozen=True, kw_only=True)
class Judging:
    """How a prediction is judged."""

    mask: str | None = None
    """Layer of the truth: only pixels where it has a value that is not 0."""
    peak: float | None = None
    """Largest value that the truth can have: both are scaled by 255 / peak before anything else."""
    floor: float = 0.0
    """True values at or below this, in the truth's own unit, enter no relative figure."""
    keep_black: bool = False
    """Whether pixels count whose truth is 0 in every one of several channels."""
    illuminant: str = "D65"
    """Under which colours are compared; ``none``: they are not."""
    radiance: bool = False
    """Whether spectra are light already, and not the share that a surface throws back of the illuminant's."""

    def __post_init__(self) -> None:
        if self.peak is not None and not 0 < self.peak < np.inf:
            raise UserError(
                "--peak",
                found=self.peak,
                expected="the largest value that the truth can have, above 0",
                do="Give 4095 for counts of 12 bits, 1 for reflectance.",
            )
        if not 0 <= self.floor < np.inf:
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
        return dict(vars(self))

    def for_classes(self) -> None:
        """Refuse what a class map cannot follow.

        Raises:
            UserError: an option that is about values is given.
        """
        default = Judging()
        for name in ("peak", "floor", "keep_black"):
            if getattr(self, name) != getattr(default, name):
                raise UserError(
                    f"--{name.replace('_', '-')}",
                    found="a prediction of classes",
                    expected="one of channels",
                    do="Leave the option out: classes have no values.",
                )


@final
@dataclass(frozen=True, kw_only=True)
class Left:
    """How many pixels were left out, and why. Counts, which add."""

    masked: int = 0
    """Outside ``--mask``."""
    black: int = 0
    """Truth of 0 in every channel."""

    @classmethod
    def of(cls, masked: Bool[np.ndarray, "y x"] | None, black: Bool[np.ndarray, "y x"] | None) -> "Left":
        """Return the counts; a black pixel outside the mask is masked."""
        both = None if masked is None or black is None else black & masked
        found = [0 if plane is None else int(np.count_nonzero(plane)) for plane in (masked, black, both)]
        return cls(masked=found[0], black=found[1] - found[2])

    def __add__(self, other: "Left") -> "Left":
        return Left(masked=self.masked + other.masked, black=self.black + other.black)

    def plain(self) -> dict[str, int]:
        """Return the counts for the result."""
        return {"pixels_masked": self.masked, "pixels_black": self.black}
