"""Packing: from stored numbers to values, as the attributes of an array say (CF 1.11, 2.5.1 and 8.1).

``value = stored * scale_factor + add_offset``; ``_FillValue``, ``missing_value`` (one number or several), ``nodata``
and whatever lies outside ``valid_range``, ``valid_min`` or ``valid_max`` is no data; ``_Unsigned`` says that the bits
of a signed type are an unsigned number. Cubes, layers and coordinates of all formats with attributes pass through it.
"""

import base64
import binascii
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Shaped

from tilespec.core.errors import UserError

SCALE, OFFSET, UNSIGNED = "scale_factor", "add_offset", "_Unsigned"
FILLS: Final = ("_FillValue", "missing_value", "nodata")
RANGE: Final = ("valid_range", "valid_min", "valid_max")
PACKING: Final = frozenset({SCALE, OFFSET, UNSIGNED, *FILLS, *RANGE})
"""The attributes that say how stored numbers become values."""
DOUBLE: Final = 8
"""The bytes of a fill value that xarray stores as base64 in Zarr v3."""

Number = int | float
Limits = tuple[float, float]


@final
@dataclass(frozen=True, kw_only=True)
class Packing:
    """How the stored numbers of one array become values."""

    dtype: np.dtype[Any]
    """The data type of the stored numbers after ``_Unsigned``, of the size that is stored."""
    scale: float = 1.0
    """The difference in value for a stored step of 1."""
    offset: float = 0.0
    """The value of a stored 0."""
    fills: tuple[Number, ...] = ()
    """The stored numbers that mean no data; NaN always does."""
    limits: Limits | None = None
    """The smallest and the largest stored number that is data."""
    notes: tuple[str, ...] = ()
    """What the attributes say and the numbers cannot be."""

    @classmethod
    def of(cls, where: object, attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> "Packing":
        """Return the packing of an array of a real data type.

        Args:
            where: The array, for messages.
            attrs: The attributes of the array.
            dtype: The stored data type.

        Raises:
            UserError: an attribute of the packing does not hold a number, or a scale is 0 or not finite.
        """
        unsigned = _reinterpreted(attrs, dtype)
        scale, offset = (_single(where, attrs, key, default) for key, default in ((SCALE, 1.0), (OFFSET, 0.0)))
        if scale == 0:
            raise _bad(where, SCALE, scale)
        turned = unsigned != dtype.newbyteorder("=")
        named = {key: [_stored(v, unsigned, turned) for v in _numbers(where, attrs, key)] for key in FILLS}
        impossible = {key: [v for v in values if not _possible(v, unsigned)] for key, values in named.items()}
        notes = tuple(
            f"{where}: {key} {', '.join(f'{v:g}' for v in values)} cannot occur in {unsigned.name}: it hides nothing"
            for key, values in impossible.items()
            if values
        )
        fills = (v for values in named.values() for v in values if _possible(v, unsigned) and not np.isnan(v))
        limits, said = _limits(where, attrs, unsigned, _Steps(scale, offset, turned))
        return cls(
            dtype=unsigned,
            scale=scale,
            offset=offset,
            fills=tuple(dict.fromkeys(fills)),
            limits=limits,
            notes=(*notes, *said),
        )

    def simple(self, dtype: np.dtype[Any]) -> bool:
        """Return whether a scale and one number for no data describe stored numbers of ``dtype`` completely."""
        plain = self.offset == 0 and self.limits is None and self.dtype == dtype.newbyteorder("=")
        return plain and len(self.fills) <= 1 and all(int(float(v)) == v for v in self.fills if isinstance(v, int))

    def typed(self, stored: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """Return stored numbers in their data type."""
        return stored.astype(stored.dtype.newbyteorder("="), copy=False).view(self.dtype)

    def missing(self, stored: Shaped[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Return where stored numbers, of the data type of the packing, mean no data."""
        gaps: np.ndarray = np.isnan(stored) if stored.dtype.kind == "f" else np.zeros(stored.shape, bool)
        for fill in self.fills:
            gaps |= stored == fill
        if self.limits is not None:
            with np.errstate(invalid="ignore"):
                gaps |= (stored < self.limits[0]) | (stored > self.limits[1])
        return gaps

    def values(self, stored: Shaped[np.ndarray, "..."], dtype: Any = np.float64) -> Shaped[np.ndarray, "..."]:
        """Return values as floats, computed in float64 and rounded once; NaN for no data."""
        numbers = self.typed(stored)
        unpacked = (
            numbers if (self.scale, self.offset) == (1.0, 0.0) else numbers * np.float64(self.scale) + self.offset
        )
        out: np.ndarray = np.array(unpacked, dtype)
        out[self.missing(numbers)] = np.nan
        return out


def _reinterpreted(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the data type that ``_Unsigned`` makes of a stored one, in the byte order of the machine."""
    native, said = dtype.newbyteorder("="), str(_plain(attrs.get(UNSIGNED, ""))).strip().lower()
    kinds = {("i", "true"): "u", ("i", "1"): "u", ("u", "false"): "i", ("u", "0"): "i"}
    kind = kinds.get((native.kind, said))
    return native if kind is None else np.dtype(f"{kind}{native.itemsize}")


def _plain(value: Any) -> Any:
    """Return bytes as text, and a list of one as its entry."""
    if isinstance(value, np.ndarray | list | tuple) and np.size(value) == 1:
        value = np.ravel(np.asarray(value, object))[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _numbers(where: object, attrs: Mapping[str, Any], key: str) -> list[Number]:
    """Return the numbers of an attribute; none when it is not there."""
    value = _plain(attrs.get(key))
    if value is None:
        return []
    if isinstance(value, str):
        words = value.replace(",", " ").replace(";", " ").split()
        return [_parsed(where, key, word) for word in words] or [_parsed(where, key, value)]
    entries: Iterable[Any] = np.ravel(value).tolist() if isinstance(value, np.ndarray | list | tuple) else [value]
    return [_parsed(where, key, entry) for entry in entries]


def _parsed(where: object, key: str, value: Any) -> Number:
    """Return a number, or the number in a text: digits, NaN, or the base64 of a double as xarray writes it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float):
        return value
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    try:
        return float(text)
    except (TypeError, ValueError):
        pass
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise _bad(where, key, text) from error
    if len(raw) != DOUBLE:
        raise _bad(where, key, text)
    return float(struct.unpack("<d", raw)[0])


def _bad(where: object, key: str, value: Any) -> UserError:
    return UserError(
        f"{where}: {key}",
        found=repr(value)[:60],
        expected="one finite number other than 0" if key in (SCALE, OFFSET) else "numbers",
        do="Correct the attribute, or remove it.",
    )


def _single(where: object, attrs: Mapping[str, Any], key: str, default: float) -> float:
    """Return the one number of an attribute."""
    values = _numbers(where, attrs, key) or [default]
    if len(set(values)) > 1 or not np.isfinite(values[0]):
        raise _bad(where, key, attrs[key])
    return float(values[0])


def _stored(value: Number, dtype: np.dtype[Any], turned: bool) -> Number:
    """Return a number as the data type holds it, such as the largest float from rounded text.

    Where the type is ``turned`` into one of another sign, it is the number that the same bits are then.
    """
    if dtype.kind == "f":
        top = float(np.finfo(dtype).max)
        if np.isfinite(value) and abs(value) > top * (1 - 1e-5):
            return float(np.copysign(top, value))
        return float(dtype.type(value)) if np.isfinite(value) else float(value)
    if dtype.kind not in "iu" or not np.isfinite(value) or not float(value).is_integer():
        return float(value)
    whole, info = int(value), np.iinfo(dtype)
    if not turned or info.min <= whole <= info.max:
        return whole
    return whole - int(np.copysign(1 << info.bits, whole))


def _possible(value: Number, dtype: np.dtype[Any]) -> bool:
    """Return whether an array of the data type can hold a number."""
    if dtype.kind == "f":
        return True
    if dtype.kind == "b":
        return value in (0, 1)
    info = np.iinfo(dtype)
    return isinstance(value, int) and info.min <= value <= info.max


class _Steps(NamedTuple):
    """What limits in the unit of the values are divided by."""

    scale: float
    offset: float
    turned: bool


def _limits(
    where: object, attrs: Mapping[str, Any], dtype: np.dtype[Any], steps: _Steps
) -> tuple[Limits | None, tuple[str, ...]]:
    """Return the limits of stored numbers, and a note that they hide what lies outside."""
    both = _numbers(where, attrs, RANGE[0])
    low, high = (_numbers(where, attrs, key)[:1] for key in RANGE[1:])
    if len(both) == 2:
        low, high = both[:1], both[1:]
    if dtype.kind not in "iuf" or not low + high:
        return None, ()
    ends = [_limit(v, dtype, steps) for v in ((low or [-np.inf])[0], (high or [np.inf])[0])]
    bottom, top = sorted(ends)  # a negative scale exchanges limits in the unit of the values
    note = f"{where}: values outside its valid range ({bottom:g} to {top:g} as stored) are no data"
    return (float(bottom), float(top)), (note,)


def _limit(value: Number, dtype: np.dtype[Any], steps: _Steps) -> float:
    """Return a limit in stored numbers: a float of packed integers is in the unit of the values (NetCDF's guide)."""
    if dtype.kind in "iu" and isinstance(value, float) and (steps.scale, steps.offset) != (1.0, 0.0):
        return (value - steps.offset) / steps.scale
    return float(_stored(value, dtype, steps.turned)) if np.isfinite(value) else float(value)
