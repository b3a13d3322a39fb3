"""Plan: what tiled prediction is, as values. The plan, the parts it is cut into, and what a predictor must be.

A *slab* is a run of rows of objects that one task streams. Where the plane is too wide, or has too
many channels, it is cut into *panels* of whole objects first, each predicted as a narrower plane. Both are scheduling:
a pixel is the running mean of the same tiles in the same order, whatever the cut, so the bits are the same.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.types import Roi
from tilespec.storage.product import Product
from tilespec.tiling.grid import Axis, Grid, reflect

AREA = 1 << 18
"""Input pixels of a canonical batch: one tile of 512, four of 256. Fewer leave cores idle, more leave the cache."""
VALUES = 1 << 24
"""Values of a canonical batch, in or out, at most: many channels make small batches."""
LARGEST = 16
"""Tiles of a canonical batch at most."""


def canonical_batch(grid: Grid, channels: tuple[int, int]) -> int:
    """Return the tiles of a canonical batch: a function of grid and channels alone, since it may decide bits."""
    first, last = grid.read(grid.y, 0)
    area = (last - first) ** 2
    return int(max(1, min(LARGEST, AREA // area, VALUES // (area * max(channels)))))


@runtime_checkable
class Predictor(Protocol):
    """What turns tiles of reflectance into tiles of predictions."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in (after `prepare`) and out (before `decode`)."""
        ...

    @property
    def threads(self) -> int:
        """How many threads may read, prepare and call it at once."""
        ...

    def prepare(self, spectra: Float32[np.ndarray, "pixel band"]) -> Float32[np.ndarray, "pixel channel"]:
        """Apply the recipe: pixelwise, NaN where there is no data."""
        ...

    def __call__(
        self, tiles: Float32[np.ndarray, "tile y x channel"], ids: list[int]
    ) -> Float32[np.ndarray, "tile y2 x2 channel2"]:
        """Evaluate the net on a batch; ``ids`` are the tiles' numbers (they seed what is random). Thread-safe."""
        ...

    def any_batch(self, shape: tuple[int, int, int], batch: int) -> bool:
        """Return whether a tile of ``shape`` (y, x, channel) has the same bits in any batch of up to ``batch``."""
        ...

    def decode(
        self, blended: Float32[np.ndarray, "y x channel"], valid: Bool[np.ndarray, "y x"]
    ) -> dict[str, np.ndarray]:
        """Return what is stored of finished rows, by array name, with nodata where not ``valid``. Pixelwise."""
        ...


@runtime_checkable
class PredictorSpec(Protocol):
    """A small value that travels to a worker and opens a predictor there, once per process."""

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
        """Return the predictor, computing on ``threads`` threads."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Part:
    """What one task does: a run of rows of objects of a panel."""

    rows: tuple[int, ...]
    """Consecutive rows of objects."""
    panel: int = 0
    """The panel."""
    above: tuple[int, int] | None = None
    """Pixel rows of the part above, when it runs in other hands: tile rows that both need are shared."""
    below: tuple[int, int] | None = None
    """Pixel rows of the part below, likewise."""


@final
@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What will run: a value that can be printed, hashed and sent."""

    scene: str
    """The scene's store."""
    roi: Roi
    """The region of the scene that is predicted."""
    product: Product
    """Where it goes."""
    grid: Grid
    """How the plane is cut."""
    spec: PredictorSpec
    """What predicts."""
    threads: int
    """Threads of one task."""
    batch: int = 1
    """Tiles of a canonical batch (`canonical_batch`)."""
    disagreement: bool = False
    """Whether the spread of the tiles that cover a pixel is stored too."""

    def parts(self, hands: int) -> list[Part]:
        """Cut what is missing into about ``hands`` parts, at least a tile and three tile rows high each.

        Every second part of a panel comes first: it evaluates the tile rows at both its ends and leaves strips of them
        for its neighbours, which find them when their turn comes, so that no tile is evaluated twice.
        """
        missing = [self.product.missing(panel) for panel in range(self.product.panels)]
        each = max(1, -(-hands // max(1, sum(map(bool, missing)))))
        runs = [run for panel, rows in enumerate(missing) for run in self._runs(panel, rows, each)]
        return runs[::2] + runs[1::2]

    def _runs(self, panel: int, missing: list[int], hands: int) -> list[Part]:
        """Cut the missing rows of one panel into runs, and tell each which run it touches."""
        least = max(3 * self.grid.y.step, self.grid.y.tile)
        height = max(-(-least // self.product.edge), -(-len(missing) // hands))
        runs: list[list[int]] = []
        for row in missing:
            if runs and runs[-1][-1] == row - 1 and len(runs[-1]) < height:
                runs[-1].append(row)
            else:
                runs.append([row])
        spans = [self.span(Part(rows=tuple(run))) for run in runs]
        return [
            Part(
                rows=tuple(run),
                panel=panel,
                above=spans[i - 1] if i and spans[i - 1][1] == spans[i][0] else None,
                below=spans[i + 1] if i + 1 < len(runs) and spans[i + 1][0] == spans[i][1] else None,
            )
            for i, run in enumerate(runs)
        ]

    def span(self, part: Part) -> tuple[int, int]:
        """Return first and last pixel row (exclusive) of a part."""
        return self.product.span(part.rows[0])[0], self.product.span(part.rows[-1])[1]

    def tiles(self, part: Part) -> tuple[range, range]:
        """Return the tile rows and the tile columns that touch a part."""
        return self.grid.y.covering(*self.span(part)), self.grid.x.covering(*self.product.columns(part.panel))

    def own(self, part: Part, k: int) -> tuple[int, int]:
        """Return the rows of the plane that tile row ``k`` has in a part."""
        axis, (start, stop) = self.grid.y, self.span(part)
        return max(k * axis.step, start), min(k * axis.step + axis.tile, stop)

    def wanted(self, part: Part, k: int) -> tuple[int, int]:
        """Return the rows of tile row ``k`` that a part and its neighbours in other hands need."""
        axis, (start, stop) = self.grid.y, self.span(part)
        top, bottom = part.above[0] if part.above else start, part.below[1] if part.below else stop
        return max(k * axis.step, top), min(k * axis.step + axis.tile, bottom)

    def across(self, part: Part, column: int) -> tuple[int, int]:
        """Return the columns of the plane that a tile column has in a part's panel."""
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
class Facts:
    """What a part counted."""

    tiles: int = 0
    """Tiles evaluated by the net."""
    empty: int = 0
    """Tiles without one valid pixel, not evaluated."""
    shared: int = 0
    """Tiles whose predictions a neighbour had left."""
    nodata: int = 0
    """Output pixels without data."""
    poison: list[int] = field(default_factory=list)
    """Tiles that were quarantined."""
    network_seconds: float = 0.0
    """Time inside the net, summed over threads."""
    read_seconds: float = 0.0
    """Time reading and preparing."""
    bytes_read: int = 0
    """Decoded bytes of the scene."""
    bytes_written: int = 0
    """Bytes of the prediction before encoding."""
    stopped: bool = False
    """Whether it was asked to stop before its end."""

    def add(self, other: "Facts") -> None:
        """Count what another part counted."""
        for key, value in vars(other).items():
            setattr(self, key, getattr(self, key) + value)


def axes(plane: tuple[int, int], tile: int, overlap: int) -> tuple[Axis, Axis]:
    """Return the tile axes of a plane."""
    return tuple(Axis(length=length, tile=tile, overlap=overlap) for length in plane)  # type: ignore[return-value]


def describe(plan: PredictPlan, bands: int, itemsize: int, memory: dict[str, int]) -> dict[str, Any]:
    """Return the plan as plain data: tiles, objects, bytes, projected memory."""
    product, grid = plan.product, plan.grid
    begun = product.ledger.folder.exists()
    missing = sum(len(product.missing(panel)) for panel in range(product.panels)) if begun else None
    extra = sum(len(plan.tiles(Part(rows=(0,), panel=panel))[1]) for panel in range(product.panels)) - grid.x.count
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
        "rows_missing": product.rows * product.panels if missing is None else missing,
        "bytes_to_read": plan.roi.shape[0] * plan.roi.shape[1] * bands * itemsize,
        **memory,
    }
