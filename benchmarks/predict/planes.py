"""A task whose product is what the net says: one float32 plane for each channel, blended and stored as it is."""

from dataclasses import dataclass
from typing import Any, final

from tilespec.models.tasks.base import Geometry


@final
@dataclass(frozen=True, kw_only=True)
class Planes:
    channels: int
    """Channels that the net predicts."""

    @property
    def channels_out(self) -> int:
        return self.channels

    @property
    def geometry(self) -> Geometry:
        return Geometry()

    @property
    def metrics(self) -> tuple[str, ...]:
        return ()

    def pair(self, scores: Any, labels: Any) -> tuple[Any, Any]:
        return scores, labels

    def planes(self, target: Any) -> Any:
        return target

    def activate(self, raw: Any) -> Any:
        return raw

    def decode(self, blended: Any) -> Any:
        return blended
