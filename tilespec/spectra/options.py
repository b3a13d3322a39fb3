"""Options of `fit` and `transform`."""

from dataclasses import dataclass, field
from typing import final

from tilespec.core.options import MASK, Device, DryRun, Join, Overwrite, Region, Seeded, Workers


@final
@dataclass(frozen=True, kw_only=True)
class FitOptions(Region, Workers, Device, Seeded, DryRun, Overwrite):
    """The options of `fit`."""

    steps: str | None = None
    """Steps are separated by commas, e.g. crop=450:950,sg=11:2:1,vsn,pca=4 (the default is vsn,pca=4); see
    docs/steps.md. With ``update`` they are those of the recipe."""
    mask: str | None = field(default=None, metadata=MASK)
    """Fit only on pixels that have a label in this class map (labels), or a value that is not 0 in another layer, or
    that a threshold on a vegetation index selects, such as NDVI>0.3."""
    weights: str | None = None
    """This layer says how much each pixel counts in pca. Pixels without weight are left out of all steps."""
    update: str | None = None
    """The pixels are added to the pca or mnf of the recipe in this folder, without reading the older ones again. The
    steps before stay as they were fitted."""


@final
@dataclass(frozen=True, kw_only=True)
class TransformOptions(Workers, Device, Join, DryRun, Overwrite):
    """The options of `transform`."""

    restore: bool = False
    """Undo the last steps (pca, mnf and those that scale) after the recipe: spectra in the units of the scene, without
    what few components leave out, such as noise."""
