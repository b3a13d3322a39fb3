"""Comparison: a prediction and its truth on one region, and their statistics; the same for every task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.evaluate.metrics.confusion import Patches
from tilespec.evaluate.options import Left
from tilespec.storage.rasters import Placed, PlacedField, asked_region, inside, scale_of
from tilespec.storage.scene import content_of


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A prediction and its truth on one region."""

    roi: Roi
    """The region in pixels of the scene."""
    plane: tuple[int, int]
    """The height and the width of the truth's scene in pixels."""
    plan: Mapping[str, Any]
    """The description of the comparison as plain data."""
    pieces: list[Roi]
    """The pieces of the region that are read at once."""
    read: Callable[[Roi], tuple[Any, Left]]
    """The function that returns truth and prediction of a piece, ``2 y x ...``, and the number of pixels left out."""
    folds: tuple[Any, ...]
    """The statistics over all pixels, the score first."""
    patches: Callable[[Patches], Any]
    """The function that returns the statistic of patches."""
    scores: tuple[str, ...]
    """The figures of the score that have intervals."""
    counts: tuple[str, ...]
    """The figures of the score that give the number of compared values."""
    result: Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]
    """The function that returns all figures, from the statistics and the figures of patches."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Several statistics over the same blocks as one; the first gives the number of compared values."""

    parts: tuple[Any, ...]
    """The statistics in their order."""

    ADDS = ("parts",)
    """The names of the fields that hold sums, and so can be weighted."""

    def of(self, block: Any, origin: tuple[int, int] = (0, 0)) -> "Joined":
        """Return the contribution of a block to each statistic."""
        return Joined(parts=tuple(part.of(block, origin) for part in self.parts))

    def __add__(self, other: "Joined") -> "Joined":
        return Joined(parts=tuple(a + b for a, b in zip(self.parts, other.parts, strict=True)))

    @property
    def known(self) -> int:
        """The number of compared values."""
        return int(self.parts[0].known)

    def finish(self) -> dict[str, Any]:
        """Return the figures of all statistics."""
        return {name: value for part in self.parts for name, value in part.finish().items()}


def chosen(mask: PlacedField, piece: Roi) -> Bool[np.ndarray, "y x"]:
    """Return where a mask has a value other than 0."""
    values = mask.read(piece)[..., 0]
    return np.isfinite(values) & (values != 0)


def facts(predicted: Placed, true: Placed, roi: Roi) -> dict[str, Any]:
    """Return the facts of the comparison, and whether the model was trained on the region."""
    return {
        "pred": predicted.url,
        "truth": true.url,
        "method": _method(predicted.attrs),
        "status": predicted.status,
        "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]},
        "overlaps_training": _overlaps(predicted.attrs, content_of(true.attrs), roi),
    }


def region_of(predicted: Placed, true: Placed, rows: str | None, cols: str | None) -> Roi:
    """Return the region to score: ``rows``, ``cols`` of the scene, or the whole predicted region."""
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
    """Return whether the truth is a whole scene that is known to differ from the predicted one.

    Labels belong to the scene that holds them. Channels may be those of another store, a target with the same plane.
    """
    plane = predicted.attrs.get("plane")
    if isinstance(true, PlacedField) and plane is not None:
        return true.whole_scene and list(plane) != [true.roi.y1, true.roi.x1]
    ours, theirs = predicted.attrs.get("scene_digest"), content_of(true.attrs)
    return true.whole_scene and None not in (ours, theirs) and ours != theirs


def _method(attrs: Mapping[str, Any]) -> str | None:
    """Return the name of the method that made a prediction, if it has one."""
    found = attrs.get("method") or attrs.get("net")
    name = found.get("name") if isinstance(found, Mapping) else found
    return None if name is None else str(name)


def _overlaps(attrs: Mapping[str, Any], digest: str | None, roi: Roi) -> bool | None:
    """Return whether pixels of the region were in the training; None if this is unknown."""
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
