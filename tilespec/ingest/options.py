"""Options of `ingest`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from tilespec.core.options import PYTHON, DryRun, Join, Overwrite


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """The options of `ingest` that decide the bytes of a scene."""

    white: str | None = None
    """A white reference turns counts into reflectance, for each column and band."""
    dark: str | None = None
    """A dark reference is subtracted from the counts."""
    panel: str | None = None
    """A white panel in the scene, rows and columns A:B,C:D, takes the place of a white reference."""
    panel_reflectance: str | None = None
    """The panel reflects this: a number, or a text file of wavelength and reflectance."""
    targets: str | None = None
    """A CSV file (name, rows, cols, reflectance) names targets in the scene for the empirical line."""
    labels: str | None = None
    """Class labels of the same size come from FILE or FILE:VARIABLE. Any of the formats of a scene will do, a picture
    of classes, or polygons; or the name of a column of a table, or of a layer of SRC, whose texts are the classes."""
    ignore_label: int | None = None
    """This label means unlabelled and is stored as 255; when it is 0, all other labels move down by one, so that label
    1 becomes class 0."""
    class_names: str | None = field(default=None, metadata={"metavar": "A,B,C"})
    """The names of the classes 0, 1, ... of the labels, after ``ignore_label``. Quote a name with a comma."""
    layer: Mapping[str, str] | None = field(default=None, metadata={"metavar": "NAME=FILE"})
    """A further layer, such as plant numbers, comes from FILE or FILE:VARIABLE; the option may be repeated."""
    pixel_size: float | None = None
    """A pixel has this width in metres, on a scene without coordinates; `measure` gives areas then."""
    crs: str | None = None
    """The coordinates of the source are in this system (EPSG:32632, WKT), whatever it says itself."""
    dtype: str | None = None
    """The cube is stored as float32, or as uint16 in steps of 1e-4 reflectance. The default is the type of the source,
    or float32 for a cube that is calibrated."""
    wavelengths: str | None = None
    """A text file of one wavelength a line, a variable beside the array, or FIRST:LAST gives the band centres."""
    wavelength_unit: str | None = field(default=None, metadata={"metavar": "UNIT"})
    """The band centres are in nm, um or cm-1 (wavenumbers, Raman shifts), whatever the source says."""
    variable: str | None = None
    """This variable of a .mat, .npz or Zarr source is the cube."""
    axes: str | None = None
    """The axes of the source have this order, e.g. band,y,x; spectrum,band of a table of spectra."""
    grid: str | None = field(default=None, metadata={"metavar": "X,Y"})
    """The spectra of a table are the pixels of a map, at the numbers in these two of its columns: a scene."""
    bin: int = 1
    """Average N x N pixels, after calibration. Pixels without data are left out; labels are decided by majority."""
    bin_bands: int = 1
    """Average N adjacent bands."""
    shards: str | None = None
    """Several chunks lie in one object: ROWSxCOLS in pixels, auto (where chunks are too many) or none. The default is
    auto in a bucket."""
    peak: float | None = None
    """This stored value means 1, e.g. 4095 for 12 bits. The default for pictures is all that the data type holds, and
    values of cubes stay as they are."""
    rgb: bool = False
    """Take three bands as a picture in sRGB, whatever the format. Values are then 0 to 1; bins are means of light."""
    allow_truncated: bool = False
    """Keep the whole lines of an ENVI file that ends early; the others have no data."""
    repair: bool = field(default=True, metadata=PYTHON)
    """Interpolate isolated dead detector elements along the bands."""
    reader: str | None = field(default=None, metadata=PYTHON)
    """The reader of this name in `READERS`, or at this dotted path, reads the cube. By default the file decides."""


@final
@dataclass(frozen=True, kw_only=True)
class IngestOptions(SceneOptions, Join, DryRun, Overwrite):
    """The options of `ingest`."""

    dataset: str | None = field(default=None, metadata={"metavar": "NAME"})
    """SRC is the folder of a data set: gic, icvl, cave or arad. Each of its images becomes a scene, ``OUT/cube/NAME``,
    and its picture another, ``OUT/rgb/NAME``."""
