"""Encode: from a source's values to stored values: calibrated or unchanged, floats or scaled integers.

A piece has `LINES` lines and the columns of one object, so it fits the processor's cache, and its memory is reused. It
has the memory order of the source, so that arithmetic runs along memory and only the last copy transposes it.
"""

import threading
from dataclasses import dataclass
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.ingest.calibration.white_dark import Calibration, Terms
from tilespec.ingest.readers.source import Facts, without_data

LINES: Final = 8
"""The number of lines in a piece: 0.8 MB of float32 for 128 columns and 186 bands."""
PAD: Final = 16
"""The number of unused elements between rows."""
QUANTUM: Final = 1e-4
"""The reflectance of one step in a cube stored as uint16."""
QUANTISED_NODATA: Final = 65535
"""The nodata value of a cube stored as uint16."""

Counts = dict[str, int]
Good = Int64[np.ndarray, " good"] | None
Piece = Shaped[np.ndarray, "_y _x band"]


@runtime_checkable
class Encoder(Protocol):
    """The conversion from rows of a source to rows of the stored cube."""

    @property
    def dtype(self) -> str:
        """The data type of the stored cube."""

    @property
    def scale(self) -> float:
        """The factor from stored values to values."""

    @property
    def nodata(self) -> float | None:
        """The stored value for no data; None or NaN for floats."""

    def encode(self, raw: Piece, terms: Terms | None, out: Piece, buffers: Buffers) -> Counts:
        """Write a few lines into ``out``, calibrated by ``terms`` if given; return the counts of special values."""


@final
@dataclass(frozen=True, kw_only=True)
class Keep:
    """An encoder that does not change integers, except clipping to uint16."""

    dtype: str
    """The data type of the stored cube."""
    scale: float
    """The scale factor from the source."""
    nodata: float | None
    """The stored nodata value."""
    hidden: float | None
    """The nodata value of the source."""
    good: Good = None
    """The bands in which pixels without data are counted; None means all."""

    def encode(self, raw: Piece, terms: Terms | None, out: Piece, buffers: Buffers) -> Counts:  # noqa: ARG002
        """Copy lines and count pixels without data; counts of a camera are not calibrated."""
        work = ordered(buffers, "work", raw, self.dtype)
        counts: Counts = {}
        if raw.dtype.newbyteorder("=") == work.dtype:
            np.copyto(work, raw)
        else:
            top = QUANTISED_NODATA - 1
            clipped = (raw < 0) | (raw > top)
            np.copyto(work, np.clip(raw, 0, top), casting="unsafe")
            if self.hidden is not None:
                clipped &= raw != self.hidden
                work[raw == self.hidden] = QUANTISED_NODATA
            counts["clipped"] = int(clipped.sum())
        if self.hidden is not None:
            hidden = (raw if self.good is None else raw[..., self.good]) == self.hidden
            counts["nan_pixels"] = int(hidden.any(axis=-1).sum())
            counts["empty_pixels"] = int(hidden.all(axis=-1).sum())
        np.copyto(out, work)
        return counts


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """An encoder of real values, calibrated counts or floats, stored as floats or in steps of 1e-4."""

    dtype: str
    """The data type of the stored cube."""
    scale: float
    """The factor from stored values to values."""
    nodata: float | None
    """The stored nodata value."""
    hidden: float | None
    """The nodata value of the source."""
    factor: float = 1.0
    """The factor from source values to reflectance, used for storage in steps."""
    calibration: Calibration | None = None
    """The white and dark calibration."""
    good: Good = None
    """The bands in which pixels without data are counted; None means all."""

    def encode(self, raw: Piece, terms: Terms | None, out: Piece, buffers: Buffers) -> Counts:
        """Convert lines and count special values."""
        floats = out.dtype.kind == "f"
        work = ordered(buffers, "work", raw, np.float64 if out.dtype == np.float64 else np.float32, apart=floats)
        counts = self._values(raw, terms, work)
        if floats:
            np.copyto(out, work)
            return counts
        steps = ordered(
            buffers, "steps", raw, out.dtype
        )  # the cast runs along memory, and half the bytes are transposed
        counts["clipped"] = _quantise(work, self.factor, steps)
        np.copyto(out, steps)
        return counts

    def _values(self, raw: Piece, terms: Terms | None, work: Piece) -> Counts:
        """Write the values of a piece in its own memory order."""
        counts: Counts = {}
        if terms is None:
            np.copyto(work, raw, casting="same_kind")
        else:
            full = _saturated(raw, self.hidden)  # before the counts change, while they are read into the cache
            terms.apply(raw, work)
            counts["saturated"] = 0 if full is None else int(full.sum())
            if full is not None:
                work[full] = np.nan
        gaps = None if self.hidden is None else without_data(raw, self.hidden)
        if gaps is not None:
            work[gaps] = np.nan
        if terms is None:
            return counts | _unknown(work, self.good)
        terms.mend(work)
        if terms.finite and raw.dtype.kind in "iu" and not counts["saturated"] and (gaps is None or not gaps.any()):
            return counts
        return counts | _unknown(work, self.good)


def ordered(buffers: Buffers, name: str, like: Piece, dtype: Any, *, apart: bool = False) -> Piece:
    """Return an array of the shape of ``like``, with the same order of axes in memory.

    With ``apart`` each row has an extra cache line: a transposition reads across rows, and rows of 512 bytes would all
    use the same few sets of the cache.
    """
    axes = sorted(range(3), key=lambda axis: -abs(like.strides[axis]))
    *outer, inner = (like.shape[axis] for axis in axes)
    rows = buffers.array(name, (*outer, inner + (PAD if apart else 0)), dtype)
    return rows[..., :inner].transpose(np.argsort(axes))


def add(total: Counts, counts: Counts) -> None:
    """Add counts to a total in place."""
    for key, value in counts.items():
        total[key] = total.get(key, 0) + value


def encoder(facts: Facts, dtype: str | None, calibration: Calibration | None) -> Encoder:
    """Return the encoder of a source for ``dtype`` (None: the source's type, or float32 for reflectance).

    Raises:
        UserError: the data type is not float32, float64 or uint16.
    """
    native = facts.dtype.newbyteorder("=").name
    if dtype not in (None, native, "float32", "float64", "uint16"):
        raise UserError(
            "--dtype", found=dtype, expected=f"float32, uint16 or the source's {native}", do="Choose one of these."
        )
    integer = facts.dtype.kind in "iu"
    good = _good(facts)
    wanted = dtype or (native if calibration is None else "float32")
    if integer and calibration is None and np.dtype(wanted).kind in "iu":
        nodata = facts.nodata if wanted == native or facts.nodata is None else float(QUANTISED_NODATA)
        return Keep(dtype=wanted, scale=facts.scale, nodata=nodata, hidden=facts.nodata, good=good)
    hidden = None if facts.nodata is None or np.isnan(facts.nodata) else facts.nodata
    scale = 1.0 if calibration is not None else facts.scale
    if np.dtype(wanted).kind == "f":
        return Measure(dtype=wanted, scale=scale, nodata=None, hidden=hidden, calibration=calibration, good=good)
    return Measure(
        dtype=wanted,
        scale=QUANTUM,
        nodata=float(QUANTISED_NODATA),
        hidden=hidden,
        factor=scale,
        calibration=calibration,
        good=good,
    )


def _good(facts: Facts) -> Good:
    """Return the bands that are not marked as bad, or None when all are good."""
    marks = None if facts.spectral is None else facts.spectral.good
    return None if marks is None or all(marks) else np.flatnonzero(marks)


@final
class ConstantBands:
    """The single value of each constant band, over blocks that several threads add in any order."""

    def __init__(self, bands: int, nodata: float | None) -> None:
        self.values = np.full(bands, np.nan)
        self._nodata, self._lock = nodata, threading.Lock()

    def see(self, block: Piece) -> None:
        """Add the stored values of a block."""
        if not np.isinf(self.values).all():  # real scenes have no constant band after the first block
            with self._lock:
                self.values = narrow(self.values, block, self._nodata)


def narrow(constants: Float64[np.ndarray, " band"], block: Piece, nodata: float | None) -> Float64[np.ndarray, " band"]:
    """Return the single value of each band so far: NaN without data, infinity when the band varies.

    Only bands without variation so far are compared, and first in one line, which is enough for real scenes.
    """
    constants = constants.copy()
    for lines in (block[:1], block):
        left = np.flatnonzero(~np.isinf(constants))
        for band in left:
            plane = lines[..., band]
            hidden = np.isnan(plane) if nodata is None else plane == nodata
            data = plane[~hidden]
            if data.size:
                first = float(data[0]) if np.isnan(constants[band]) else constants[band]
                constants[band] = first if (data == first).all() else np.inf
    return constants


def _saturated(raw: Piece, hidden: float | None) -> Bool[np.ndarray, "_y _x band"] | None:
    """Return which counts are at the maximum of the detector, or None without any."""
    if raw.dtype.kind not in "iu":
        return None
    top = np.iinfo(raw.dtype).max
    if hidden == top or raw.max() < top:
        return None
    full: np.ndarray = raw == top
    return full


def _unknown(work: Piece, good: Good) -> Counts:
    """Set infinities to NaN; return pixels with NaN in a good band, pixels without any data, and the infinities."""
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = ~np.isfinite(work.sum(axis=-1))
    if not suspects.any():
        return {}
    spectra = work[suspects]
    infinite = np.isinf(spectra)
    if infinite.any():
        spectra[infinite] = np.nan
        work[suspects] = spectra
    unknown = np.isnan(spectra if good is None else spectra[:, good])
    return {
        "nan_pixels": int(unknown.any(axis=-1).sum()),
        "empty_pixels": int(unknown.all(axis=-1).sum()),
        "infinities": int(infinite.sum()),
    }


def _quantise(work: Piece, factor: float, out: Piece) -> int:
    """Write reflectance in steps of 1e-4, with NaN as 65535; return the number of clipped values."""
    top = QUANTISED_NODATA - 1
    np.multiply(work, factor / QUANTUM, out=work)
    np.rint(work, out=work)
    clipped = 0
    if not (work.min() >= 0 and work.max() <= top):  # true for NaN too; rare
        with np.errstate(invalid="ignore"):
            clipped = int(((work < 0) | (work > top)).sum())
        np.clip(work, 0, top, out=work)
        work[np.isnan(work)] = QUANTISED_NODATA
    np.copyto(out, work, casting="unsafe")
    return clipped
