"""Segment: one class for each pixel."""

from dataclasses import dataclass
from typing import ClassVar, final

from tilespec.models.tasks.class_labels import ClassLabels


@final
@dataclass(frozen=True, kw_only=True)
class Segment(ClassLabels):
    """One class for each pixel of a scene (semantic segmentation)."""

    metrics: ClassVar[tuple[str, ...]] = ("iou", "miou", "oa", "kappa")
