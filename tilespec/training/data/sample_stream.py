"""Sample stream: the whole samples of a training, their order, and the windows in which each is read.

Sample ``k`` of epoch ``e`` is a pure function of ``(seed, e, k)``: every epoch has each sample once. A mirrored sample
is read at mirrored positions (-1 - y instead of y), so that strides, halos and tiles are those of any other sample, and
nothing but positions is mirrored. Pixels beyond the scene are its reflection.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Int64

from tilespec.core.errors import UserError
from tilespec.core.threads import in_order
from tilespec.core.types import Roi, TileClass
from tilespec.models.tasks.base import Task
from tilespec.tiling.grid import Axis, Grid, reflect
from tilespec.training.data.references import ReferenceTarget
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.training_set import TrainingRegion, TrainingSet
from tilespec.training.objectives.base import MapTile, SampleBatch, TiledSample
from tilespec.training.settings import Config

Index = Int64[np.ndarray, " n"]


class TileAxis(NamedTuple):
    """One axis of a tile: where it is read, and what of it is answered."""

    scores: Index
    """The pixels of the scene that the net reads, mirrored and reflected."""
    truth: Index
    """The output pixels of the part, on the plane of the truth."""
    corner: int
    """The number of output pixels of the net before the part."""
    own: int
    """The number of the tile's own pixels."""


class PlacedSample(NamedTuple):
    """A sample, by its region and its number there, and the axes along which it is mirrored."""

    scene: int
    number: int
    mirrored: tuple[bool, bool] = (False, False)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleStream:
    """The stream of samples: a function from an index to a sample and its windows."""

    seed: int
    """The seed of the run."""
    regions: tuple[TrainingRegion, ...]
    """The scenes, whose truths are `ReferenceTarget`."""
    places: tuple[PlacedSample, ...]
    """The samples of an epoch."""
    grid: Grid
    """How the truth lies on the scene, and what the net reads around a tile."""
    tile: int | None = None
    """The side of a tile in output pixels; None: a sample is one tile."""
    augment: bool = True
    """Whether samples are mirrored along each axis, each with probability 1/2."""

    @classmethod
    def of(
        cls, config: Config, training_set: TrainingSet, reach: TileClass, *, held_out: bool = False
    ) -> "SampleStream":
        """Return the stream of a configuration: of the samples for training, or of those for validation.

        Raises:
            UserError: a named sample does not exist, or no sample is left for one of the two; or samples are to be
                tiled for a net whose tiles do not equal the scene.
        """
        _check_tile(config, reach)
        geometry = training_set.regions[0].geometry
        lost = geometry.margin if reach.margin is None else reach.margin
        height, width = truths(training_set)[0].shape
        y, x = (Axis(length=length, tile=length, overlap=0) for length in (height, width))
        held = held_ids(config, training_set)
        return cls(
            seed=config.train.seed,
            regions=training_set.regions,
            places=tuple(
                PlacedSample(scene, number)
                for scene, truth in enumerate(truths(training_set))
                for number, sample in enumerate(truth.samples)
                if (sample.id in held) == held_out
            ),
            grid=Grid(y=y, x=x, scale=geometry.scale, reach=replace(reach, halo=reach.halo + lost, margin=lost)),
            tile=config.data.tile,
            augment=config.data.augment and not held_out,
        )

    @property
    def length(self) -> int:
        """The number of samples in an epoch."""
        return len(self.places)

    def sample(self, index: int) -> PlacedSample:
        """Return the sample at ``index`` of the stream: number ``index % length`` of epoch ``index // length``."""
        epoch, k = divmod(index, self.length)
        return _epoch(self, epoch)[k]

    def tiles(self, place: PlacedSample) -> list[tuple[TileAxis, TileAxis]]:
        """Return the tiles of a sample, row by row."""
        truth = truth_of(self.regions[place.scene])
        roi, lost = truth.region(truth.samples[place.number]), int(truth.geometry.margin * truth.geometry.scale)
        spans = [
            self._spans((start, stop), (lost, length - lost), pixels, mirrored=mirrored)
            for (start, stop), length, pixels, mirrored in zip(
                ((roi.y0, roi.y1), (roi.x0, roi.x1)),
                truth.shape,
                self.regions[place.scene].roi.shape,
                place.mirrored,
                strict=True,
            )
        ]
        return [(y, x) for y in spans[0] for x in spans[1]]

    def _spans(self, part: tuple[int, int], plane: tuple[int, int], pixels: int, *, mirrored: bool) -> list[TileAxis]:
        """Return the tiles along one axis of ``pixels`` pixels, for the output pixels ``part`` of a ``plane``."""
        turn = partial(_turned, mirrored=mirrored)
        (start, stop), (_, end) = (sorted((turn(a), turn(b - 1))) for a, b in (part, plane))
        side = self.tile or stop + 1 - start
        spans = []
        for first in range(start, stop + 1, side):
            own = min(side, stop + 1 - first)
            count = min(own + 1, end + 1 - first)
            read = np.arange(*self.grid.span(first, count))
            spans.append(
                TileAxis(
                    scores=reflect(turn(read), pixels),
                    truth=turn(np.arange(first, first + count)),
                    corner=self.grid.ahead(first, count),
                    own=own,
                )
            )
        return spans

    def windows(self, epoch: int) -> list[tuple[int, Roi]]:
        """Return the regions that the samples of an epoch are read from, tile by tile: twice if there are several.

        The first reading is for the sums, the second for the gradients.
        """
        windows = []
        for index in range(epoch * self.length, (epoch + 1) * self.length):
            place = self.sample(index)
            tiles = self.tiles(place)
            windows += [(place.scene, self.roi(y, x)) for y, x in tiles] * min(len(tiles), 2)
        return windows

    def roi(self, y: TileAxis, x: TileAxis) -> Roi:
        """Return the region of the scene that a tile is read from, whose borders lie between pixels of the truth."""
        return _around(y.scores, x.scores, self.grid.scale.denominator)


@final
class SampleReader:
    """The batches of whole samples."""

    def __init__(self, stream: SampleStream, blocks: ScoreCache, task: Task, *, pin: bool = False) -> None:
        self._stream, self._blocks, self._task, self._pin = stream, blocks, task, pin

    def __call__(self, ids: tuple[int, ...], step: int) -> SampleBatch:
        """Return the samples at ``ids`` of the stream; those of one tile are read now."""
        return SampleBatch(samples=tuple(self.sample(self._stream.sample(index)) for index in ids), ids=ids, step=step)

    def sample(self, place: PlacedSample) -> TiledSample:
        """Return a sample, whose tiles are read when they are needed; a single tile is read now."""
        spans, truth = self._stream.tiles(place), truth_of(self._stream.regions[place.scene])
        jobs = [partial(self._tile, place, *span) for span in spans]
        tiles: Callable[[], Iterator[MapTile]] = partial(_ahead, jobs)
        if len(jobs) == 1:
            tiles = partial(iter, (jobs[0](),))
        return TiledSample(references=tuple(truth.samples[place.number].values.tolist()), count=len(jobs), tiles=tiles)

    def _tile(self, place: PlacedSample, y: TileAxis, x: TileAxis) -> MapTile:
        """Read one tile."""
        roi, geometry = self._stream.roi(y, x), self._stream.regions[place.scene].geometry
        scores, numbers = self._task.pair(*self._blocks.read(place.scene, roi))
        inner = geometry.target(roi)
        read = scores[np.ix_(y.scores - roi.y0, x.scores - roi.x0)]
        mask = numbers[np.ix_(y.truth - inner.y0, x.truth - inner.x0)] == place.number + 1
        values = torch.from_numpy(read)
        return MapTile(
            x=(values.pin_memory() if self._pin else values).permute(2, 0, 1).unsqueeze(0),
            mask=torch.from_numpy(mask),
            corner=(y.corner, x.corner),
            own=(y.own, x.own),
        )


def _turned(position: Any, *, mirrored: bool) -> Any:
    """Return positions after, or before, the mirroring of an axis."""
    return -1 - position if mirrored else position


def truth_of(region: TrainingRegion) -> ReferenceTarget:
    """Return the samples of a region."""
    assert isinstance(region.truth, ReferenceTarget), "a stream of samples is of references"
    return region.truth


def truths(training_set: TrainingSet) -> list[ReferenceTarget]:
    """Return the samples of all regions."""
    return [truth_of(region) for region in training_set.regions]


def _around(rows: np.ndarray, columns: np.ndarray, step: int) -> Roi:
    """Return the smallest region with some rows and columns whose borders lie between pixels of the truth."""
    (y0, y1), (x0, x1) = ((int(index.min()), int(index.max()) + 1) for index in (rows, columns))
    return Roi(y0=y0, y1=y1, x0=x0, x1=x1).aligned(step, step)


def held_ids(config: Config, training_set: TrainingSet) -> frozenset[str]:
    """Return the ids of the samples for validation: the named ones, or one fold of a random division by the seed.

    Raises:
        UserError: a named sample does not exist, or no sample is left for training.
    """
    ids = sorted(sample.id for truth in truths(training_set) for sample in truth.samples)
    chosen = frozenset(config.validation.samples or _fold(config, ids))
    if chosen - set(ids) or len(chosen) == len(ids):
        raise UserError(
            "validate.samples, validate.share",
            found=f"{', '.join(sorted(chosen - set(ids))[:5]) or 'all samples'}",
            expected=f"some of {', '.join(ids[:8])}{' ...' * (len(ids) > 8)}",
            do="Correct the ids, or give a smaller share: training needs samples too.",
        )
    return chosen


def _fold(config: Config, ids: Sequence[str]) -> list[str]:
    """Return the ids of one of the parts into which all are divided at random."""
    share = config.validation.share
    if share == 0:
        return []
    order = np.random.default_rng([config.train.seed, 2]).permutation(len(ids))
    parts = np.array_split(order, max(2, min(len(ids), round(1 / share))))
    return [ids[i] for i in parts[config.validation.fold % len(parts)]]


def _check_tile(config: Config, reach: TileClass) -> None:
    """Refuse tiles of a net for which they do not equal the scene, because their gradient would be another one."""
    if config.data.tile is not None and reach.kind == "approximate":
        raise UserError(
            "data.tile",
            found=f"{config.data.tile} pixels, for a net that is approximate on tiles",
            expected="a net that is exact or pixelwise, so that tiles have the gradient of the whole sample",
            do="Leave data.tile out, or change [net]; docs/training.md says which are exact.",
        )


@lru_cache(maxsize=8)
def _epoch(stream: SampleStream, epoch: int) -> tuple[PlacedSample, ...]:
    """Return all samples of an epoch in order."""
    rng = np.random.default_rng([stream.seed, 3, epoch])
    order, flips = rng.permutation(stream.length), rng.random((stream.length, 2)) < 1 / 2
    mirrored = flips & stream.augment
    return tuple(
        stream.places[i]._replace(mirrored=(bool(a), bool(b))) for i, (a, b) in zip(order, mirrored, strict=True)
    )


def _ahead(jobs: Sequence[Callable[[], MapTile]]) -> Iterator[MapTile]:
    """Yield the result of each job in order, while a thread does the next one; nobody waits for it at an early end.

    After an error the collector of garbage may end this, in whichever thread it runs: one that waits there can wait for
    ever.
    """
    pool = ThreadPoolExecutor(1, "tilespec-tiles")
    try:
        yield from (tile for _, tile in in_order(pool, lambda job: job(), jobs, depth=2))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
