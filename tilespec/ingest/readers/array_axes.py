"""Array axes: which axis of an array is the row, the column and the band: from the user, from names, else in order."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.storage.axes import ORDER, axis_of
from tilespec.storage.columns import SPECTRUM

LEFT_OUT: Final = "-"
"""The name of an axis of length one that is left out, such as the time of a single image."""
MEANINGS: Final = {
    "projection_x_coordinate": "x",
    "projection_y_coordinate": "y",
    "longitude": "x",
    "latitude": "y",
    "grid_longitude": "x",
    "grid_latitude": "y",
    "degrees_east": "x",
    "degrees_north": "y",
    "radiation_wavelength": "band",
    "radiation_wavenumber": "band",
    "x": "x",
    "y": "y",
}
"""The axis by CF's attributes ``standard_name``, ``axis`` and ``units`` of the coordinate of a dimension."""

Axes = tuple[str, ...]


def meaning(attrs: Mapping[str, Any]) -> str | None:
    """Return the axis that the attributes of a coordinate say it belongs to, or None."""
    said = [str(attrs.get(key, "")).strip().lower() for key in ("standard_name", "axis", "units")]
    return next((MEANINGS[text] for text in said if text in MEANINGS), None)


def axes_of(
    where: str,
    shape: tuple[int, ...],
    dims: tuple[str, ...] | None,
    order: str | None,
    known: Mapping[str, str],
    *,
    column_major: bool = False,
) -> tuple[Axes, tuple[str, ...]]:
    """Return the names of an array's axes, `LEFT_OUT` for what is left out, and notes.

    Args:
        where: The array, for messages.
        shape: Its shape.
        dims: The names of its dimensions, if it has them.
        order: The user's ``--axes``.
        known: The axes of dimensions by their coordinates.
        column_major: Whether axes are stored reversed (MATLAB 7.3); the user's names are then in MATLAB's order.
    """
    if is_of_spectra(order):
        return _of_spectra(str(order), shape, column_major=column_major), ()
    if order is not None and len(shape) > 2:
        return _by_user(order, shape, column_major=column_major), ()
    if dims is not None:
        return _named(where, shape, dims, known)
    wanted = ORDER[: min(len(shape), 3)]
    wanted = wanted[::-1] if column_major else wanted
    spare = _short(shape, [None] * len(shape))
    left = iter(wanted)
    return tuple(LEFT_OUT if i in spare else next(left) for i in range(len(shape))), ()


def is_of_spectra(order: str | None) -> bool:
    """Return whether the user's ``--axes`` are those of spectra without places."""
    return order is not None and SPECTRUM in words_of(order)


def words_of(order: str) -> tuple[str, ...]:
    """Return the names of axes in ``--axes``."""
    return tuple(word.strip() for word in order.split(","))


def fits(shape: Sequence[int], ranks: Sequence[int], dims: tuple[str, ...] | None) -> bool:
    """Return whether an array has one of the numbers of axes, without axes of length one that mean nothing."""
    axes = [None] * len(shape) if dims is None else [axis_of(dim) for dim in dims]
    return len(shape) - len(_short(tuple(shape), axes)) in ranks


def _short(shape: tuple[int, ...], axes: Sequence[str | None]) -> list[int]:
    """Return the axes of length one beyond the three of a cube that mean nothing."""
    short = [i for i, (size, axis) in enumerate(zip(shape, axes, strict=True)) if size == 1 and axis is None]
    return short if len(short) == len(shape) - 3 else short[: max(0, len(shape) - 3)]


def _by_user(order: str, shape: tuple[int, ...], *, column_major: bool) -> Axes:
    """Return the axes in the user's words; other words than y, x and band name axes of length one."""
    words = words_of(order)[::-1] if column_major else words_of(order)
    others = [size for word, size in zip(words, shape, strict=False) if word not in ORDER]
    if len(words) != len(shape) or sorted(w for w in words if w in ORDER) != sorted(ORDER) or set(others) - {1}:
        raise UserError(
            "--axes",
            found=repr(order),
            expected=f"y, x and band in some order, and any name for another axis of length one, of {shape}",
            do="Try --axes band,y,x.",
        )
    return tuple(word if word in ORDER else LEFT_OUT for word in words)


def _of_spectra(order: str, shape: tuple[int, ...], *, column_major: bool) -> Axes:
    """Return the axes of an array of spectra as those of a plane one pixel wide, which has no x.

    One number for each spectrum may lie in a row or a column, as MATLAB stores all vectors.
    """
    words = words_of(order)[::-1] if column_major else words_of(order)
    if words == (SPECTRUM,) and prod(shape) == max(shape):
        words = tuple(SPECTRUM if i == shape.index(max(shape)) else LEFT_OUT for i in range(len(shape)))
    elif sorted(words) != ["band", SPECTRUM]:
        raise UserError(
            "--axes",
            found=repr(order),
            expected=f"spectrum and band in some order, of {shape}",
            do="Try --axes spectrum,band.",
        )
    return tuple("y" if word == SPECTRUM else word for word in words)


def _named(
    where: str, shape: tuple[int, ...], dims: tuple[str, ...], known: Mapping[str, str]
) -> tuple[Axes, tuple[str, ...]]:
    """Return axes by the names of dimensions; a single unknown name is the remaining axis."""
    axes = [axis_of(dim) or known.get(dim) for dim in dims]
    spare = _short(shape, axes)
    wanted = ORDER[: len(shape) - len(spare)]
    used = [axis for axis in axes if axis is not None]
    left = [axis for axis in wanted if axis not in used]
    unknown = [i for i, axis in enumerate(axes) if axis is None and i not in spare]
    names = tuple(dims[i] for i in range(len(dims)) if i not in spare)
    if not used and len(unknown) == len(wanted):
        note = f"{where}: its dimensions {', '.join(names)} have no known meaning: taken as {', '.join(wanted)}"
        return tuple(LEFT_OUT if i in spare else wanted[unknown.index(i)] for i in range(len(dims))), (note,)
    if len(unknown) > 1 or len(left) != len(unknown) or len(set(used)) < len(used) or set(used) - set(wanted):
        extra = [f"{dims[i]} of length {shape[i]}" for i in unknown]
        raise UserError(
            where,
            found=f"dimensions {names}",
            expected="y, x and band" + (f", and {' and '.join(extra)} is none of them" if len(extra) == 1 else ""),
            do="Say which is which with --axes.",
        )
    return tuple(LEFT_OUT if i in spare else axis or left[0] for i, axis in enumerate(axes)), ()
