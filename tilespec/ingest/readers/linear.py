"""Linear: stored numbers whose values are ``stored * gain + offset``, with a gain and an offset for each band."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Float64

from tilespec.core.types import Cube
from tilespec.ingest.readers.source import Facts, Relabelled, Source, without_data


@final
@dataclass(frozen=True, kw_only=True)
class LinearSource:
    """A source whose values are computed from stored numbers as they are read."""

    facts: Facts
    """The facts of the values, which are floats with NaN for no data."""
    inner: Source
    """The source of the stored numbers."""
    gain: Float64[np.ndarray, " band"]
    """The value of one stored unit of each band."""
    offset: Float64[np.ndarray, " band"]
    """The value of a stored 0 of each band."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as ``y, x, band``, computed in float64 and rounded once."""
        raw = self.inner.read_rows(y0, y1)
        values = (raw * self.gain + self.offset).astype(self.facts.dtype)
        values[without_data(raw, self.inner.facts.nodata)] = np.nan
        return values


def linear(where: object, source: Source, gain: tuple[float, ...], offset: tuple[float, ...]) -> Source:
    """Return a source with the gains and offsets of its bands; empty ones are 1 and 0.

    One gain for all bands without an offset is the scale of the facts; then stored integers stay as they are.
    """
    facts = source.facts
    if not gain and not offset:
        return source
    if len(set(gain)) <= 1 and not any(offset):
        return Relabelled(facts=replace(facts, scale=facts.scale * gain[0]), inner=source)
    wide = facts.dtype.itemsize > (4 if facts.dtype.kind == "f" else 2)  # more digits than float32 holds
    note = f"{where}: gains and offsets of its bands are applied: values are stored as floats"
    decoded = replace(
        facts, dtype=np.dtype(np.float64 if wide else np.float32), nodata=None, scale=1.0, notes=(*facts.notes, note)
    )
    gains, offsets = (
        np.broadcast_to(v or d, facts.shape[2]).astype(np.float64) for v, d in ((gain, 1.0), (offset, 0.0))
    )
    return LinearSource(facts=decoded, inner=source, gain=gains * facts.scale, offset=offsets)
