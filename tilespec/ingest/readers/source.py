"""Source: what every reader returns. A reader is a callable ``(path, options) -> Source``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Cube, SpectralAxis


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user says about a file beyond its path. Readers take what concerns them."""

    kind: Literal["cube", "labels", "reference"] = "cube"
    """What is wanted: a cube, a class map of one band, or a white or dark reference."""
    variable: str | None = None
    """Name of the array in a file of several."""
    axes: str | None = None
    """Order of the array's axes, such as ``band,y,x``; None: as the format says, else ``y,x,band``."""
    wavelengths: str | None = None
    """A text file of wavelengths, or the name of a variable beside the array."""
    allow_truncated: bool = False
    """Read the whole lines of a file that ends early; the others have no data."""
    rgb: bool = False
    """Take three bands as red, green and blue of sRGB, whatever the format."""
    peak: float | None = None
    """Stored value that is 1; None: as the format says."""


@final
@dataclass(frozen=True, kw_only=True)
class Plane:
    """A ``y, x`` layer beside a cube, such as the latitude of each pixel of a swath."""

    name: str
    """Its name in the scene."""
    dtype: np.dtype[Any]
    """As it is stored in the scene; floats have NaN where there is no data."""
    read: Callable[[int, int], np.ndarray]
    """Returns rows ``y0`` to ``y1`` (exclusive), all columns."""
    attrs: dict[str, Any] = field(default_factory=dict)
    """Attributes as CF has them: ``units``, ``standard_name``."""


@final
@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a source says about itself before a pixel is read."""

    shape: tuple[int, int, int]
    """``y, x, band``."""
    dtype: np.dtype[Any]
    """As stored, byte order included."""
    spectral: SpectralAxis | None = None
    """What the bands are; None when the source does not say."""
    georef: dict[str, Any] | None = None
    """Attributes of a CF grid mapping with ``crs_wkt`` and ``GeoTransform``."""
    nodata: float | None = None
    """Stored value of elements without data (NaN always is)."""
    scale: float = 1.0
    """Stored values times this are reflectance (or whatever the source holds)."""
    classes: tuple[str, ...] = ()
    """Names of the classes 0, 1, ... of a class map."""
    colour_space: str | None = None
    """``sRGB`` where values encode light so (`tilespec.ingest.readers.image_light`); None: they are what they are."""
    layers: tuple[Plane, ...] = ()
    """What else lies on the same pixels and goes into the scene."""
    header: dict[str, str] = field(default_factory=dict)
    """Whatever else the source says, as it says it."""
    notes: tuple[str, ...] = ()
    """What was assumed or passed over; told to the user once."""
    files: tuple[Path, ...] = ()
    """The files whose bytes decide the result."""
    read_bytes: int = 1 << 22
    """A good size of one read, in bytes."""


@runtime_checkable
class Source(Protocol):
    """A cube that can be read by rows."""

    @property
    def facts(self) -> Facts:
        """What it says about itself."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows ``y0`` to ``y1`` (exclusive) as ``y, x, band`` in the stored data type.

        The array is valid until the next call: readers reuse their buffers.
        """


def lines_per_read(facts: Facts) -> int:
    """Return how many lines make one read of a good size."""
    line = facts.shape[1] * facts.shape[2] * facts.dtype.itemsize
    return max(1, facts.read_bytes // line)


def refuse_array_options(path: Path, options: Options) -> None:
    """Refuse the name of an array, or an order of axes, where the format itself decides."""
    for flag, value in (("--variable", options.variable), ("--axes", options.axes)):
        if value is not None:
            raise UserError(
                flag,
                found=f"{value!r} for {path.name}",
                expected="no such option for a format that holds one cube and knows its axes",
                do=f"Leave {flag} away.",
            )
