"""Crop and drop: which bands stay, by the spectral coordinate or by index."""

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
    """Bands from one place to another, both included."""

    first: float
    """Centre of the first band, or its index."""
    last: float
    """Centre of the last band, or its index."""
    by_index: bool
    """Whether the places are indices."""

    def mask(self, bands: Bands, step: str) -> Bool[np.ndarray, " band"]:
        """Return which bands lie in the span; refuse one that meets no band."""
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
    """Keep a span of bands."""

    kind: ClassVar[Kind] = "plain"
    span: Span
    """What stays."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Crop":
        """Return ``crop=FROM:TO``."""
        if len(args) != 2:
            raise bad_step("crop", ":".join(args), CROP)
        return cls(span=_span(args, "crop", CROP))

    def plan(self, bands: Bands) -> Bands:
        """Return the bands that stay."""
        return self._operator(bands).out(bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the choice of bands."""
        return Fitted(operator=self._operator(on.bands))

    def _operator(self, bands: Bands) -> Take:
        return Take(index=np.flatnonzero(self.span.mask(bands, "crop")))


@final
@dataclass(frozen=True, kw_only=True)
class Drop:
    """Leave a span of bands out, or those that the data's owner marked bad."""

    kind: ClassVar[Kind] = "plain"
    span: Span | None
    """What goes; None for the bands that are marked bad."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Drop":
        """Return ``drop=FROM:TO``, ``drop=AT`` or ``drop=bad``."""
        return cls(span=None if args == ("bad",) else _span(args, "drop", DROP))

    def plan(self, bands: Bands) -> Bands:
        """Return the bands that stay."""
        return self._operator(bands).out(bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the choice of bands."""
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
    """Say what bands there are."""
    text = f"bands among #0:#{bands.count - 1}"
    if bands.axis is None:
        return text
    return f"{text}, {min(bands.axis.values):g} to {max(bands.axis.values):g} {bands.axis.unit}"
