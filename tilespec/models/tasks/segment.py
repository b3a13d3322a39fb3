"""Segment: one class for each pixel."""

from dataclasses import dataclass
from typing import ClassVar, final

from tilespec.models.tasks.labels import Labels


@final
@dataclass(frozen=True, kw_only=True)
class Segment(Labels):
    """Semantic segmentation."""

    metrics: ClassVar[tuple[str, ...]] = ("iou", "miou", "oa", "kappa")
