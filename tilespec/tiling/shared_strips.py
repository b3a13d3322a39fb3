"""Shared strips: predictions of tile rows that two slabs need, left by whoever had them first. Share or recompute.

A strip is a tile row blended along x, cut to the rows that the neighbour needs. It is a pure function of the plan, so
it does not matter who makes it, when, or how often: whoever finds it reads it, whoever does not evaluates the tiles
himself, and both get the same bits. Nobody waits for anybody.
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from tilespec.tiling.blend_rows import Block


@final
@dataclass(frozen=True, kw_only=True)
class Strips:
    """The scratch folder of one plan."""

    folder: Path
    """Beside the product; gone when it is complete."""
    panel: int
    """The panel whose tile rows these are."""

    def leave(self, k: int, rows: tuple[int, int], strip: Float32[np.ndarray, "y x channel"]) -> None:
        """Keep rows ``rows`` (of the plane) of tile row ``k`` for a neighbour, whole or not at all."""
        if rows[0] >= rows[1]:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{uuid.uuid4().hex}.partial"
        try:
            with partial.open("wb") as file:
                np.save(file, strip, allow_pickle=False)
            partial.replace(self._path(k, rows))
        except OSError:  # a full disk stops the product, not its scratch: the neighbour evaluates the tiles itself
            partial.unlink(missing_ok=True)

    def take(self, k: int, rows: tuple[int, int]) -> Float32[np.ndarray, "y x channel"] | None:
        """Return what a neighbour left of these rows, and remove it; None where nobody did."""
        path = self._path(k, rows)
        mine = path.with_name(f"{path.name}.{os.getpid()}.taken")
        try:
            path.rename(mine)
            return np.load(mine, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # not there, or damaged: it is made again
            return None
        finally:
            mine.unlink(missing_ok=True)

    def _path(self, k: int, rows: tuple[int, int]) -> Path:
        return self.folder / f"panel-{self.panel:03d}-tile-row-{k:06d}-rows-{rows[0]}-{rows[1]}.npy"


@final
class Leaving:
    """Rows of one tile row that neighbours need, gathered block by block."""

    def __init__(self, rows: tuple[tuple[int, int], ...]) -> None:
        self._found: dict[tuple[int, int], list[np.ndarray]] = {span: [] for span in rows}

    def add(self, block: Block) -> None:
        """Take the next block of the tile row."""
        for (first, last), found in self._found.items():
            found.append(block.values[first - block.top : last - block.top].copy())

    def leave(self, strips: Strips, k: int) -> None:
        """Keep what was gathered for the neighbours: nothing where the tile row itself was one that was left."""
        for rows, found in self._found.items():
            if found:
                strips.leave(k, rows, np.concatenate(found, axis=1))
