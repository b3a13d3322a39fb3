"""Spectral vectors: the axis of an array from vectors of the same container, or from attributes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.spectral_units import LENGTHS, quantity, unit_in
from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.band_names import axis_in_names
from tilespec.ingest.readers.containers import Container
from tilespec.ingest.readers.source import Options
from tilespec.ingest.readers.wavelengths import CENTRES, spectral_axis
from tilespec.storage.axes import ORDER
from tilespec.storage.packing import PACKING

WIDTHS: Final = re.compile(r"(fwhms?|(band_?)?widths?|full_?width)(?![a-z])", re.IGNORECASE)
"""The names of vectors of widths at half maximum."""
MARKS: Final = re.compile(r"(good(_wavelengths|_bands)?|bbl)$", re.IGNORECASE)
"""The names of vectors that are zero for bad bands."""
UNITS: Final = re.compile(r"(wavelength|wavenumber)s?_?units?", re.IGNORECASE)
"""The attributes that hold the unit of such a list."""
STANDARD: Final = {"radiation_wavelength", "radiation_wavenumber"}
"""CF's standard names of a spectral coordinate."""

Found = tuple[SpectralAxis | None, tuple[str, ...]]


@final
@dataclass(frozen=True, kw_only=True)
class BandCount:
    """The bands of the selected array."""

    where: str
    """The array, for messages."""
    name: str
    """The name of its entry."""
    dim: str | None
    """The name of the dimension of its bands, if it has one."""
    size: Mapping[str, int]
    """The lengths of the axes."""

    @property
    def count(self) -> int:
        """The number of bands."""
        return self.size["band"]


def axis_beside(container: Container, bands: BandCount, options: Options) -> Found:
    """Return the axis of the bands, and notes.

    It is the vector that the user names, or one known by its name, its standard name or its unit, or a list among the
    attributes of the array or of the file.

    Raises:
        UserError: the number of wavelengths fits another axis than the bands.
    """
    vectors = _vectors(container)
    if options.wavelengths is not None:  # a vector, or else what is no part of the container
        suitable = [name for name in vectors if options.wavelengths in (name, _leaf(name))]
    else:
        suitable = _centres(container, bands, vectors)
    if suitable:
        return _from_vectors(container, bands, suitable[0], vectors, options)
    for attrs in (container.entries[bands.name].attrs, container.attrs):
        if options.wavelengths is None and (found := _from_attributes(attrs, bands, options)) is not None:
            return found
        if options.wavelengths is None and (found := _from_names(attrs, bands)) is not None:
            return found
    _refuse_turned(bands, _counts(container, bands, vectors), options)
    if options.wavelengths is not None or options.kind != "cube" or bands.count == 1:
        return None, ()
    alike = [name for name, n in vectors.items() if n == bands.count and _over(container, name, bands)]
    alike = [name for name in alike if quantity(_leaf(name)) is None]  # `band` counts them
    hint = f" ({', '.join(alike)}: one number for each band; --wavelengths {alike[0]}?)" if alike else ""
    order = " x ".join(str(bands.size[axis]) for axis in ORDER)
    taken = f"; its axes have no names: taken as {', '.join(ORDER)}, {order} (--axes)"
    return None, (f"{bands.where}: no wavelengths{hint}{taken if bands.dim is None and options.axes is None else ''}",)


def _counts(container: Container, bands: BandCount, vectors: Mapping[str, int]) -> list[int]:
    """Return the lengths of everything that is called the centres of bands: vectors, and lists among attributes."""
    attributes = {**container.attrs, **container.entries[bands.name].attrs}
    lists = [_numbers(value) for key, value in attributes.items() if CENTRES.match(key) and not UNITS.fullmatch(key)]
    return [n for name, n in vectors.items() if CENTRES.match(_leaf(name))] + [len(v) for v in lists if v is not None]


def _from_names(attrs: Mapping[str, Any], bands: BandCount) -> Found | None:
    """Return the axis from the names of the bands, as rioxarray keeps them; None where these say no wavelengths."""
    named = attrs.get("long_name")
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        return None
    axis, notes = axis_in_names(bands.where, named, bands.count)
    return None if axis is None else (axis, notes)


def _vectors(container: Container) -> dict[str, int]:
    """Return the lengths of the vectors of numbers by their names."""
    lengths = {name: entry.length for name, entry in container.entries.items() if entry.numeric}
    return {name: length for name, length in lengths.items() if length is not None}


def _leaf(name: str) -> str:
    """Return the last part of a name."""
    return name.rpartition("/")[2]


def _centres(container: Container, bands: BandCount, vectors: Mapping[str, int]) -> list[str]:
    """Return the vectors that may be the centres of the bands, the most certain first."""
    alike = [name for name, length in vectors.items() if length == bands.count and _over(container, name, bands)]
    by_standard = [n for n in alike if str(container.entries[n].attrs.get("standard_name", "")) in STANDARD]
    by_name = [n for n in alike if CENTRES.match(_leaf(n))]
    by_unit = [n for n in alike if bands.dim is not None and _leaf(n) == bands.dim and _is_spectral(container, n)]
    return by_standard or by_name or by_unit


def _over(container: Container, name: str, bands: BandCount) -> bool:
    """Return whether a vector lies over the dimension of the bands, as far as names of dimensions say so."""
    dims = container.entries[name].dims
    return bands.dim is None or dims is None or len(dims) != 1 or _leaf(dims[0]) == bands.dim


def _is_spectral(container: Container, name: str) -> bool:
    """Return whether the unit of a vector is one of wavelength or wavenumber (metres are a distance here)."""
    unit = unit_of(container.entries[name].attrs)
    found = None if unit.lower() in LENGTHS else quantity(unit)
    return found is not None and found[0] != "channel"


def unit_of(attrs: Mapping[str, Any]) -> str:
    """Return the unit that attributes say, empty when they do not."""
    said = {key.lower(): value for key, value in attrs.items()}
    value = next((said[key] for key in ("units", "unit", "wavelength_units", "wavelength_unit") if key in said), "")
    return str(value).strip()


def _from_vectors(
    container: Container, bands: BandCount, name: str, vectors: Mapping[str, int], options: Options
) -> Found:
    """Return the axis of a vector of centres, with widths and marks from vectors beside it."""
    unit = options.wavelength_unit or unit_of(container.entries[name].attrs) or unit_in(_leaf(name))
    widths, marks = (_companion(bands, vectors, pattern, near=name) for pattern in (WIDTHS, MARKS))
    fwhm = None if widths is None else container.vector(widths).tolist()
    notes: tuple[str, ...] = ()
    if widths is not None and fwhm is not None:
        fwhm, notes = _same_unit(
            bands.where, fwhm, unit_of(container.entries[widths].attrs) or unit_in(_leaf(widths)), unit
        )
    axis, said = spectral_axis(
        bands.where,
        container.vector(name).tolist(),
        bands=bands.count,
        unit=unit,
        fwhm=fwhm,
        good=None if marks is None else [value != 0 for value in container.vector(marks).tolist()],
    )
    return axis, (*said, *notes)


def _companion(bands: BandCount, vectors: Mapping[str, int], pattern: re.Pattern[str], *, near: str) -> str | None:
    """Return a vector over the bands by its name, that of the same group before others."""
    alike = [n for n, length in vectors.items() if length == bands.count and pattern.match(_leaf(n)) and n != near]
    group = near.rpartition("/")[0]
    return next((n for n in alike if n.rpartition("/")[0] == group), alike[0] if alike else None)


def _same_unit(where: str, fwhm: list[float], own: str, unit: str) -> tuple[list[float] | None, tuple[str, ...]]:
    """Return widths in the unit of the centres; None, and a note, when they are in a unit of another quantity."""
    widths, centres = quantity(own), quantity(unit)
    if not own or widths is None or centres is None or own == unit:
        return fwhm, ()
    if widths[0] != centres[0]:
        return None, (f"{where}: the widths of the bands, in {own!r}, are left out: the centres are in {unit!r}",)
    return [value * widths[1] / centres[1] for value in fwhm], ()


def _from_attributes(attrs: Mapping[str, Any], bands: BandCount, options: Options) -> Found | None:
    """Return the axis from lists of numbers among attributes, one for each band; None without such a list."""
    lists = {key: _numbers(value) for key, value in attrs.items() if key not in PACKING}
    alike = {key: values for key, values in lists.items() if values is not None and len(values) == bands.count > 1}
    centres = next((key for key in alike if CENTRES.match(key) and not WIDTHS.match(key)), None)
    if centres is None:
        return None
    units = next((str(value) for key, value in attrs.items() if UNITS.fullmatch(key)), "")
    widths, marks = (next((alike[k] for k in alike if pattern.match(k)), None) for pattern in (WIDTHS, MARKS))
    return spectral_axis(
        bands.where,
        alike[centres],
        bands=bands.count,
        unit=options.wavelength_unit or units or unit_in(centres),
        fwhm=widths,
        good=None if marks is None else [value != 0 for value in marks],
    )


def _numbers(value: Any) -> list[float] | None:
    """Return the numbers of an attribute, a list or a text of several numbers; None of anything else."""
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip("[]{}() \n"))
    if not isinstance(value, Sequence | np.ndarray):
        return None
    try:
        return [float(v) for v in np.ravel(np.asarray(value)).tolist()]
    except (TypeError, ValueError):
        return None


def _refuse_turned(bands: BandCount, lengths: list[int], options: Options) -> None:
    """Refuse a cube whose number of wavelengths fits another axis than the bands: its axes are in another order."""
    other = [axis for axis in ("y", "x") if bands.size[axis] in lengths]
    if other and options.axes is None and bands.dim is None:
        raise UserError(
            bands.where,
            found=f"{bands.size[other[0]]} wavelengths for {bands.count} bands, but {bands.size[other[0]]} along "
            f"{other[0]}",
            expected="the last axis to be the bands",
            do="Say which axis is which, for example --axes band,y,x.",
        )
