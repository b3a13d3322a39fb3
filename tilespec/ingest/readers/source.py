"""Source: the result of every reader. A reader is a callable ``(path, options) -> Source``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Shaped

from tilespec.core.errors import UserError
from tilespec.core.types import Cube, SpectralAxis
from tilespec.storage.columns import SPECTRUM

HUGE: Final = (3.4e38, 1.79e308)
"""The sizes from which a float is the largest of its type, in whatever rounding: the texts of it differ."""


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the user for a file, in addition to its path. Each reader uses those that concern it."""

    kind: Literal["cube", "labels", "reference"] = "cube"
    """The kind of source: a cube, a class map of one band, or a white or dark reference."""
    variable: str | None = None
    """The name of the array in a file of several."""
    axes: str | None = None
    """The order of the array's axes, such as ``band,y,x``; ``spectrum,band`` for a table; None: by the format, else
    ``y,x,band``."""
    table: bool = False
    """Whether labels belong to a table of spectra: one number for each spectrum."""
    wavelengths: str | None = None
    """The text file of wavelengths, or the name of a variable in the same file."""
    wavelength_unit: str | None = None
    """The unit of the wavelengths, whatever the source says: nm, um or cm-1."""
    allow_truncated: bool = False
    """Whether to read the complete lines of a file that ends early; the others have no data."""
    rgb: bool = False
    """Whether to read three bands as red, green and blue of sRGB, in any format."""
    peak: float | None = None
    """The stored value of 1; None: by the format."""

    @property
    def order(self) -> str | None:
        """The order of the axes by the user, or by what the array belongs to; None: by the format."""
        return SPECTRUM if self.table else self.axes


@final
@dataclass(frozen=True, kw_only=True)
class SourceLayer:
    """A ``y, x`` layer beside a cube, such as the latitude of each pixel of a swath."""

    name: str
    """The name of the layer in the scene."""
    dtype: np.dtype[Any]
    """The data type of the layer in the scene; floats have NaN for no data."""
    read: Callable[[int, int], np.ndarray]
    """The function that returns rows ``y0`` to ``y1`` (exclusive) with all columns."""
    attrs: dict[str, Any] = field(default_factory=dict)
    """The attributes by CF: ``units``, ``standard_name``."""


@final
@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of a source that are known before a pixel is read."""

    shape: tuple[int, int, int]
    """The shape ``y, x, band``."""
    dtype: np.dtype[Any]
    """The stored data type, including the byte order."""
    spectral: SpectralAxis | None = None
    """The spectral axis of the bands; None when the source has none."""
    georef: dict[str, Any] | None = None
    """The attributes of a CF grid mapping with ``crs_wkt`` and ``GeoTransform``."""
    nodata: float | None = None
    """The stored value of elements without data (NaN always means no data)."""
    scale: float = 1.0
    """The factor from stored values to reflectance (or to the quantity of the source)."""
    classes: tuple[str, ...] = ()
    """The names of the classes 0, 1, ... of a class map."""
    colour_space: str | None = None
    """The encoding ``sRGB`` of light (`tilespec.ingest.readers.image_light`); None for values without encoding."""
    table: bool = False
    """Whether the source is a table of spectra without places, as a plane one pixel wide."""
    layers: tuple[SourceLayer, ...] = ()
    """The further layers on the same pixels, which go into the scene."""
    header: dict[str, str] = field(default_factory=dict)
    """The other facts of the source as text."""
    notes: tuple[str, ...] = ()
    """The assumptions that were made and the facts that were ignored; each is reported to the user once."""
    files: tuple[Path, ...] = ()
    """The files whose bytes decide the result."""
    read_bytes: int = 1 << 22
    """The preferred size of one read in bytes."""


@runtime_checkable
class Source(Protocol):
    """A cube that can be read by rows."""

    @property
    def facts(self) -> Facts:
        """The facts of the source."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows ``y0`` to ``y1`` (exclusive) as ``y, x, band`` in the stored data type.

        The array is valid until the next call: readers reuse their buffers.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Relabelled:
    """A source with changed facts."""

    facts: Facts
    """The changed facts."""
    inner: Source
    """The source of the values."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows of the inner source."""
        return self.inner.read_rows(y0, y1)


def lines_per_read(facts: Facts) -> int:
    """Return the number of lines in one read of the preferred size."""
    line = facts.shape[1] * facts.shape[2] * facts.dtype.itemsize
    return max(1, facts.read_bytes // line)


def refuse_array_options(path: Path, options: Options) -> None:
    """Refuse the name of an array, or an order of axes, for a format that has neither."""
    for flag, value in (("--variable", options.variable), ("--axes", options.axes)):
        if value is not None:
            raise UserError(
                flag,
                found=f"{value!r} for {path.name}",
                expected="no such option for a format that holds one cube and knows its axes",
                do=f"Leave {flag} away.",
            )


def possible_nodata(where: object, value: float | None, dtype: np.dtype[Any]) -> tuple[float | None, tuple[str, ...]]:
    """Return a value for no data; if the data type cannot hold it, return None and a note."""
    if value is None or dtype.kind not in "iu":
        return value, ()
    limits = np.iinfo(dtype)
    if np.isfinite(value) and value == int(value) and limits.min <= value <= limits.max:
        return value, ()
    return None, (f"{where}: data ignore value {value:g} cannot occur in {dtype.name}, ignored",)


def without_data(raw: Shaped[np.ndarray, "..."], nodata: float | None) -> Bool[np.ndarray, "..."]:
    """Return which stored values mean no data: NaN, and those equal to ``nodata``.

    A value that was rounded to float32 before is equal too; and if ``nodata`` is about the largest float, as rounded
    text of it is, so are all floats beyond it.
    """
    gaps = np.isnan(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)
    if nodata is None or np.isnan(nodata):
        return gaps
    if raw.dtype.kind != "f":
        return raw == nodata
    gaps |= raw == nodata
    if raw.dtype.itemsize > np.dtype(np.float32).itemsize:
        with np.errstate(over="ignore"):
            gaps |= raw == float(np.float32(nodata))
    limit = next((size for size in reversed(HUGE) if abs(nodata) >= size), None)
    if limit is not None:
        gaps |= raw * np.sign(nodata).astype(raw.dtype) >= raw.dtype.type(min(limit, float(np.finfo(raw.dtype).max)))
    return gaps
