"""Comparison: what is scored against what, where, and with which folds; the same for every task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.evaluate.metrics.confusion import Patches
from tilespec.storage.rasters import Placed, PlacedField, asked_region, inside, scale_of
from tilespec.storage.scene import content_of


@final
@dataclass(frozen=True, kw_only=True)
class Left:
    """How many pixels were left out, and why. Counts, which add."""

    masked: int = 0
    """Outside ``--mask``."""
    black: int = 0
    """Truth of 0 in every channel."""

    @classmethod
    def of(cls, masked: Bool[np.ndarray, "y x"] | None, black: Bool[np.ndarray, "y x"] | None) -> "Left":
        """Return the counts; a black pixel outside the mask is masked."""
        both = None if masked is None or black is None else black & masked
        found = [0 if plane is None else int(np.count_nonzero(plane)) for plane in (masked, black, both)]
        return cls(masked=found[0], black=found[1] - found[2])

    def __add__(self, other: "Left") -> "Left":
        return Left(masked=self.masked + other.masked, black=self.black + other.black)

    def plain(self) -> dict[str, int]:
        """Return the counts for the result."""
        return {"pixels_masked": self.masked, "pixels_black": self.black}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A prediction and its truth, on one region."""

    roi: Roi
    """The region, in pixels of the scene."""
    plane: tuple[int, int]
    """Rows and columns of the truth's scene."""
    plan: Mapping[str, Any]
    """What is scored against what, as plain data."""
    pieces: list[Roi]
    """The region in pieces that are read at once."""
    read: Callable[[Roi], tuple[Any, Left]]
    """Returns truth and prediction of a piece, ``2 y x ...``, and how many pixels were left out of it."""
    folds: tuple[Any, ...]
    """What is summed over all pixels: the score first."""
    patches: Callable[[Patches], Any]
    """Returns the fold of patches."""
    scores: tuple[str, ...]
    """Figures of the score that have intervals."""
    counts: tuple[str, ...]
    """Figures of the score that say how much was compared."""
    result: Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]
    """Returns all figures, of the folds and of what the patches gave."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Several folds over the same blocks that are scored as one; the first says how much is known."""

    parts: tuple[Any, ...]
    """The folds."""

    ADDS = ("parts",)
    """Fields that hold sums, and so can be weighted."""

    def of(self, block: Any, origin: tuple[int, int] = (0, 0)) -> "Joined":
        """Return what a block adds to each."""
        return Joined(parts=tuple(part.of(block, origin) for part in self.parts))

    def __add__(self, other: "Joined") -> "Joined":
        return Joined(parts=tuple(a + b for a, b in zip(self.parts, other.parts, strict=True)))

    @property
    def known(self) -> int:
        """How much was compared."""
        return int(self.parts[0].known)

    def finish(self) -> dict[str, Any]:
        """Return the figures of all."""
        return {name: value for part in self.parts for name, value in part.finish().items()}


def chosen(mask: PlacedField, piece: Roi) -> Bool[np.ndarray, "y x"]:
    """Return where a mask has a value that is not 0."""
    values = mask.read(piece)[..., 0]
    return np.isfinite(values) & (values != 0)


def facts(predicted: Placed, true: Placed, roi: Roi) -> dict[str, Any]:
    """Return what is scored against what, and whether the model has seen it."""
    return {
        "pred": predicted.url,
        "truth": true.url,
        "method": _method(predicted.attrs),
        "status": predicted.status,
        "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]},
        "overlaps_training": _overlaps(predicted.attrs, content_of(true.attrs), roi),
    }


def region_of(predicted: Placed, true: Placed, rows: str | None, cols: str | None) -> Roi:
    """Return the region to score: ``rows``, ``cols`` of the scene, or all that the prediction covers."""
    whole = predicted.roi
    part = "origin" in predicted.attrs and scale_of(predicted.attrs) == "1" and not _strangers(predicted, true)
    if not (inside(whole, true.roi) if part else whole == true.roi):
        raise UserError(
            predicted.url,
            found=f"a prediction of {whole}",
            expected=f"one {'inside' if part else 'of'} {true.roi}, where the truth of {true.url} lies",
            do="Name the scene that was predicted.",
        )
    return asked_region(whole, (true.roi.y1, true.roi.x1), rows, cols)


def _strangers(predicted: Placed, true: Placed) -> bool:
    """Whether the truth is a whole scene, and known not to lie on the one that was predicted.

    Labels belong to the scene that holds them. Channels may be those of another store, a target: of the same plane.
    """
    plane = predicted.attrs.get("plane")
    if isinstance(true, PlacedField) and plane is not None:
        return true.whole_scene and list(plane) != [true.roi.y1, true.roi.x1]
    ours, theirs = predicted.attrs.get("scene_digest"), content_of(true.attrs)
    return true.whole_scene and None not in (ours, theirs) and ours != theirs


def _method(attrs: Mapping[str, Any]) -> str | None:
    """Return what made a prediction, by name, if it says so."""
    found = attrs.get("method") or attrs.get("net")
    name = found.get("name") if isinstance(found, Mapping) else found
    return None if name is None else str(name)


def _overlaps(attrs: Mapping[str, Any], digest: str | None, roi: Roi) -> bool | None:
    """Whether pixels of the region taught the model; None when nobody knows."""
    regions = attrs.get("train_regions")
    known = {digest, attrs.get("scene_digest")} - {None}
    if regions is None or not known:
        return None
    far = 1 << 62
    same = [region for region in regions if region.get("digest") in known]
    if any(roi.overlaps(Roi.of((far, far), _text(r.get("rows")), _text(r.get("cols")))) for r in same):
        return True
    return None if any(not region.get("digest") for region in regions) else False


def _text(span: Any) -> str | None:
    """Return a span of rows as "A:B", from text or from two numbers."""
    return span if span is None or isinstance(span, str) else f"{span[0]}:{span[1]}"
