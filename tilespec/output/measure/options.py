"""Options of `measure`."""

from dataclasses import dataclass, field
from typing import final

from tilespec.core.options import MASK, DryRun, Overwrite, Region, Workers


@final
@dataclass(frozen=True, kw_only=True)
class MeasureOptions(Region, Workers, DryRun, Overwrite):
    """The options of `measure`."""

    by: str | None = None
    """The values of this layer are the objects; the default is plant. The value 0 is no object, in a class map 255."""
    polygons: str | None = None
    """The objects are the polygons of a GeoJSON, GeoPackage or shapefile. Polygons that overlap are each measured
    whole."""
    regions: str | None = None
    """The objects are the connected regions of this class. A pixel is connected to 8 neighbours; objects are
    numbered by their first pixels."""
    min_area: int = 1
    """The smallest region has this many pixels."""
    only: str | None = field(default=None, metadata={"flag": "--class"})
    """Only pixels of these classes make the spectrum: names or numbers, separated by commas. The default is the class
    of ``regions``, else all classes but one named ``background``. Pixels without a prediction never do."""
    picture: str | None = field(default=None, metadata={"metavar": "FILE.png"})
    """A picture of the scene, with the outlines of the objects and their numbers, goes to this file."""
    mask: str | None = field(default=None, metadata=MASK)
    """The sample is this layer of the scene, where the prediction is of numbers and ``by`` is not given: its labelled
    pixels, or those that are not 0; or those above a threshold on a vegetation index, such as NDVI>0.3. The default is
    the whole scene."""
    references: str | None = field(default=None, metadata={"metavar": "FILE.csv"})
    """The table gets the reference numbers of this CSV file, ID,NAME [UNIT],..., and the errors of the prediction,
    where it is of numbers."""
    pixel_coordinates: bool = False
    """Corners of the polygons are columns and rows."""
