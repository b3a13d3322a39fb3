"""Raman: removal of cosmic rays, and registration along the spectrum, as steps."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.registration import shifts, templates
from tilespec.spectra.raman_operators import Align, Despike
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, numbers
from tilespec.spectra.steps.scaling import spread_facts, spread_of

DESPIKE = "despike[=THRESHOLD[:WIDTH]], THRESHOLD >= 1 (8), WIDTH >= 1 (1), on WIDTH + 4 bands or more"
ALIGN = "align[=BANDS], BANDS >= 1 (5), the largest shift, on more than 2 * BANDS + 4 bands"


@final
@dataclass(frozen=True, kw_only=True)
class Spikes:
    """Replace spikes of a band or few, such as cosmic rays, by the line between their neighbours.

    Whitaker and Hayes, Chemometr. Intell. Lab. Syst. 179 (2018) 82-84, with the condition that a spike rises and falls
    within its width, which spares the flanks of strong lines.
    """

    kind: ClassVar[Kind] = "plain"
    threshold: float = 8.0
    """The modified z-score that the differences on both sides of a spike exceed."""
    width: int = 1
    """The largest number of neighbouring bands of a spike; it must be less than the width of the sample's lines."""

    def __post_init__(self) -> None:
        if not (1 <= self.threshold < np.inf and self.width >= 1):
            raise bad_step("despike", f"{self.threshold:g}:{self.width}", DESPIKE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Spikes":
        """Return the step ``despike[=THRESHOLD[:WIDTH]]``."""
        values = numbers("despike", args, DESPIKE, (float, int))
        return cls(**dict(zip(("threshold", "width"), values, strict=False)))

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands; refuse too few to tell a spike from the others."""
        if bands.count < self.width + 4:
            raise bad_step("despike", f"spikes of {self.width} on {bands.count} bands", DESPIKE)
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the removal; it needs no data."""
        del on
        threshold, width = np.array(self.threshold, np.float64), np.array(self.width, np.int64)
        return Fitted(operator=Despike(threshold=threshold, width=width))


@final
@dataclass(frozen=True, kw_only=True)
class Registration:
    """Shift each spectrum onto the mean of all pixels, by the largest cross-correlation, to parts of a band.

    Bands are treated as evenly spaced. The reference is the mean before the shift, so it is as blurred as the shifts
    are wide.
    """

    kind: ClassVar[Kind] = "folded"
    reach: int = 5
    """The largest shift in bands, in either direction."""

    def __post_init__(self) -> None:
        if self.reach < 1:
            raise bad_step("align", self.reach, ALIGN)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Registration":
        """Return the step ``align[=BANDS]``."""
        return cls(reach=numbers("align", args or ("5",), ALIGN, (int,))[0])

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands; refuse a shift that would leave nothing to compare."""
        if bands.count <= 2 * self.reach + 4:
            raise bad_step("align", f"shifts up to {self.reach} on {bands.count} bands", ALIGN)
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the shift onto the mean of all pixels.

        Raises:
            UserError: the mean is constant, so nothing can be shifted onto it.
        """
        spread = spread_of(on)
        values, windows = templates(spread.mean, self.reach)
        zero = np.asarray(shifts(spread.mean.astype(np.float32)[None], values, windows)[0])
        if not values.any():
            raise UserError(
                "step 'align'",
                found="a mean of all pixels that is constant away from the ends",
                expected="a mean with a shape, to shift spectra onto",
                do="Leave the step out, or choose another region.",
            )
        return Fitted(operator=Align(templates=values, windows=windows, zero=zero), facts=spread_facts(spread))
