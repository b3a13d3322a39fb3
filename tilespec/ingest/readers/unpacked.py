"""Unpacked: the values of packed numbers that a scale and one number for no data do not describe."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from tilespec.core.types import Cube
from tilespec.ingest.readers.gaps import with_gaps
from tilespec.ingest.readers.source import Facts, Source
from tilespec.storage.packing import Packing


@final
@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """Packed numbers as real values, or as whole numbers with one number for no data."""

    facts: Facts
    """The facts of the values."""
    inner: Source
    """The source of the packed numbers."""
    packing: Packing
    """The packing of the numbers."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows in the data type of the facts."""
        packed = self.inner.read_rows(y0, y1)
        if self.packing.offset != 0:
            values: Cube = self.packing.values(packed, self.facts.dtype)
            return values
        numbers = self.packing.typed(packed)
        rows = numbers.astype(self.facts.dtype)
        gaps = self.packing.missing(numbers)
        if gaps.any():
            rows[gaps] = self.facts.nodata if rows.dtype.kind in "iu" else np.nan
        return rows


def unpack(source: Source, facts: Facts, packing: Packing) -> Source:
    """Return a source with the values that a packing makes of its numbers, and with ``facts`` of all else.

    Integers without an offset stay integers with their scale. What has an offset, which a scene cannot store, becomes
    floats.
    """
    notes = (*facts.notes, *packing.notes)
    nodata = next((float(v) for v in packing.fills if float(v) == v), None)
    plain = replace(facts, dtype=packing.dtype, scale=packing.scale, nodata=nodata, notes=notes)
    if packing.simple(source.facts.dtype):
        return replace(source, facts=replace(plain, dtype=facts.dtype))  # type: ignore[type-var]
    if packing.offset != 0:
        wide = packing.dtype.itemsize > 4 or packing.dtype in (np.dtype("i4"), np.dtype("u4"))
        plain = replace(plain, dtype=np.dtype("f8" if wide else "f4"), scale=1.0, nodata=None)
    elif packing.dtype.kind == "f":
        plain = replace(plain, nodata=None)
    elif nodata is None and (packing.fills or packing.limits is not None):
        plain = with_gaps(plain)
    return Unpacked(facts=plain, inner=source, packing=packing)
