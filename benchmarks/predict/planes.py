"""A task whose product is what the net says: one float32 plane for each channel, blended and stored as it is."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from tilespec.models.tasks.base import Geometry


@final
@dataclass(frozen=True, kw_only=True)
class Planes:
    metrics: ClassVar[tuple[str, ...]] = ()

    channels: int
    """Channels that the net predicts."""

    @property
    def channels_out(self) -> int:
        return self.channels

    @property
    def geometry(self) -> Geometry:
        return Geometry()

    def channels_in(self, scores: int) -> int:
        return scores

    def inputs(self, scores: Any) -> Any:
        return scores

    def pair(self, scores: Any, labels: Any) -> tuple[Any, Any]:
        return scores, labels

    def planes(self, target: Any) -> Any:
        return target

    def activate(self, raw: Any) -> Any:
        return raw

    def decode(self, blended: Any) -> Any:
        return blended
