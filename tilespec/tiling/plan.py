"""Plan: a tiled prediction as values: the plan, its parts, and the interface of a predictor.

A *slab* is a run of rows of objects that one task streams. A plane that is too wide, or has too many channels, is first
cut into *panels* of complete objects, each predicted as a narrower plane. Both are scheduling: a pixel is the running
mean of the same tiles in the same order for every cut, so the bits are the same.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.types import Roi
from tilespec.storage.product import Product
from tilespec.tiling.grid import Axis, Grid, reflect

AREA = 1 << 18
"""The input pixels of a canonical batch: one tile of 512, four of 256. Fewer do not use all cores, more exceed the
cache.
"""
VALUES = 1 << 24
"""The largest number of values in the input or the output of a canonical batch."""
LARGEST = 16
"""The largest number of tiles in a canonical batch."""


def canonical_batch(grid: Grid, channels: tuple[int, int]) -> int:
    """Return the number of tiles in a canonical batch, from grid and channels alone, since it may decide bits.

    It is no larger than the grid: a small scene is neither padded nor tested with tiles that it does not have.
    """
    sides = [last - first for first, last in (grid.read(axis, 0) for axis in (grid.y, grid.x))]
    area = prod(sides)
    return int(max(1, min(LARGEST, grid.tiles, AREA // area, VALUES // (area * max(channels)))))


@runtime_checkable
class Predictor(Protocol):
    """A predictor from tiles of reflectance to tiles of predictions."""

    @property
    def channels(self) -> tuple[int, int]:
        """The number of channels in (after `prepare`) and out (before `decode`)."""
        ...

    @property
    def threads(self) -> int:
        """The number of threads that may read, prepare and call it at the same time."""
        ...

    @property
    def device(self) -> Any:
        """The device of torch that computes, whose tensors are prepared, evaluated and blended; None for NumPy."""
        ...

    def prepare(self, spectra: Float32[Any, "pixel band"]) -> Float32[Any, "pixel channel"]:
        """Apply the recipe to each pixel; the result is NaN for pixels without data."""
        ...

    def __call__(self, tiles: Float32[Any, "tile y x channel"], ids: list[int]) -> Float32[Any, "tile y2 x2 channel2"]:
        """Return the net's output on a batch; the tiles' numbers ``ids`` seed random layers. Thread-safe.

        An array of NumPy is answered by one of NumPy, a tensor on the device by one there.
        """
        ...

    def any_batch(self, shape: tuple[int, int, int], batch: int) -> bool:
        """Return whether a tile of ``shape`` (y, x, channel) has the same bits in any batch of up to ``batch``."""
        ...

    def decode(
        self, blended: Float32[np.ndarray, "y x channel"], valid: Bool[np.ndarray, "y x"]
    ) -> dict[str, np.ndarray]:
        """Return the stored arrays of finished rows by name, with nodata where not ``valid``. Pixelwise."""
        ...


@runtime_checkable
class PredictorSpec(Protocol):
    """The description of a predictor: a small value that a worker receives, and from which it opens one per process."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in and out, as those of the predictor."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in order; empty where values are predicted."""
        ...

    def with_norms(self, file: str) -> "PredictorSpec":
        """Return the same with a scene's norm statistics, which lie in ``file``."""
        ...

    def with_intra(self, threads: int) -> "PredictorSpec":
        """Return the same on ``threads`` threads inside one evaluation."""
        ...

    def open(self, threads: int) -> Predictor:
        """Return the predictor, which computes on ``threads`` threads."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Slab:
    """The work of one task: a run of rows of objects of a panel."""

    rows: tuple[int, ...]
    """The numbers of consecutive rows of objects."""
    panel: int = 0
    """The number of the panel."""
    above: tuple[int, int] | None = None
    """The pixel rows of the part above if another task runs it, because both need some tile rows."""
    below: tuple[int, int] | None = None
    """The pixel rows of the part below if another task runs it."""


@final
@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """The plan of a prediction, a value that can be printed, hashed and sent."""

    scene: str
    """The URL of the scene."""
    roi: Roi
    """The region of the scene that is predicted."""
    product: Product
    """The product that is written."""
    grid: Grid
    """The grid of tiles."""
    spec: PredictorSpec
    """The description of the predictor."""
    threads: int
    """The number of threads of one task."""
    batch: int = 1
    """The number of tiles in a canonical batch (`canonical_batch`)."""
    disagreement: bool = False
    """Whether the spread of the tiles over a pixel is stored too."""

    def parts(self, hands: int) -> list[Slab]:
        """Return the missing rows cut into about ``hands`` parts, each at least a tile and three tile rows high.

        Every second part of a panel comes first: it evaluates the tile rows at both its ends and stores strips of them
        for the adjacent parts, which read them later, so that no tile is evaluated twice.
        """
        missing = self.product.missing_by_panel()
        each = max(1, -(-hands // max(1, sum(map(bool, missing)))))
        runs = [run for panel, rows in enumerate(missing) for run in self._runs(panel, rows, each)]
        return runs[::2] + runs[1::2]

    def shares(self) -> list[Slab]:
        """Return all rows cut into parts about a tile high: the same in every run that joins, whatever is missing."""
        every = list(range(self.product.rows))
        runs = [run for panel in range(self.product.panels) for run in self._runs(panel, every, len(every), tiles=1)]
        return runs[::2] + runs[1::2]

    def missing(self, part: Slab) -> Slab | None:
        """Return what is missing of a part, from its first missing row to the last, or None."""
        rows = [row for row in part.rows if self.product.lacks(row, part.panel)]
        if not rows:
            return None
        return replace(  # the adjacent part has, or had, the strip of what is written already
            part,
            rows=tuple(range(rows[0], rows[-1] + 1)),
            above=part.above if rows[0] == part.rows[0] else None,
            below=part.below if rows[-1] == part.rows[-1] else None,
        )

    def _runs(self, panel: int, missing: list[int], hands: int, *, tiles: int = 3) -> list[Slab]:
        """Return runs of the missing rows of one panel, each so many tile rows high or more, with its neighbours."""
        least = max(tiles * self.grid.y.step, self.grid.y.tile)
        height = max(-(-least // self.product.edge), -(-len(missing) // hands))
        runs: list[list[int]] = []
        for row in missing:
            if runs and runs[-1][-1] == row - 1 and len(runs[-1]) < height:
                runs[-1].append(row)
            else:
                runs.append([row])
        spans = [self.span(Slab(rows=tuple(run))) for run in runs]
        return [
            Slab(
                rows=tuple(run),
                panel=panel,
                above=spans[i - 1] if i and spans[i - 1][1] == spans[i][0] else None,
                below=spans[i + 1] if i + 1 < len(runs) and spans[i + 1][0] == spans[i][1] else None,
            )
            for i, run in enumerate(runs)
        ]

    def span(self, part: Slab) -> tuple[int, int]:
        """Return the first and the last pixel row (exclusive) of a part."""
        return self.product.span(part.rows[0])[0], self.product.span(part.rows[-1])[1]

    def tiles(self, part: Slab) -> tuple[range, range]:
        """Return the tile rows and the tile columns that overlap a part."""
        return self.grid.y.covering(*self.span(part)), self.grid.x.covering(*self.product.columns(part.panel))

    def own(self, part: Slab, k: int) -> tuple[int, int]:
        """Return the rows of the plane in both tile row ``k`` and a part."""
        axis, (start, stop) = self.grid.y, self.span(part)
        return max(k * axis.step, start), min(k * axis.step + axis.tile, stop)

    def wanted(self, part: Slab, k: int) -> tuple[int, int]:
        """Return the rows of tile row ``k`` that a part and the adjacent parts of other tasks need."""
        axis, (start, stop) = self.grid.y, self.span(part)
        top, bottom = part.above[0] if part.above else start, part.below[1] if part.below else stop
        return max(k * axis.step, top), min(k * axis.step + axis.tile, bottom)

    def across(self, part: Slab, column: int) -> tuple[int, int]:
        """Return the columns of the plane in both a tile column and a part's panel."""
        axis, (start, stop) = self.grid.x, self.product.columns(part.panel)
        return max(column * axis.step, start), min(column * axis.step + axis.tile, stop)

    def columns_read(self, panel: int) -> tuple[int, int]:
        """Return the input columns, relative to the region, that the tiles of a panel read."""
        tiles = self.grid.x.covering(*self.product.columns(panel))
        first, last = self.grid.read(self.grid.x, tiles[0])[0], self.grid.read(self.grid.x, tiles[-1])[1]
        index = reflect(np.arange(first, last), self.roi.shape[1])
        return int(index.min()), int(index.max()) + 1


@final
@dataclass(kw_only=True)
class SlabCounts:
    """The counts of a part."""

    tiles: int = 0
    """The number of tiles that the net evaluated."""
    empty: int = 0
    """The number of tiles without a valid pixel, which are not evaluated."""
    shared: int = 0
    """The number of tiles whose predictions an adjacent part had stored."""
    nodata: int = 0
    """The number of output pixels without data."""
    poison: list[int] = field(default_factory=list)
    """The numbers of tiles in quarantine."""
    network_seconds: float = 0.0
    """The time inside the net in seconds, summed over threads."""
    cpu_seconds: float = 0.0
    """The time of the processor in seconds, all threads of the process together."""
    opening_seconds: float = 0.0
    """The part of the time of the processor in which scene and model are opened, long for the first part of a process.
    """
    read_seconds: float = 0.0
    """The time of reading and preparing in seconds."""
    bytes_read: int = 0
    """The decoded bytes of the scene that were read."""
    bytes_written: int = 0
    """The bytes of the prediction before encoding."""
    wasted: int = 0
    """The number of tiles evaluated for rows that another run wrote, because it had taken over."""
    stopped: bool = False
    """Whether the part was stopped before its end."""
    tiles_by: Counter[str] = field(default_factory=Counter)
    """The tiles that each process evaluated, by its machine and number."""
    milliseconds_by: Counter[str] = field(default_factory=Counter)
    """The time that each process took for its parts, in milliseconds."""

    def add(self, other: "SlabCounts") -> None:
        """Add the counts of another part."""
        for key, value in vars(other).items():
            setattr(self, key, getattr(self, key) + value)


def axes(plane: tuple[int, int], tile: int, overlap: int) -> tuple[Axis, Axis]:
    """Return the tile axes y and x of a plane."""
    return tuple(Axis(length=length, tile=tile, overlap=overlap) for length in plane)  # type: ignore[return-value]


def describe(plan: PredictPlan, bands: int, itemsize: int, memory: dict[str, int]) -> dict[str, Any]:
    """Return the plan as plain data: tiles, objects, bytes, projected memory."""
    product, grid = plan.product, plan.grid
    begun = product.ledger.folder.exists()
    missing = sum(map(len, product.missing_by_panel())) if begun else None
    extra = sum(len(plan.tiles(Slab(rows=(0,), panel=panel))[1]) for panel in range(product.panels)) - grid.x.count
    return {
        "scene": plan.scene,
        "out": product.url,
        "region": str(plan.roi),
        "tiles": grid.tiles,
        "tile": grid.y.tile,
        "overlap": grid.y.overlap,
        "window": grid.window,
        "tile_class": grid.reach.kind,
        "batch": plan.batch,
        "panels": product.panels,
        "tiles_at_panel_edges": extra * grid.y.count,
        "rows_of_objects": product.rows,
        "objects_per_array": product.rows * sum(_across(product, panel) for panel in range(product.panels)),
        "rows_missing": product.rows * product.panels if missing is None else missing,
        "bytes_to_read": plan.roi.shape[0] * plan.roi.shape[1] * bands * itemsize,
        **memory,
    }


def _across(product: Product, panel: int) -> int:
    """Return the number of objects of an array in one row of a panel; an object is at most as wide as high."""
    first, last = product.columns(panel)
    return -(-(last - first) // product.edge)
