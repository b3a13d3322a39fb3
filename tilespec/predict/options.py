"""Options: what a user can ask of a prediction, checked before anything is read."""

from dataclasses import dataclass
from typing import final

from tilespec.core.errors import UserError
from tilespec.predict.predictor import PRECISIONS


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user can ask of a prediction, beyond model and scene; the defaults of `tilespec predict`."""

    tile: int | None = None
    """Output pixels of a tile."""
    overlap: int | None = None
    """Output pixels that neighbours share."""
    window: str = "cosine"
    """Blending window."""
    rows: str | None = None
    """Region "A:B"."""
    cols: str | None = None
    """Region "A:B"."""
    probabilities: bool = False
    """Store class probabilities."""
    disagreement: bool = False
    """Store the spread of the tiles (and variants) that cover a pixel."""
    flips: bool = False
    """Average over the eight symmetries of the square."""
    samples: int = 0
    """Average over draws of dropout."""
    norm: str = "tile"
    """``frozen``: spatial norms use the scene's statistics."""
    precision: str = "float32"
    """In which the net computes."""

    def __post_init__(self) -> None:
        _one_of("--norm", self.norm, ("tile", "frozen"))
        _one_of("--precision", self.precision, tuple(PRECISIONS))
        if not 0 <= self.samples <= 1000:
            raise UserError("--samples", found=self.samples, expected="0 to 1000", do="0 leaves dropout off.")


def _one_of(option: str, found: str, names: tuple[str, ...]) -> None:
    if found not in names:
        raise UserError(option, found=repr(found), expected=f"one of {', '.join(names)}", do="Check the spelling.")
