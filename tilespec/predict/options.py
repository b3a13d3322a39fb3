"""Options of `predict`, checked before anything is read."""

from dataclasses import dataclass
from typing import Final, final

from tilespec.core.errors import UserError
from tilespec.core.options import DryRun, Overwrite, Region, Workers

PRECISIONS: Final = ("float32", "bfloat16")
"""Number types that a network can compute in."""


@dataclass(frozen=True, kw_only=True)
class ProductOptions(Region):
    """The options of `predict` that decide the bytes of the product."""

    tile: int | None = None
    """A tile has this many output pixels on each side. The default is the patch size of the training, or else 256, less
    for a scene of many channels."""
    overlap: int | None = None
    """Neighbouring tiles share this many output pixels. The default suits the tile class of the network."""
    window: str = "cosine"
    """Overlapping tiles are blended with the weights cosine, linear, gaussian or none."""
    norm: str = "tile"
    """Norms over space use the statistics of each tile (tile) or of the whole scene (frozen)."""
    precision: str = "float32"
    """The network computes in float32, or in bfloat16, which is faster and gives other bits."""
    samples: int = 0
    """The prediction is the mean over this many draws of dropout; 0 leaves dropout off."""
    flips: bool = False
    """Average over the eight symmetries of the square."""
    probabilities: bool = False
    """Store the probability of each class as well."""
    disagreement: bool = False
    """Store the spread of the tiles (and variants) that cover each pixel as well."""

    def __post_init__(self) -> None:
        _one_of("--norm", self.norm, ("tile", "frozen"))
        _one_of("--precision", self.precision, PRECISIONS)
        if not 0 <= self.samples <= 1000:
            raise UserError("--samples", found=self.samples, expected="0 to 1000", do="0 leaves dropout off.")


@final
@dataclass(frozen=True, kw_only=True)
class PredictOptions(ProductOptions, Workers, DryRun, Overwrite):
    """The options of `predict`."""

    cluster: str | None = None
    """Workers run on a cluster: local, the address of a scheduler (tls://...), or a dotted path."""
    memory: str | None = None
    """A plan that needs more memory than this, such as 4GB, is refused; the default is what is available."""


def _one_of(option: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise UserError(option, found=repr(name), expected=f"one of {', '.join(names)}", do="Check the spelling.")
