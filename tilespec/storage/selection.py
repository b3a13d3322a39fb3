"""Selection: which pixels of a scene a statistic sees, and how much each counts, by ``y, x`` layers of the scene."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.storage.scene import Scene


@final
@dataclass(frozen=True, kw_only=True)
class Choice:
    """Layers by name; without any, every pixel counts, and as much as every other."""

    mask: str | None = None
    """Only pixels where this layer has a value and it is not 0."""
    weights: str | None = None
    """How much each pixel counts: finite, 0 or more; a pixel without weight is left out."""

    def __str__(self) -> str:
        named = {"--mask": self.mask, "--weights": self.weights}
        return " ".join(f"{option} {name}" for option, name in named.items() if name is not None)

    def check(self, scene: Scene) -> None:
        """Refuse a scene that has not all the layers.

        Raises:
            UserError: a layer is not there; those that are there are named.
        """
        corner = Roi(y0=0, y1=1, x0=0, x1=1)
        for name in filter(None, (self.mask, self.weights)):
            scene.layer(name, corner)

    def kept(self, scene: Scene, roi: Roi) -> Bool[np.ndarray, "y x"] | None:
        """Return which pixels of a region are seen; None for all of them."""
        kept = None
        if self.mask is not None:
            kept = _valued(scene, self.mask, roi)
        if self.weights is not None:
            heavy = self._weights(scene, roi) > 0
            kept = heavy if kept is None else kept & heavy
        return kept

    def weigh(self, scene: Scene, roi: Roi) -> Float32[np.ndarray, "y x"] | None:
        """Return how much each pixel counts; None where all count the same."""
        return None if self.weights is None else self._weights(scene, roi)

    def _weights(self, scene: Scene, roi: Roi) -> Float32[np.ndarray, "y x"]:
        assert self.weights is not None
        found = np.nan_to_num(scene.layer(self.weights, roi).astype(np.float32), nan=0.0, posinf=np.inf)
        if (found < 0).any() or np.isinf(found).any():
            raise UserError(
                f"{scene.url}, layer {self.weights!r}",
                found=f"weights from {found.min():g} to {found.max():g} in {roi}",
                expected="finite weights, 0 or more (NaN counts as 0)",
                do="Correct the layer, or name another with --weights.",
            )
        return found


def _valued(scene: Scene, name: str, roi: Roi) -> Bool[np.ndarray, "y x"]:
    """Return where a layer has a value that is not 0: neither NaN nor what its attributes call no data."""
    plane = scene.plane(name)
    values = plane.read(roi)
    kept = (values != 0) & ~np.isnan(values)
    gaps: list[Any] = [plane.attrs[key] for key in ("nodata", "_FillValue") if key in plane.attrs]
    for gap in gaps:
        if isinstance(gap, int | float):
            kept &= values != gap
    return kept


ALL = Choice()
"""Every pixel."""
