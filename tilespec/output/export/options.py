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
