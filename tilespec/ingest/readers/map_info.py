"""Map info: ENVI's line of a place, and GDAL's transform, each from the other.

``name, column, row, x, y, width, height, zone, hemisphere, datum, units=..., rotation=...``: the tie pixel is counted
from 1 at the upper left corner. A positive height points up, and rotation turns the grid anticlockwise.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Final, final

from tilespec.core.errors import UserError
from tilespec.ingest.readers.envi_header import names, unbraced

Transform = tuple[float, float, float, float, float, float]
"""GDAL's transform: x of the origin, x per column, x per row, y of the origin, y per column, y per row."""

NO_PLACE: Final = {"arbitrary", "pseudo", "none", "unknown", ""}
"""The names of projections that say that there is no place."""
LOCAL: Final = "Local"
"""The name of a plane whose CRS is unknown."""
NEAR: Final = 0.01
"""The largest shift in pixels, anywhere in the scene, that is not a shear."""
HALF_TURN: Final = 180.0


@final
@dataclass(frozen=True, kw_only=True)
class MapInfo:
    """The entries of ``map info``."""

    name: str
    """The name of the projection."""
    tie: tuple[float, float] = (1.0, 1.0)
    """The column and the row of the tie point, from 1."""
    origin: tuple[float, float]
    """The x and the y of the tie point."""
    size: tuple[float, float]
    """The width and the height of a pixel; a negative height means that rows go up."""
    rotation: float = 0.0
    """The anticlockwise rotation in degrees."""
    words: tuple[str, ...] = ()
    """The entries without a key after the size: zone, hemisphere, datum."""
    units: str = ""
    """The unit of x and y, if it is named."""

    @classmethod
    def read(cls, where: object, text: str) -> "MapInfo | None":
        """Return the entries of a header's line; None when it says that there is no place.

        Raises:
            UserError: the line is damaged.
        """
        first, *others = names(text)
        if first.lower() in NO_PLACE:
            return None
        keyed = [entry.partition("=") for entry in others[6:] if "=" in entry]
        keys = {key.strip().lower(): value.strip() for key, _, value in keyed}
        try:
            column, row, x, y, width, height = (float(value) for value in others[:6])
            rotation = float(keys.get("rotation", "0"))
        except ValueError as error:
            raise _bad(where, text) from error
        if not all(map(math.isfinite, (column, row, x, y, width, height, rotation))) or 0 in (width, height):
            raise _bad(where, text)
        return cls(
            name=first,
            tie=(column, row),
            origin=(x, y),
            size=(width, height),
            rotation=rotation,
            words=tuple(entry for entry in others[6:] if entry and "=" not in entry),
            units=keys.get("units", ""),
        )

    @classmethod
    def of(cls, transform: Transform, lines: int, **others: Any) -> "MapInfo":
        """Return the entries of a transform.

        Half a turn is written as a negative width and height: GDAL takes a rotation by 180 degrees for rows that go up.

        Raises:
            UserError: the grid is sheared.
        """
        x, a, b, y, d, e = transform
        width, height = math.hypot(a, d), math.copysign(math.hypot(b, e), -(a * e - b * d))
        angle = math.atan2(d, a)
        away = max(abs(b - math.sin(angle) * height), abs(e + math.cos(angle) * height))
        if 0 in (width, height) or away * lines > NEAR * width:
            raise UserError(
                "GeoTransform",
                found="a sheared grid",
                expected="a rotated one at most, for ENVI",
                do="Export it as GeoTIFF.",
            )
        turned = round(math.degrees(angle), 12)
        if abs(turned) == HALF_TURN:
            width, height, turned = -width, -height, 0.0
        return cls(origin=(x, y), size=(width, height), rotation=turned, **others)

    @property
    def south_up(self) -> bool:
        """Whether GDAL wrote the line for rows that go up: a rotation by 180 degrees, but not the units of ENVI."""
        return self.half_turn and not self.units

    @property
    def half_turn(self) -> bool:
        """Whether the line has a rotation by 180 degrees, which ENVI and GDAL read in two ways."""
        return abs(self.rotation) == HALF_TURN and min(self.size) > 0

    @property
    def transform(self) -> Transform:
        """The transform in the order of GDAL."""
        (column, row), (x, y), (width, height) = self.tie, self.origin, self.size
        angle = math.radians(0.0 if self.south_up else math.remainder(self.rotation, 360.0))
        cos, sin = _exact(math.cos(angle)), _exact(math.sin(angle))
        height = -height if self.south_up else height
        a, b, d, e = cos * width, sin * height, sin * width, -cos * height
        return x - a * (column - 1) - b * (row - 1), a, b, y - d * (column - 1) - e * (row - 1), d, e

    @property
    def ambiguous(self) -> bool:
        """Whether GDAL reads the grid otherwise: a rotated one whose pixels are no squares, or that is mirrored."""
        return self.rotation % HALF_TURN != 0 and not math.isclose(*self.size, rel_tol=1e-9)

    def text(self) -> str:
        """Return the line's value, in braces."""
        numbers = (*self.tie, *self.origin, *self.size)
        keyed = [f"units={self.units}"] if self.units else []
        keyed += [f"rotation={self.rotation!r}"] if self.rotation else []
        return "{" + ", ".join([self.name, *map(repr, numbers), *self.words, *keyed]) + "}"

    @property
    def zone(self) -> tuple[int, str] | None:
        """The zone and the hemisphere (``N`` or ``S``) of UTM; None for other projections, or without a zone."""
        zone = re.match(r"(\d{1,2})\s*([NS])?$", self.words[0].upper()) if self.words else None
        if not self.name.upper().startswith("UTM") or zone is None or not 1 <= int(zone[1]) <= 60:
            return None
        side = zone[2] or (self.words[1][:1].upper() if len(self.words) > 1 else "")
        return (int(zone[1]), side) if side in ("N", "S") else None

    @property
    def datum(self) -> str:
        """The name of the datum; empty without one."""
        names_left = [
            word for word in self.words if not re.match(r"\d{1,2}\s*[NS]?$|north$|south$", word, re.IGNORECASE)
        ]
        return names_left[0] if names_left else ""


def _exact(value: float) -> float:
    """Return a sine or a cosine that is exact for multiples of a right angle."""
    return round(value) if abs(value - round(value)) < 1e-15 else value


def _bad(where: object, text: str) -> UserError:
    return UserError(
        f"{where}: map info",
        found=unbraced(text)[:80],
        expected="name, column, row, x, y, pixel width, pixel height, ..., with finite numbers",
        do="Correct the line, or remove it to go without a georeference.",
    )
