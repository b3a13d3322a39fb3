"""Options of `render`."""

import math
from dataclasses import dataclass, field
from typing import Final, final

from tilespec.core.errors import UserError
from tilespec.core.options import MASK, DryRun, Overwrite, Region, Workers

SCALES: Final = ("fixed", "image")
"""Whether one white holds for every scene, or each region has a scale of its own."""


@dataclass(frozen=True, kw_only=True)
class ColourOptions:
    """The options of `render` that decide the colour of a pixel."""

    illuminant: str = "D65"
    """The scene lies in this light, by the CIE's name: D65, E (equal energy), A, ..."""
    observer: int = 10
    """The observer has a field of view of 10 degrees (CIE 1964) or of 2 (CIE 1931)."""
    camera: str | None = None
    """A table wavelength,R,G,B of responses takes the place of the observer."""
    radiance: bool = False
    """Values are light that the illuminant has met already, not reflectance."""
    scale: str = "fixed"
    """The scale is fixed, from 0 to --white, or image: from the least to the largest value of the region. Bands from
    400 to 700 nm decide the second, as in Alvarez-Gila et al. (2017): then two regions of a scene have two scales."""
    white: float | None = None
    """A white reflector has this value (1 by default). The default is refused where it cannot be meant."""
    mask: str | None = field(default=None, metadata=MASK)
    """Only pixels that have a label in this class map, or a value that is not 0 in another layer, or that a threshold
    on a vegetation index selects, such as NDVI>0.3, decide --scale image."""

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UserError("--scale", found=repr(self.scale), expected=" or ".join(SCALES), do="Choose one of these.")
        for name in ("white",) if self.scale == "image" else ("mask",):
            if getattr(self, name) is not None:
                raise UserError(
                    f"--{name}",
                    found=f"{getattr(self, name)!r} with --scale {self.scale}",
                    expected=f"no --{name}, which --scale {self.scale} does not look at",
                    do="Leave one of the two out.",
                )
        if self.white is not None and not (math.isfinite(self.white) and self.white > 0):
            raise UserError("--white", found=self.white, expected="a finite number above 0", do="Correct it.")


@final
@dataclass(frozen=True, kw_only=True)
class RenderOptions(ColourOptions, Region, Workers, DryRun, Overwrite):
    """The options of `render`."""

    dtype: str = "float32"
    """Values are stored as float32, uint8 or uint16. The latter two have a scale factor and a layer ``valid``."""
