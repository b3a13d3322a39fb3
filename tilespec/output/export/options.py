"""Options of `export`."""

from dataclasses import dataclass, field
from typing import final

from tilespec.core.options import DryRun, Overwrite


@final
@dataclass(frozen=True, kw_only=True)
class ExportOptions(DryRun, Overwrite):
    """The options of `export`."""

    layer: str | None = None
    """This ``y, x`` layer is written instead of the cube, such as ``labels``."""
    bands: str | tuple[int, int, int] | None = field(default=None, metadata={"metavar": "R,G,B"})
    """These are red, green and blue of a picture: three wavelengths, as 640,550,460, or bands by number from 0, as
    #12,#7,#2. The default is near infrared, red and green where the wavelengths allow it."""
    max_side: int = 2048
    """The longer side of a picture has at most this many pixels."""
    only: str | None = field(default=None, metadata={"flag": "--class"})
    """Only regions of these classes become polygons: names or numbers, separated by commas. The default is all."""
    min_area: int = 1
    """The smallest region that becomes a polygon has this many pixels."""
    stac: bool = False
    """A STAC item goes beside the file, as OUT.json: place, time, bands, and the checksum of each file."""
    datetime: str | None = field(default=None, metadata={"metavar": "TIME"})
    """The scene is of this time, as 2026-06-01T10:30:00Z; only a STAC item says it. The default is what the
    header of the source says."""
