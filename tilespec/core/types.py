"""The values that every room speaks of: regions, spectral axes, tile classes, array shapes.

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
"""The class of pixels without a label, and of nodata in a prediction."""

PIECE = 2048
"""Rows of a piece; a multiple of every BLAS kernel's row block."""


@final
@dataclass(frozen=True, kw_only=True)
class Roi:
    """A rectangle of a scene, half open, in pixels."""

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
        """Return the region ``rows``, ``cols`` ("A:B", either side may be empty) of a scene of ``shape``."""
        (y0, y1), (x0, x1) = _span(rows, shape[0], "rows"), _span(cols, shape[1], "cols")
        return cls(y0=y0, y1=y1, x0=x0, x1=x1)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """What indexes a ``y, x`` array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def overlaps(self, other: "Roi") -> bool:
        """Whether a pixel lies in both."""
        return self.y0 < other.y1 and other.y0 < self.y1 and self.x0 < other.x1 and other.x0 < self.x1

    def common(self, other: "Roi") -> "Roi":
        """Return the pixels that lie in both of two regions that overlap."""
        return Roi(
            y0=max(self.y0, other.y0),
            y1=min(self.y1, other.y1),
            x0=max(self.x0, other.x0),
            x1=min(self.x1, other.x1),
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
    """Return start and stop of "A:B" on an axis of ``length`` pixels."""
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
    """What the bands of a cube are."""

    name: Literal["wavelength", "wavenumber", "component", "channel"]
    """The coordinate's name in the store."""
    unit: str
    """``nm``, ``cm-1`` or ``1``."""
    values: tuple[float, ...]
    """One centre for each band, in ``unit``, in the order of the cube."""
    fwhm: tuple[float, ...] | None = None
    """Full width at half maximum for each band, in ``unit``."""
    good: tuple[bool, ...] | None = None
    """False for bands that the data's owner marked bad (ENVI ``bbl``)."""

    def take(self, index: Any) -> "SpectralAxis":
        """Return the axis of the bands ``index`` (anything that indexes a vector)."""

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
        """Return the index of the band nearest to ``value`` (in ``unit``)."""
        return int(np.argmin(np.abs(np.asarray(self.values) - value)))

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a model card or a recipe."""
        return {
            "name": self.name,
            "unit": self.unit,
            "values": list(self.values),
            "fwhm": None if self.fwhm is None else list(self.fwhm),
            "good": None if self.good is None else list(self.good),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "SpectralAxis":
        """Return the axis that `to_json` wrote."""
        tuples = {key: None if data[key] is None else tuple(data[key]) for key in ("values", "fwhm", "good")}
        return cls(name=data["name"], unit=data["unit"], **tuples)  # type: ignore[arg-type]


@final
@dataclass(frozen=True, kw_only=True)
class TileClass:
    """How a net's output on a tile relates to its output on the whole scene."""

    kind: Literal["pixelwise", "exact", "approximate"]
    """``exact``: equal after cropping ``halo`` pixels, when tiles start at multiples of ``align``."""
    halo: int = 0
    """Pixels on each side that an output pixel depends on (exact nets)."""
    align: int = 1
    """A tile's origin and size must be multiples of this."""
