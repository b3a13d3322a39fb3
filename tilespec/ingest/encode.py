"""From what a source holds to what the scene stores: calibrated or as it is, float or scaled integers.

Work goes through pieces of a few lines and 128 columns that stay in the processor's cache; the piece has the memory
order of the source, so that arithmetic runs along memory and the one transposition happens on the way out.
"""

from dataclasses import dataclass
from typing import Final, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64

from tilespec.errors import UserError
from tilespec.ingest.calibrate import Calibration
from tilespec.ingest.source import Facts
from tilespec.types import Cube

COLUMNS: Final = 128
"""Columns of a piece."""
LINES: Final = 8
"""Lines of a piece."""
QUANTUM: Final = 1e-4
"""Reflectance of one step of a cube stored as uint16."""
QUANTISED_NODATA: Final = 65535
"""Nodata of a cube stored as uint16."""

Counts = dict[str, int]
Good = Int64[np.ndarray, " good"] | None


@runtime_checkable
class Encoder(Protocol):
    """How rows of a source become rows of the stored cube."""

    @property
    def dtype(self) -> str:
        """Data type of the stored cube."""

    @property
    def scale(self) -> float:
        """Stored values times this are the values."""

    @property
    def nodata(self) -> float | None:
        """Stored value without data; None or NaN for floats."""

    def encode(self, raw: Cube, out: Cube) -> Counts:
        """Write ``raw`` into ``out`` and return what was counted."""


@final
@dataclass(frozen=True, kw_only=True)
class Keep:
    """Integers stay as they are; into uint16 they are clipped."""

    dtype: str
    """Data type of the stored cube."""
    scale: float
    """As the source says."""
    nodata: float | None
    """As stored."""
    hidden: float | None
    """Nodata of the source."""
    good: Good = None
    """Bands that count when pixels without data are counted; None: all."""

    def encode(self, raw: Cube, out: Cube) -> Counts:
        """Copy, and count pixels without data."""
        counts: Counts = {}
        if raw.dtype.newbyteorder("=") == out.dtype:
            np.copyto(out, raw)
        else:
            top = QUANTISED_NODATA - 1
            clipped = (raw < 0) | (raw > top)
            np.copyto(out, np.clip(raw, 0, top), casting="unsafe")
            if self.hidden is not None:
                clipped &= raw != self.hidden
                out[raw == self.hidden] = QUANTISED_NODATA
            counts["clipped"] = int(clipped.sum())
        if self.hidden is not None:
            hidden = (raw if self.good is None else raw[..., self.good]) == self.hidden
            counts["nan_pixels"] = int(hidden.any(axis=-1).sum())
            counts["empty_pixels"] = int(hidden.all(axis=-1).sum())
        return counts


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """Real values: calibrated counts, or floats as they are; stored as floats or as steps of 1e-4."""

    dtype: str
    """Data type of the stored cube."""
    scale: float
    """Stored values times this are the values."""
    nodata: float | None
    """As stored."""
    hidden: float | None
    """Nodata of the source."""
    factor: float = 1.0
    """Source values times this are reflectance (used where values are quantised)."""
    calibration: Calibration | None = None
    """White and dark."""
    good: Good = None
    """Bands that count when pixels without data are counted; None: all."""

    def encode(self, raw: Cube, out: Cube) -> Counts:
        """Convert piece by piece, and count."""
        total: Counts = {}
        for y0 in range(0, raw.shape[0], LINES):
            for x0 in range(0, raw.shape[1], COLUMNS):
                rows, cols = slice(y0, y0 + LINES), slice(x0, min(x0 + COLUMNS, raw.shape[1]))
                for key, value in self._piece(raw[rows, cols], cols, out[rows, cols]).items():
                    total[key] = total.get(key, 0) + value
        return total

    def _piece(self, raw: Cube, cols: slice, out: Cube) -> Counts:
        """Convert one piece."""
        work = np.empty_like(raw, dtype=np.float64 if out.dtype == np.float64 else np.float32)
        counts: Counts = {}
        if self.calibration is None:
            np.copyto(work, raw, casting="same_kind")
        else:
            self.calibration.apply(raw, cols, work)
            counts["saturated"] = _saturated(raw, self.hidden, work)
        if self.hidden is not None:
            work[raw == self.hidden] = np.nan
        if self.calibration is not None:
            self.calibration.mend(cols, work)
        counts |= _unknown(work, self.good)
        if out.dtype.kind == "f":
            np.copyto(out, work)
        else:
            counts["clipped"] = _quantise(work, self.factor, out)
        return counts


def encoder(facts: Facts, dtype: str | None, calibration: Calibration | None) -> Encoder:
    """Return how a source becomes a cube of ``dtype`` (None: integers and floats stay, reflectance is float32).

    Raises:
        UserError: another data type than float32, float64 or uint16 is asked for.
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
    """Return the bands that are not marked bad; None when all are good."""
    marks = None if facts.spectral is None else facts.spectral.good
    return None if marks is None or all(marks) else np.flatnonzero(marks)


def narrow(known: Float64[np.ndarray, " band"], block: Cube, nodata: float | None) -> Float64[np.ndarray, " band"]:
    """Return, for each band, its one value so far: NaN when it had no data yet, infinity when it varies.

    Only bands that have not varied yet are looked at, first in one line: for real scenes that is the end of it.
    """
    known = known.copy()
    for lines in (block[:1], block):
        left = np.flatnonzero(~np.isinf(known))
        for band in left:
            plane = lines[..., band]
            hidden = np.isnan(plane) if nodata is None else plane == nodata
            data = plane[~hidden]
            if data.size:
                first = float(data[0]) if np.isnan(known[band]) else known[band]
                known[band] = first if (data == first).all() else np.inf
    return known


def _saturated(raw: Cube, hidden: float | None, work: Cube) -> int:
    """Set counts at the end of the detector's range to NaN, and return how many there are."""
    if raw.dtype.kind not in "iu":
        return 0
    top = np.iinfo(raw.dtype).max
    if hidden == top or raw.max() < top:
        return 0
    full = raw == top
    work[full] = np.nan
    return int(full.sum())


def _unknown(work: Cube, good: Good) -> Counts:
    """Set infinities to NaN; return the pixels with a NaN in a good band, those without any data, the infinities."""
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


def _quantise(work: Cube, factor: float, out: Cube) -> int:
    """Write reflectance in steps of 1e-4, NaN as 65535; return how many values were clipped."""
    top = QUANTISED_NODATA - 1
    np.multiply(work, factor / QUANTUM, out=work)
    np.rint(work, out=work)
    clipped = 0
    if not (work.min() >= 0 and work.max() <= top):  # also when one is NaN; most pieces need none of this
        with np.errstate(invalid="ignore"):
            clipped = int(((work < 0) | (work > top)).sum())
        np.clip(work, 0, top, out=work)
        work[np.isnan(work)] = QUANTISED_NODATA
    np.copyto(out, work, casting="unsafe")
    return clipped
