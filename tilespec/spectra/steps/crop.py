"""Crop and drop: selection of bands by their centres or by index."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Bool

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Take
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step

CROP = "crop=FROM:TO, inclusive, in the unit of the axis (crop=450:950) or as indices (crop=#10:#150)"
DROP = "drop=FROM:TO or drop=AT, as in crop; or drop=bad for bands that are marked bad"


@final
@dataclass(frozen=True, kw_only=True)
class Span:
    """The bands between two positions, both included."""

    first: float
    """The centre of the first band, or its index."""
    last: float
    """The centre of the last band, or its index."""
    by_index: bool
    """Whether the positions are indices."""

    def mask(self, bands: Bands, step: str) -> Bool[np.ndarray, " band"]:
        """Return which bands lie in the span; refuse a span without any band."""
        inside = self._inside(bands, step)
        if not inside.any():
            raise UserError(f"step {step!r}", found=f"no band in {self}", expected=_extent(bands), do="Move it.")
        return inside

    def _inside(self, bands: Bands, step: str) -> Bool[np.ndarray, " band"]:
        if self.by_index:
            index = np.arange(bands.count)
            return (index >= self.first) & (index <= self.last)
        if bands.axis is None or bands.axis.name not in ("wavelength", "wavenumber"):
            what = "no spectral coordinate" if bands.axis is None else f"bands that are {bands.axis.name}s"
            raise UserError(
                f"step {step!r}",
                found=what,
                expected="a wavelength or a wavenumber for every band",
                do="Count bands instead, from 0: crop=#10:#150.",
            )
        centres = np.asarray(bands.axis.values)
        if self.first == self.last:
            return np.arange(bands.count) == bands.axis.nearest(self.first)
        return (centres >= self.first) & (centres <= self.last)

    def __str__(self) -> str:
        mark = "#" if self.by_index else ""
        return f"{mark}{self.first:g}:{mark}{self.last:g}"


def _span(args: tuple[str, ...], step: str, usage: str) -> Span:
    """Return the span that one or two parameters name."""
    marks = {arg.startswith("#") for arg in args}
    try:
        places = [float(arg.removeprefix("#")) for arg in args]
    except ValueError:
        places = []
    if len(marks) != 1 or len(places) not in (1, 2) or places != sorted(places):
        raise bad_step(step, ":".join(args), usage)
    return Span(first=places[0], last=places[-1], by_index=marks.pop())


@final
@dataclass(frozen=True, kw_only=True)
class Crop:
    """Select the bands inside a span."""

    kind: ClassVar[Kind] = "plain"
    span: Span
    """The span of the selected bands."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Crop":
        """Return the step ``crop=FROM:TO``."""
        if len(args) != 2:
            raise bad_step("crop", ":".join(args), CROP)
        return cls(span=_span(args, "crop", CROP))

    def plan(self, bands: Bands) -> Bands:
        """Return the selected bands."""
        return self._operator(bands).out(bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator that selects the bands."""
        return Fitted(operator=self._operator(on.bands))

    def _operator(self, bands: Bands) -> Take:
        return Take(index=np.flatnonzero(self.span.mask(bands, "crop")))


@final
@dataclass(frozen=True, kw_only=True)
class Drop:
    """Leave out the bands inside a span, or those that the owner of the data marked as bad."""

    kind: ClassVar[Kind] = "plain"
    span: Span | None
    """The span of the bands to leave out; None for the bands that are marked as bad."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Drop":
        """Return the step ``drop=FROM:TO``, ``drop=AT`` or ``drop=bad``."""
        return cls(span=None if args == ("bad",) else _span(args, "drop", DROP))

    def plan(self, bands: Bands) -> Bands:
        """Return the remaining bands."""
        return self._operator(bands).out(bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator that selects the remaining bands."""
        return Fitted(operator=self._operator(on.bands))

    def _operator(self, bands: Bands) -> Take:
        if self.span is not None:
            gone = self.span.mask(bands, "drop")
        else:
            marked = None if bands.axis is None else bands.axis.good
            gone = np.zeros(bands.count, bool) if marked is None else ~np.asarray(marked)
        if gone.all():
            raise UserError("step 'drop'", found="every band dropped", expected=_extent(bands), do="Drop fewer.")
        return Take(index=np.flatnonzero(~gone))


def _extent(bands: Bands) -> str:
    """Return the range of the bands as text for a message."""
    text = f"bands among #0:#{bands.count - 1}"
    if bands.axis is None:
        return text
    return f"{text}, {min(bands.axis.values):g} to {max(bands.axis.values):g} {bands.axis.unit}"
