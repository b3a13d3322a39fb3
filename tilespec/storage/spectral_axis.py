"""Spectral axis of a store: its coordinate over the bands, unpacked, in nm or cm-1."""

from typing import Any, Final

import numpy as np
import zarr

from tilespec.core.errors import UserError
from tilespec.core.spectral_units import quantity
from tilespec.core.types import SpectralAxis
from tilespec.storage.packing import Packing

NAMES: Final = ("wavelength", "wavenumber", "component", "channel")
MICROMETRES: Final = 100.0
"""Wavelengths without a unit below this are in micrometres, else in nanometres."""
UNITS: Final = {"wavelength": "nm", "wavenumber": "cm-1"}


def spectral_of(url: str, group: "zarr.Group", bands: int) -> SpectralAxis | None:
    """Return the spectral axis of a store, or None when it has none of the right length.

    Raises:
        UserError: a coordinate holds no real numbers, or is in a unit of another quantity.
    """
    for name in NAMES:
        array = group.get(name)
        if isinstance(array, zarr.Array) and array.shape == (bands,):
            centres = _values(url, array)
            factor = _factor(f"{url}: {name}", name, str(array.attrs.get("units", "")), centres)
            fwhm, good = (_vector(url, group, key, bands) for key in ("fwhm", "good"))
            return SpectralAxis(
                name=name,
                unit=UNITS.get(name, str(array.attrs.get("units", "1"))),
                values=_scaled(centres, factor),
                fwhm=None if fwhm is None else _scaled(fwhm, factor),
                good=None if good is None else tuple(bool(v) for v in good),
            )
    return None


def _factor(where: str, name: str, unit: str, centres: np.ndarray) -> float:
    """Return the factor from a coordinate's unit to that of its axis; wavelengths below 100 without one are in um."""
    if name not in UNITS:
        return 1.0
    if not unit:
        return 1e3 if name == "wavelength" and np.nanmax(centres, initial=-np.inf) < MICROMETRES else 1.0
    spectral = quantity(unit)
    if spectral is None or spectral[0] != name:
        raise UserError(
            where,
            found=f"units {unit!r}",
            expected=f"a unit of a {name}, such as {UNITS[name]}",
            do="Correct the attribute, or bring the store in with `tilespec ingest SRC OUT --wavelength-unit UNIT`.",
        )
    return spectral[1]


def _vector(url: str, group: "zarr.Group", name: str, bands: int) -> np.ndarray | None:
    """Return a vector over the bands, or None when the store has none of that length."""
    array = group.get(name)
    return _values(url, array) if isinstance(array, zarr.Array) and array.shape == (bands,) else None


def _values(url: str, array: "zarr.Array[Any]") -> np.ndarray:
    """Return the values of a vector, unpacked."""
    where = f"{url}: {array.basename}"
    if array.dtype.kind not in "biuf":
        raise UserError(where, found=f"data type {array.dtype}", expected="real numbers", do="Write it as float64.")
    stored = np.asarray(array[:])
    return stored if stored.dtype == bool else Packing.of(where, array.attrs, stored.dtype).values(stored)


def _scaled(values: np.ndarray, factor: float) -> tuple[float, ...]:
    """Return values times a factor, rounded to 1e-6 where it is not 1."""
    return tuple(float(v) for v in (values if factor == 1.0 else np.round(values * factor, 6)))
