"""Bands: the last axis of spectra, and the check that a scene has the bands that a recipe was fitted on."""

from dataclasses import dataclass
from typing import final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis

NEAR = 0.5
"""Band centres (nm, cm-1) that differ by less, or by less than a tenth of the spacing, are the same band."""


@final
@dataclass(frozen=True, kw_only=True)
class Bands:
    """The bands along the last axis of spectra."""

    count: int
    """The number of bands."""
    axis: SpectralAxis | None
    """The spectral axis of the bands, if it is known."""


def same_bands(before: Bands, now: Bands, where: str) -> None:
    """Refuse bands that differ from those of ``before`` in number, in kind, or in their centres.

    Raises:
        UserError: the bands differ; the message gives both numbers, or the moved band and the nearest present one.
    """
    if now.count != before.count:
        raise UserError(
            where,
            found=f"{now.count} bands{_range(now.axis)}",
            expected=f"{before.count} bands{_range(before.axis)}, as the recipe was fitted on",
            do="Use a scene of the same sensor, or fit the recipe again on this one.",
        )
    if before.axis is None or now.axis is None:
        return
    if (now.axis.name, now.axis.unit) != (before.axis.name, before.axis.unit):
        now_axis, expected = (f"bands by {axis.name} in {axis.unit}" for axis in (now.axis, before.axis))
        raise UserError(where, found=now_axis, expected=expected, do="Ingest it with the recipe's coordinate.")
    _same_places(before.axis, now.axis, where)


def _same_places(before: SpectralAxis, now: SpectralAxis, where: str) -> None:
    """Refuse bands whose centres differ."""
    old, new = np.asarray(before.values), np.asarray(now.values)
    spacing = float(np.median(np.abs(np.diff(old)))) if len(old) > 1 else 0.0
    limit, moved = max(NEAR, spacing / 10), np.abs(new - old)
    if moved.max() <= limit:
        return
    worst = int(moved.argmax())
    nearest = now.nearest(float(old[worst]))
    raise UserError(
        where,
        found=f"band {worst} at {new[worst]:g} {now.unit} ({int((moved > limit).sum())} of {len(old)} bands moved)",
        expected=f"{old[worst]:g} within {limit:g} {before.unit}, as the recipe was fitted on",
        do=f"The nearest band here is {nearest} at {new[nearest]:g}; fit the recipe again on this scene.",
    )


def _range(axis: SpectralAxis | None) -> str:
    """Return the first and the last value of an axis, as text."""
    return "" if axis is None else f" from {axis.values[0]:g} to {axis.values[-1]:g} {axis.unit}"
