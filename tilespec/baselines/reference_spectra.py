"""Reference spectra: the spectra of classes in a CSV table, one row for each band and one column for each class."""

import csv

import numpy as np
from jaxtyping import Float32

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, SpectralAxis
from tilespec.spectra.bands import NEAR
from tilespec.storage.files import read_table

BAND = "band"
"""The header of a first column of band numbers, for scenes without a spectral axis."""


def read(path: str, axis: SpectralAxis | None, bands: int) -> tuple[tuple[str, ...], Float32[np.ndarray, "class band"]]:
    """Return the names of classes and their spectra at the bands of a scene, by linear interpolation.

    The header is ``wavelength,NAME,NAME,...`` (or ``wavenumber``, or ``band`` for plain numbers), in the scene's unit.

    Raises:
        UserError: the table does not exist, cells are not finite numbers, or it does not reach all bands of the scene.
    """
    header, values = _table(path)
    first, names = header[0].strip().lower(), tuple(name.strip() for name in header[1:])
    if len(names) < 2 or len(set(names)) < len(names) or not all(names) or len(names) >= UNLABELLED:
        raise _broken(path, f"columns {', '.join(header[:6])}", f"2 to {UNLABELLED - 1} classes of different names")
    kinds = (BAND,) if axis is None else (BAND, axis.name)
    if first not in kinds:
        raise _broken(path, f"{header[0]!r} as first column", f"{' or '.join(kinds)}: what the scene's bands are")
    if first != BAND:
        assert axis is not None, "only BAND is there without an axis"
        return names, _at_bands(path, values, axis)
    if len(values) != bands:
        raise _broken(path, f"{len(values)} bands", f"{bands} bands, as the scene has")
    return names, values[:, 1:].T.astype(np.float32)


def _table(path: str) -> tuple[list[str], np.ndarray]:
    """Return the header and the numbers of a table."""
    try:
        rows = [row for row in csv.reader(read_table(path).splitlines()) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _broken(path, f"no table ({error})", "a CSV file") from error
    if not rows:
        raise _broken(path, "an empty file", "a header and one row for each band")
    values = np.empty((len(rows) - 1, len(rows[0])))
    for number, row in enumerate(rows[1:], start=1):
        try:
            values[number - 1] = [float(cell) for cell in row]
        except ValueError as error:
            raise _broken(path, f"row {number}: {','.join(row)[:60]!r}", f"{len(rows[0])} numbers") from error
    if not np.isfinite(values).all():
        raise _broken(path, f"row {1 + int(np.argwhere(~np.isfinite(values))[0, 0])}: not finite", "finite numbers")
    return rows[0], values


def _at_bands(path: str, table: np.ndarray, axis: SpectralAxis) -> Float32[np.ndarray, "class band"]:
    """Return the columns of a table at the centres of the scene's bands, without extrapolation.

    A centre that lies beyond an end of the table by no more than `NEAR`, as after rounding, has the value of the end.
    """
    places, wanted = table[:, 0], np.asarray(axis.values)
    if len(np.unique(places)) < max(2, len(places)):
        raise _broken(path, "a place twice, or one only", f"2 or more different places by {axis.name}")
    order = np.argsort(places)
    places, curves = places[order], table[order, 1:].T
    slack = NEAR if len(wanted) < 2 else max(NEAR, float(np.median(np.abs(np.diff(wanted)))) / 10)
    outside = (wanted < places[0] - slack) | (wanted > places[-1] + slack)
    if outside.any():
        reach = f"{len(places)} bands from {places[0]:g} to {places[-1]:g}"
        more = f"values from {wanted.min():g} to {wanted.max():g} {axis.unit}, for {int(outside.sum())} more bands"
        raise _broken(path, reach, more)
    return np.stack([np.interp(wanted, places, curve) for curve in curves]).astype(np.float32)


def _broken(path: str, found: str, expected: str) -> UserError:
    do = "Write it as wavelength,NAME,NAME,... in the unit of the scene's axis, over all of its bands."
    return UserError(path, found=found, expected=expected, do=do)
