"""What a metric is: one number for a prediction, and which numbers are better."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final


@final
@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number that judges a prediction. A task names its metrics; the first one leads: the best model has the best.

    A metric of one's own brings its ``statistic``, a value as in `tilespec.evaluate.metrics.confusion`:
    ``of(block, origin)`` of a block of truth and prediction (``2 y x`` classes, or ``2 y x channel`` values), ``+``,
    ``finish()``, which returns figures by name, and ``ADDS``, the names of its fields that are sums. One of neighbours
    has a `halo_of`.
    """

    name: str
    """The name in ``validate.metric``, in the history of a training and in tables."""
    truth: Literal["classes", "field"] | None
    """What it compares: maps of classes, or fields of values; None: either."""
    better: Literal["larger", "smaller"] | None
    """Which values are better; None: neither, so that no model is chosen by it."""
    statistic: Callable[[int], Any] | None = None
    """Returns the statistic of no pixel for so many classes or channels; None: every comparison has the figure."""
    reported_as: str | None = None
    """The key of an evaluation that holds it; None: its name."""
    pixels: bool = True
    """Whether pixels alone decide it; else it needs patches, borders, colours or an option, which validations lack."""
    shown: bool = True
    """Whether the Markdown table of a study shows it, which has to fit a page."""

    @property
    def figure(self) -> str:
        """The key of an evaluation, and of its statistic's figures, that holds it."""
        return self.reported_as or self.name


def halo_of(statistic: Any) -> int:
    """Return the ``halo`` of a statistic, the rows below a block and the columns to its right that it also reads.

    A pair of pixels belongs to its upper or left one. The halo is NaN where the plane ends; without one it is 0.
    """
    return int(getattr(statistic, "halo", 0))
