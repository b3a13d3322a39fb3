"""Chemmap: a map of one or several quantities, such as the fat content, learned from one number for each sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.core.types import Reflectance
from tilespec.models.tasks.base import Geometry, ReadsScores, stored_arrays, without_gaps
from tilespec.storage.references import LIMITS

Values = Float32[np.ndarray, "y x quantity"]
Numbers = Int32[Tensor, "batch y x"]

NO_SAMPLE: Final = 0
"""The number of pixels that belong to no sample."""
HEADS: Final = ("linear", "bounded")


@final
@dataclass(frozen=True, kw_only=True)
class ChemMap(ReadsScores):
    """A value of each quantity for each output pixel, of which only the means over samples are known.

    The target of a pixel is the number of the sample that it belongs to, 0 for none. The net answers in the units of
    the references; a ``bounded`` head answers shares of the range.
    """

    truth: ClassVar[Literal["classes", "field"]] = "field"
    target: ClassVar[Literal["references"]] = "references"
    metrics: ClassVar[tuple[str, ...]] = (
        *("rmse", "mae", "bias", "r2"),
        *("spatially_correlated_variance", "correlated_variance_bound", "out_of_range"),
    )

    quantities: Sequence[str]
    """The names of the quantities, one channel each."""
    units: Sequence[str] = ()
    """The unit of each quantity; empty: none is known."""
    low: float | Sequence[float | None] | None = None
    """The smallest possible value, of all quantities or of each; None: that of the unit (``%``: 0), if it has one."""
    high: float | Sequence[float | None] | None = None
    """The largest possible value, of all quantities or of each; None: that of the unit (``%``: 100), if it has one."""
    scale: str | float = "1"
    """The number of output pixels for one input pixel, such as ``"1/2"``."""
    margin: int = 0
    """The number of input pixels on each side of a scene without output."""
    head: str = "linear"
    """The net's output: ``linear``, in the units of the references, or ``bounded``, 0 to 1 for the range."""
    interval: bool = False
    """Whether the net answers the lower and the upper ends of intervals too, after the values (``baseline plsr``)."""

    def __post_init__(self) -> None:
        for name in ("quantities", "units", "low", "high"):  # a model card has lists
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        _check(self)

    @property
    def limits(self) -> tuple[tuple[float | None, float | None], ...]:
        """The smallest and the largest possible value of each quantity in its unit; None: there is no limit."""
        units = self.units or ("",) * len(self.quantities)
        of_units: list[tuple[float | None, float | None]] = [LIMITS.get(unit, (None, None)) for unit in units]
        ends = (_each(end, len(units)) for end in (self.low, self.high))
        pairs = zip(*ends, strict=True)
        return tuple(
            (known[0] if low is None else low, known[1] if high is None else high)
            for (low, high), known in zip(pairs, of_units, strict=True)
        )

    @property
    def channels_out(self) -> int:
        """The number of quantities, three times as many with intervals."""
        return len(self.quantities) * len(stored_arrays(self))

    @property
    def geometry(self) -> Geometry:
        """The scale and the margin of the options."""
        return Geometry(scale=Fraction(str(self.scale)), margin=self.margin)

    def pair(
        self, scores: Reflectance, truth: Int32[np.ndarray, "y2 x2"]
    ) -> tuple[Reflectance, Int32[np.ndarray, "y2 x2"]]:
        """Return scores and numbers of samples: 0 and no sample where a pixel has no data."""
        return without_gaps(scores, truth, self.geometry, NO_SAMPLE)

    def known(self, target: Numbers) -> Bool[Tensor, "batch 1 y x"]:
        """Return which pixels belong to a sample."""
        return (target != NO_SAMPLE).unsqueeze(1)

    def planes(self, target: Numbers) -> Float[Tensor, "batch quantity y x"]:
        """Return 1 for pixels of a sample and 0 for others, because a reference is the number of no pixel."""
        return self.known(target).float().expand(-1, self.channels_out, -1, -1)

    def answer(self, raw: Float[Tensor, "batch quantity y x"]) -> Float[Tensor, "batch quantity y x"]:
        """Return values in the units of the references."""
        if self.head == "linear":
            return raw
        low, high = (self._planes(raw, ends) for ends in zip(*self.limits, strict=True))
        return low + (high - low) * raw

    def magnitude(self, target: Numbers) -> Float[Tensor, "batch quantity y x"]:
        """Return 1, because no pixel has a value of its own."""
        return torch.ones_like(self.planes(target))

    def activate(self, raw: Float[Tensor, "batch quantity y x"]) -> Float[Tensor, "batch quantity y x"]:
        """Return values in the units of the references."""
        return self.answer(raw)

    def decode(self, blended: Values) -> Values:
        """Return the blended values unchanged."""
        return blended

    @staticmethod
    def _planes(raw: Tensor, values: Sequence[float | None]) -> Float[Tensor, "quantity 1 1"]:
        """Return one number for each quantity, as planes beside the net's output."""
        return raw.new_tensor([value for value in values if value is not None])[:, None, None]


def _each(end: Any, count: int) -> tuple[float | None, ...]:
    """Return one end of the range for each quantity."""
    return end if isinstance(end, tuple) else (end,) * count


def _check(task: ChemMap) -> None:
    """Refuse options that describe no map."""
    count = len(task.quantities)
    lists = [one for one in (task.units or None, task.low, task.high) if isinstance(one, tuple)]
    if isinstance(task.quantities, str) or not count or any(len(one) != count for one in lists):
        raise UserError(
            "task.quantities, task.units, task.low, task.high",
            found=f"{task.quantities!r}, {task.units!r}, {task.low!r}, {task.high!r}",
            expected="a list of names, and one unit and one limit for each of them",
            do="Leave them out: they are taken from data.references.",
        )
    for name, (low, high) in zip(task.quantities, task.limits, strict=True):
        known = [end for end in (low, high) if end is not None]
        if known != sorted(set(known)) or not np.isfinite(known).all() or (task.head == "bounded" and len(known) < 2):
            raise UserError(
                "task.low, task.high",
                found=f"{name} from {low} to {high}",
                expected="low below high; both, if the head is bounded",
                do="Correct the limits; the unit % has 0 and 100 by itself.",
            )
    _check_output(task)


def _check_output(task: ChemMap) -> None:
    """Refuse a head that does not exist, and a scale or a margin that gives no plane."""
    try:
        good = task.geometry.scale > 0 and task.margin >= 0 and task.head in HEADS
    except (ValueError, ZeroDivisionError):
        good = False
    if not good:
        raise UserError(
            "task.scale, task.margin, task.head",
            found=f"{task.scale!r}, {task.margin!r}, {task.head!r}",
            expected=f"a number above 0, such as 1/2, a number of pixels, and {' or '.join(HEADS)}",
            do="Give those of the net: docs/training.md lists them.",
        )
