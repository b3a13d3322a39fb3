"""Options of `probe`."""

from dataclasses import dataclass
from typing import final

from tilespec.core.options import DryRun, Seeded


@final
@dataclass(frozen=True, kw_only=True)
class ProbeOptions(Seeded, DryRun):
    """The options of `probe`."""

    scene: str | None = None
    """Tiles come from this scene; by default they are random, with the statistics of the recipe."""
    tile: int | None = None
    """A tile has this many output pixels on each side. The default is the patch size of the training."""
