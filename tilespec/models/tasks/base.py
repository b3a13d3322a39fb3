"""What a task is: what is predicted, what the net reads, what is learned from, and where the output lies."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import ClassVar, Final, Literal, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from tilespec.core.types import Reflectance, Roi
from tilespec.tiling.grid import centres


@final
@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How the output plane lies on the input plane; `predict`, `train` and `evaluate` follow it alike.

    A truth lies on the whole scene, ``scale`` of its pixels for each of the scene's: output pixel 0 of a scene is pixel
    ``margin * scale`` of its truth.
    """

    scale: Fraction = Fraction(1)
    """The number of output pixels for one input pixel."""
    margin: int = 0
    """The number of input pixels on each side without output."""

    def plane(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return height and width in output pixels of what is predicted of an input plane; below 1: nothing is."""
        height, width = (int((length - 2 * self.margin) * self.scale) for length in shape)
        return height, width

    def fits(self, side: int) -> bool:
        """Whether a square of ``side`` input pixels has whole output pixels."""
        inner = (side - 2 * self.margin) * self.scale
        return inner >= 1 and inner.denominator == 1

    def within(self, roi: Roi) -> Roi:
        """Return the largest part of a region whose borders lie between pixels of the truth.

        Raises:
            UserError: there is none.
        """
        step = self.scale.denominator
        y0, x0 = (-(-v // step) * step for v in (roi.y0, roi.x0))
        return Roi(y0=y0, y1=roi.y1 // step * step, x0=x0, x1=roi.x1 // step * step)

    def beneath(self, roi: Roi) -> Roi:
        """Return the pixels of the truth that a region of the scene touches."""
        (y0, x0), (y1, x1) = ((v * self.scale for v in corner) for corner in ((roi.y0, roi.x0), (roi.y1, roi.x1)))
        return Roi(y0=floor(y0), y1=ceil(y1), x0=floor(x0), x1=ceil(x1))

    def target(self, roi: Roi) -> Roi:
        """Return the pixels of the truth that are predicted of a region of the scene: without the margin."""
        inner = (roi.y0 + self.margin, roi.y1 - self.margin, roi.x0 + self.margin, roi.x1 - self.margin)
        y0, y1, x0, x1 = (int(v * self.scale) for v in inner)
        return Roi(y0=y0, y1=y1, x0=x0, x1=x1)

    def reduced(self, mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y2 x2"]:
        """Return which output pixels a mask of input pixels covers, by at least half; the margin is left out.

        An output pixel that is no block of whole input pixels has what the mask holds at its centre.
        """
        step = 1 / self.scale
        if step.denominator != 1:
            return self.at_centres(mask)
        height, width = self.plane(mask.shape)
        side, end = int(step), self.margin
        inner = mask[end : end + height * side, end : end + width * side].reshape(height, side, width, side)
        return 2 * np.count_nonzero(inner, axis=(1, 3)) >= side * side

    def at_centres(self, plane: Shaped[np.ndarray, "y x"]) -> Shaped[np.ndarray, "y2 x2"]:
        """Return for each output pixel what an input plane holds at its centre."""
        rows, columns = (centres(length, self.scale) + self.margin for length in self.plane(plane.shape))
        return plane[np.ix_(rows, columns)]


ONE: Final = ("prediction",)
"""The stored array of a task that predicts values or classes alone."""
WITH_INTERVAL: Final = ("prediction", "lower", "upper")
"""The stored arrays of a task that predicts an interval around each value too."""


def generates(task: object) -> bool:
    """Return whether the net of a task, or of its class, reads random numbers and no scene."""
    return bool(getattr(task, "generates", False))


def stored_arrays(task: object) -> tuple[str, ...]:
    """Return the names of the arrays, of equally many channels, that a task's channels are stored as."""
    return WITH_INTERVAL if getattr(task, "interval", False) else ONE


@runtime_checkable
class Task(Protocol):
    """The interface of every task; no other module depends on which task it is."""

    truth: ClassVar[Literal["classes", "field"]]
    """What a prediction is compared with: uint8 ``batch, y, x`` or float32 ``batch, channel, y, x``. It is the kind of
    target too (`training.data.targets`), unless the task names another one in a further attribute ``target``."""
    metrics: ClassVar[tuple[str, ...]]
    """What a prediction is judged by, the leading metric first: names in `tilespec.evaluate.metrics.table`, or dotted
    paths ``package.module:NAME`` of metrics of the task's own."""

    @property
    def head(self) -> str:
        """The name of the net's last layer."""

    @property
    def channels_out(self) -> int:
        """The number of channels that the net predicts."""

    @property
    def geometry(self) -> Geometry:
        """The position of the output."""

    def channels_in(self, scores: int) -> int:
        """Return the channels that the net reads, where the recipe gives ``scores`` channels."""

    def inputs(self, scores: Tensor) -> Tensor:
        """Return what the net reads, pixel by pixel, of what the recipe gives: ``batch, channel, y, x``."""

    def pair(self, scores: Reflectance, truth: np.ndarray) -> tuple[Reflectance, np.ndarray]:
        """Return scores of a patch and what the net should answer there, both ``y, x, ...``; see `without_gaps`."""

    def known(self, target: Tensor) -> Tensor:
        """Return where a target is known: ``batch, channel, y, x``, or ``batch, 1, y, x`` for all channels alike."""

    def planes(self, target: Tensor) -> Tensor:
        """Return a target as ``batch, channel, y, x`` float32 in the form of the net's output; 0 where unknown."""

    def answer(self, raw: Tensor) -> Tensor:
        """Return the net's output in the units of `planes`, which losses and discriminators compare with them."""

    def magnitude(self, target: Tensor) -> Tensor:
        """Return the divisor of relative errors of a target, in the units of `planes`, above 0 everywhere."""

    def activate(self, raw: Tensor) -> Tensor:
        """Return the values that are blended, from the net's output (``batch, channel, y, x``)."""

    def decode(self, blended: np.ndarray) -> np.ndarray:
        """Return the product from blended values (``y, x, channel``)."""


class ReadsScores:
    """What tasks share whose net reads what the recipe gives, and answers one output pixel for each input pixel."""

    @property
    def geometry(self) -> Geometry:
        """One output pixel for each input pixel."""
        return Geometry()

    def channels_in(self, scores: int) -> int:
        """As many as the recipe gives."""
        return scores

    def inputs(self, scores: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return what the recipe gives."""
        return scores


def without_gaps(
    scores: Reflectance, truth: Shaped[np.ndarray, "y2 x2 *channel"], geometry: Geometry, unknown: float
) -> tuple[Reflectance, Shaped[np.ndarray, "y2 x2 *channel"]]:
    """Return scores and truth of a patch: 0 and ``unknown`` where a pixel has no data, so that nodata teaches nothing.

    An output pixel has data where the input pixel at its centre has, as in a prediction.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(scores.sum()):  # nearly always, and found ten times as fast
            return scores, truth
    blank = ~np.isfinite(scores).all(axis=2)
    hidden = geometry.at_centres(blank).reshape(truth.shape[:2] + (1,) * (truth.ndim - 2))
    return np.where(blank[:, :, None], np.float32(0), scores), np.where(hidden, truth.dtype.type(unknown), truth)
