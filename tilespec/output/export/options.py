"""Options of `export`."""

from dataclasses import dataclass, field
from typing import final

from tilespec.core.options import PYTHON, DryRun, Overwrite


@final
@dataclass(frozen=True, kw_only=True)
class ExportOptions(DryRun, Overwrite):
    """The options of `export`."""

    layer: str | None = field(default=None, metadata=PYTHON)
    """This ``y, x`` layer is written instead of the cube, such as ``labels``."""
    bands: tuple[int, int, int] | None = field(default=None, metadata=PYTHON)
    """A picture shows these bands; the default is near infrared, red and green where the wavelengths allow it."""
    max_side: int = field(default=2048, metadata=PYTHON)
    """The longer side of a picture has at most this many pixels."""
