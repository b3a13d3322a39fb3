"""Types that every room uses: regions, spectral axes, tile classes, array shapes.

One axis order on disk and in NumPy: ``y, x, band``. Torch's ``batch, band, y, x`` exists in `training/sample.py` and
`predictor.py` only.
"""

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from tilespec.core.errors import UserError

Cube = Shaped[np.ndarray, "y x band"]
Reflectance = Float32[np.ndarray, "y x band"]
Spectra = Float32[np.ndarray, "pixel band"]
ClassMap = UInt8[np.ndarray, "y x"]

UNLABELLED = 255
"""The class index of pixels without a label, and of nodata pixels in a prediction."""

PIECE = 2048
"""The number of rows in a piece of spectra, a multiple of the row block of every BLAS kernel."""


@final
@dataclass(frozen=True, kw_only=True)
class Roi:
    """A rectangle of a scene in pixels; the start is included, the end is not."""

    y0: int
    y1: int
    x0: int
    x1: int

    def __post_init__(self) -> None:
        if not (0 <= self.y0 < self.y1 and 0 <= self.x0 < self.x1):
            raise UserError(
                "region",
                found=f"rows {self.y0}:{self.y1}, columns {self.x0}:{self.x1}",
                expected="0 <= start < stop on both axes",
                do="Give --rows A:B and --cols A:B with A below B.",
            )

    @classmethod
    def of(cls, shape: tuple[int, ...], rows: str | None = None, cols: str | None = None) -> "Roi":
        """Return the region ``rows``, ``cols`` ("A:B", either side may be empty) of a scene of ``shape`` (y, x)."""
        (y0, y1), (x0, x1) = _span(rows, shape[0], "rows"), _span(cols, shape[1], "cols")
        return cls(y0=y0, y1=y1, x0=x0, x1=x1)

    @property
    def shape(self) -> tuple[int, int]:
        """The height and the width of the region in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index of the region in an array ``y, x``."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def overlaps(self, other: "Roi") -> bool:
        """Return whether any pixel lies in both regions."""
        return self.y0 < other.y1 and other.y0 < self.y1 and self.x0 < other.x1 and other.x0 < self.x1

    def common(self, other: "Roi") -> "Roi":
        """Return the pixels that lie in both of two regions that overlap."""
        return Roi(
            y0=max(self.y0, other.y0),
            y1=min(self.y1, other.y1),
            x0=max(self.x0, other.x0),
            x1=min(self.x1, other.x1),
        )

    def joined(self, other: "Roi") -> "Roi":
        """Return the smallest region with all pixels of two regions."""
        return Roi(
            y0=min(self.y0, other.y0),
            y1=max(self.y1, other.y1),
            x0=min(self.x0, other.x0),
            x1=max(self.x1, other.x1),
        )

    def aligned(self, height: int, width: int) -> "Roi":
        """Return the smallest region around this whose sides are multiples of ``height`` and ``width`` pixels."""
        return Roi(
            y0=self.y0 // height * height,
            y1=-(-self.y1 // height) * height,
            x0=self.x0 // width * width,
            x1=-(-self.x1 // width) * width,
        )

    def cut(self, height: int, width: int) -> "list[Roi]":
        """Return the pieces of the region, row by row, cut at multiples of ``height`` and ``width`` pixels.

        So they are cut where stored objects of that size end. Each pixel of the region lies in one piece.
        """
        whole = self.aligned(height, width)
        return [
            self.common(Roi(y0=y, y1=y + height, x0=x, x1=x + width))
            for y in range(whole.y0, whole.y1, height)
            for x in range(whole.x0, whole.x1, width)
        ]

    def __str__(self) -> str:
        return f"rows {self.y0}:{self.y1}, columns {self.x0}:{self.x1}"


def _span(text: str | None, length: int, axis: str) -> tuple[int, int]:
    """Return the start and the stop of "A:B" on an axis of ``length`` pixels."""
    if text is None:
        return 0, length
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first or 0), int(last or length)
    except ValueError:
        start, stop = -1, -1
    if not colon or not 0 <= start < stop <= length:
        raise UserError(
            f"--{axis}",
            found=repr(text),
            expected=f"A:B with 0 <= A < B <= {length}",
            do=f"The scene has {length} {axis}; give for example --{axis} 0:{length}.",
        )
    return start, stop


@final
@dataclass(frozen=True, kw_only=True)
class SpectralAxis:
    """The quantity along the last axis of a cube: one centre value for each band."""

    name: Literal["wavelength", "wavenumber", "component", "channel"]
    """The name of the band coordinate in the store."""
    unit: str
    """The unit of the values: ``nm``, ``cm-1`` or ``1``."""
    values: tuple[float, ...]
    """The centre of each band in ``unit``, in the order of the cube."""
    fwhm: tuple[float, ...] | None = None
    """The full width at half maximum of each band in ``unit``."""
    good: tuple[bool, ...] | None = None
    """False for each band that the owner of the data marked as bad (ENVI ``bbl``)."""

    def take(self, index: Any) -> "SpectralAxis":
        """Return the axis of the bands ``index``, which may be anything that indexes a vector."""

        def pick(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if values is None else tuple(np.asarray(values)[index].tolist())

        return type(self)(
            name=self.name,
            unit=self.unit,
            values=pick(self.values) or (),
            fwhm=pick(self.fwhm),
            good=pick(self.good),
        )

    def nearest(self, value: float) -> int:
        """Return the index of the band whose centre is nearest to ``value`` (in ``unit``)."""
        return int(np.argmin(np.abs(np.asarray(self.values) - value)))

    def to_json(self) -> dict[str, Any]:
        """Return the axis as plain data for a model card or a recipe."""
        return {
            "name": self.name,
            "unit": self.unit,
            "values": list(self.values),
            "fwhm": None if self.fwhm is None else list(self.fwhm),
            "good": None if self.good is None else list(self.good),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "SpectralAxis":
        """Return the axis from the plain data of `to_json`."""
        tuples = {key: None if data[key] is None else tuple(data[key]) for key in ("values", "fwhm", "good")}
        return cls(name=data["name"], unit=data["unit"], **tuples)  # type: ignore[arg-type]


@final
@dataclass(frozen=True, kw_only=True)
class TileClass:
    """The relation between a net's output on a tile and its output on the whole scene."""

    kind: Literal["pixelwise", "exact", "approximate"]
    """``exact``: both are equal after cropping ``halo`` pixels, if tiles start at multiples of ``align``."""
    halo: int = 0
    """The number of pixels on each side that an output pixel of an exact net depends on."""
    align: int = 1
    """The number of pixels of which a tile's origin, and its size but for ``remainder``, must be multiples."""
    remainder: int = 0
    """What is left of a tile's size after whole multiples of ``align``, as in nets without padding."""
    margin: int | None = None
    """The number of pixels on each side of a tile for which the net has no output; None: as many as the task says."""

    def size(self, least: int) -> int:
        """Return the smallest valid size of a tile that is not below ``least``."""
        return least + (self.remainder - least) % self.align
