"""Gaps: pixels that a mask says have no data, in integers all of whose values are data."""

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
    """A source of which a mask hides pixels."""

    facts: Facts
    """As `with_gaps` makes them."""
    inner: Source
    """What is read."""
    known: Callable[[int, int], Bool[np.ndarray, "y x"]]
    """Returns which pixels of some rows have data."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows, in a type that has room for nodata."""
        rows = self.inner.read_rows(y0, y1).astype(self.facts.dtype)
        rows[~self.known(y0, y1)] = self.facts.nodata
        return rows


def with_gaps(facts: Facts) -> Facts:
    """Return facts with a value for no data: the source's own, NaN, or one more than bytes have."""
    if facts.dtype.kind == "f":
        return replace(facts, nodata=float("nan"))
    if facts.nodata is not None:
        return facts
    if facts.dtype == np.uint8:
        return replace(facts, dtype=np.dtype(np.uint16), nodata=65535.0)
    wide = np.float32 if facts.dtype.itemsize <= 2 else np.float64
    return replace(facts, dtype=np.dtype(wide), nodata=float("nan"))
