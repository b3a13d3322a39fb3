"""Shared strips: predictions of tile rows that two slabs need, stored by the first of them for the other.

A strip is a tile row blended along x, cut to the rows that the other slab needs. It is a pure function of the plan, so
any process may compute it at any time: a slab that does not find the strip evaluates its tiles itself, and the bits are
the same. No slab waits for another.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from tilespec.core.arrays import on_host
from tilespec.tiling.blend_rows import BlendedBlock


@final
@dataclass(frozen=True, kw_only=True)
class StripStore:
    """The strips of one plan in its scratch folder."""

    folder: Path
    """The folder beside the product, which is deleted when the product is complete."""
    panel: int
    """The panel of the tile rows."""

    def leave(self, k: int, rows: tuple[int, int], strip: Float32[np.ndarray, "y x channel"]) -> None:
        """Store the rows ``rows`` (of the plane) of tile row ``k`` for an adjacent slab, completely or not at all."""
        if rows[0] >= rows[1]:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{uuid.uuid4().hex}.partial"
        try:
            with partial.open("wb") as file:
                np.save(file, strip, allow_pickle=False)
            partial.replace(self._path(k, rows))
        except OSError:  # on a full disk the adjacent slab evaluates the tiles itself
            partial.unlink(missing_ok=True)

    def take(self, k: int, rows: tuple[int, int]) -> Float32[np.ndarray, "y x channel"] | None:
        """Return and delete the strip of these rows that another slab stored, or return None."""
        path = self._path(k, rows)
        mine = path.with_name(f"{path.name}.{uuid.uuid4().hex}.taken")
        try:
            path.rename(mine)
            return np.load(mine, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # missing or damaged: it is computed again
            return None
        finally:
            mine.unlink(missing_ok=True)

    def _path(self, k: int, rows: tuple[int, int]) -> Path:
        return self.folder / f"panel-{self.panel:03d}-tile-row-{k:06d}-rows-{rows[0]}-{rows[1]}.npy"


@final
class StripCollector:
    """Rows of one tile row that adjacent slabs need, gathered block by block."""

    def __init__(self, rows: tuple[tuple[int, int], ...]) -> None:
        self._found: dict[tuple[int, int], list[np.ndarray]] = {span: [] for span in rows}

    def add(self, block: BlendedBlock) -> None:
        """Add the next block of the tile row."""
        for (first, last), parts in self._found.items():
            parts.append(np.array(on_host(block.values[first - block.top : last - block.top])))

    def leave(self, strips: StripStore, k: int) -> None:
        """Store the gathered rows for the adjacent slabs, unless the tile row itself came from a stored strip."""
        for rows, parts in self._found.items():
            if parts:
                strips.leave(k, rows, np.concatenate(parts, axis=1))
