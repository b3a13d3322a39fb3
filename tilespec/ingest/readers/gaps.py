"""Gaps: pixels without data by a mask, in integers whose values are all valid data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Bool

from tilespec.core.types import Cube
from tilespec.ingest.readers.source import Facts, Source


@final
@dataclass(frozen=True, kw_only=True)
class Gapped:
    """A source in which a mask marks pixels without data."""

    facts: Facts
    """The facts from `with_gaps`."""
    inner: Source
    """The source of the values."""
    known: Callable[[int, int], Bool[np.ndarray, "y x"]]
    """The function that returns which pixels of some rows have data, as bool ``y x``."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows in a data type that can hold nodata."""
        rows = self.inner.read_rows(y0, y1).astype(self.facts.dtype)
        rows[~self.known(y0, y1)] = self.facts.nodata
        return rows


def with_gaps(facts: Facts) -> Facts:
    """Return facts with a nodata value: the source's own, NaN, or one above the range of a byte."""
    if facts.dtype.kind == "f":
        return replace(facts, nodata=float("nan"))
    if facts.nodata is not None:
        return facts
    if facts.dtype == np.uint8:
        return replace(facts, dtype=np.dtype(np.uint16), nodata=65535.0)
    wide = np.float32 if facts.dtype.itemsize <= 2 else np.float64
    return replace(facts, dtype=np.dtype(wide), nodata=float("nan"))
