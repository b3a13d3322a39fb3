"""Frozen norms: norms with the statistics of a tile become affine maps with the statistics of the scene.

An instance norm divides each tile by its own contrast, so that neighbouring tiles differ, which shows as seams. A first
pass runs the net on separate tiles, gathers the moments of the input of each such norm, and merges them over the scene
(Chan, Golub and LeVeque, STAN-CS-79-773, 1979). With the scene's mean and variance, a norm no longer depends on the
tile.

The input of a deeper norm depends on the norms before it, and changes when those are frozen. So norms are frozen one
after the other, in the order in which the net calls them, and each round runs the net only up to the next one. (If all
were frozen from one run, deep norms would have the statistics of another net.)
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor, nn
from torch.nn import functional

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.types import Roi, TileClass
from tilespec.models.determinism import torch_threads
from tilespec.models.model import Model
from tilespec.models.nets import UNDECLARED, tile_class_of
from tilespec.models.nets.norms import set_sample_ids, spatial_norms
from tilespec.models.probe.narrow_input import replica
from tilespec.models.probe.receptive_field import measured_class
from tilespec.models.tasks import task
from tilespec.models.tasks.base import Task
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.statistics import Origin
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import reflect

TILES = 32
"""The number of tiles in a pass; smaller scenes are read completely."""
KEPT = 1 << 28
"""The bytes of tiles after the recipe that stay in this process's memory between rounds; further tiles are read again.
"""
PARALLEL = 4
"""The number of tiles at a time in this process, each on one thread, so that memory is bounded and bits are the same.
"""


Channels = Float32[np.ndarray, " channel"]
Tile = tuple[Float32[np.ndarray, "y x channel"], Bool[np.ndarray, "y x"]]
Tiles = dict[int, Tile]


@final
class FrozenNorm(nn.Module):
    """The affine map of a norm with known statistics, the same for every pixel and tile."""

    mean: Tensor
    var: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, norm: nn.Module, mean: Channels, var: Channels) -> None:
        super().__init__()
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("var", torch.from_numpy(var.copy()))
        self.register_buffer("weight", torch.ones_like(self.mean) if weight is None else weight.detach())
        self.register_buffer("bias", torch.zeros_like(self.mean) if bias is None else bias.detach())
        self.eps = float(getattr(norm, "eps", 1e-5))
        self.tile_class = TileClass(kind="pixelwise")

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return ``x`` normalised by the scene's statistics, with the learned scale and shift."""
        return functional.batch_norm(x, self.mean, self.var, self.weight, self.bias, eps=self.eps)


def freeze(module: nn.Module, stats: dict[str, np.ndarray], *, channels: int | None = None) -> nn.Module:
    """Return a net with the weights of ``module``, with the norms in ``stats`` frozen and its tile class corrected.

    Args:
        module: The net, which does not change.
        stats: The arrays ``LAYER.mean`` and ``LAYER.var`` for each layer, as `norm_statistics` returns.
        channels: The number of input channels. A net without a declared class for frozen norms (``frozen_class``) is
            measured if this is given, and is approximate otherwise.
    """
    frozen = replica(module)
    for name in sorted({key.rpartition(".")[0] for key in stats}):
        layer = frozen.get_submodule(name)
        mean, var = _pooled(layer, stats[f"{name}.mean"], stats[f"{name}.var"])
        parent, _, attribute = name.rpartition(".")
        setattr(frozen.get_submodule(parent), attribute, FrozenNorm(layer, mean, var))
    own, declared = getattr(module, "frozen_class", None), tile_class_of(module) or UNDECLARED
    if own is None and channels is not None:
        own = measured_class(frozen, channels)
    frozen.tile_class = own or TileClass(kind="approximate", align=declared.align)  # type: ignore[assignment]
    return frozen.train(module.training)


def norm_statistics(  # noqa: PLR0913 - keywords of a pass
    model: Model,
    scene: Scene,
    roi: Roi,
    *,
    tile: int,
    prepared: bool,
    client: Any = None,
    folder: str | None = None,
    tiles: int | None = TILES,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Return the statistics of each spatial norm over a region, float32 ``LAYER.mean`` and ``LAYER.var``.

    The same bits for any number of workers: tiles are evaluated one by one, each on one thread, and merged by a tree
    that depends on their number alone.

    Args:
        model: The model, with at least one spatial norm.
        scene: The scene to predict.
        roi: The region of the scene.
        tile: The side of the tiles in pixels, preferably that of the training patches.
        prepared: Whether the scene was already transformed by the model's recipe.
        client: The ``distributed.Client``; None uses this process.
        folder: The folder of the model, from which workers read it instead of receiving it.
        tiles: The largest number of tiles; of a larger region one tile is drawn from each of this many strata. None:
            all.
        seed: The seed of the draws.
        progress: The progress that counts one unit for each tile of each norm.

    Raises:
        UserError: the region has no valid pixel.
    """
    module = model.module()
    assert spatial_norms(module), "nothing to freeze"
    align = (tile_class_of(module) or UNDECLARED).align
    places = _places(roi, -(-tile // align) * align, tiles, seed)
    say = progress or Silent()
    stats: dict[str, np.ndarray] = {}
    cache: Tiles | None = {} if client is None else None
    names = spatial_norms(module)
    say.start("norms", len(names) * len(places), "tiles")
    for _ in names:
        pass_ = NormPass(
            task=task(model.task),
            net=module if client is None or folder is None else (folder, model.digest),
            recipe=Recipe.empty(scene.shape[2], None) if prepared else model.recipe,
            scene=scene,
            roi=roi,
            stats=stats,
            cache=cache,
        )
        frozen = _reduce_tiles(places, pass_, client, say).finish(str(roi) if not stats else None)
        if not frozen:
            break  # the net does not call the others
        stats = stats | frozen
    say.finish()
    return stats


def _reduce_tiles(
    places: "Sequence[SampleTile]", observe: "NormPass", client: Any, progress: Progress
) -> "NormMoments":
    """Return the merged moments of all tiles; a few tiles are evaluated at a time."""
    import dask

    with dask.config.set(num_workers=PARALLEL), torch_threads():
        return reduce_blocks(places, observe, client=client, progress=progress)


@final
@dataclass(frozen=True, kw_only=True)
class SampleTile:
    """A tile of a region; indices beyond the region are reflected."""

    number: int
    """The number in the grid of all tiles, which seeds random layers of the net."""
    y0: int
    """The first row relative to the region."""
    x0: int
    """The first column relative to the region."""
    side: int
    """The side of the tile in pixels."""


def _places(roi: Roi, side: int, limit: int | None, seed: int) -> list[SampleTile]:
    """Return separate tiles that cover a region, or one from each of ``limit`` runs of them."""
    count = [max(1, -(-length // side)) for length in roi.shape]
    starts = [
        np.rint(np.linspace(0, max(length - side, 0), n)).astype(int)
        for length, n in zip(roi.shape, count, strict=True)
    ]
    every = [(int(y), int(x)) for y in starts[0] for x in starts[1]]
    chosen = np.arange(len(every))
    if limit is not None and len(every) > limit:
        edges = np.linspace(0, len(every), limit + 1).astype(int)
        chosen = np.random.default_rng([seed, 5]).integers(edges[:-1], edges[1:])
    return [SampleTile(number=i, y0=every[i][0], x0=every[i][1], side=side) for i in chosen.tolist()]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NormMoments:
    """Count, mean and sum of squared deviations of each layer's input, by channel."""

    n: dict[str, int]
    """The number of values of each layer by name; layers without values are absent."""
    mean: dict[str, Float64[np.ndarray, " channel"]]
    """The mean of each layer by channel."""
    m2: dict[str, Float64[np.ndarray, " channel"]]
    """The sum of squared deviations from the mean of each layer by channel."""

    @classmethod
    def zero(cls) -> "NormMoments":
        """Return the empty moments."""
        return cls(n={}, mean={}, m2={})

    def of(self, block: Mapping[str, Float32[np.ndarray, "channel value"]], origin: Origin = (0, 0)) -> "NormMoments":
        """Return the moments of the inputs of layers, by name."""
        del origin
        n, mean, m2 = {}, {}, {}
        for name, values in block.items():
            if values.shape[1]:
                wide = values.astype(np.float64)
                n[name], mean[name] = values.shape[1], wide.mean(axis=1)
                m2[name] = np.square(wide - mean[name][:, None]).sum(axis=1)
        return type(self)(n=n, mean=mean, m2=m2)

    def __add__(self, other: "NormMoments") -> "NormMoments":
        n, mean, m2 = dict(self.n), dict(self.mean), dict(self.m2)
        for name, count in other.n.items():
            if name not in n:
                n[name], mean[name], m2[name] = count, other.mean[name], other.m2[name]
                continue
            total, apart = n[name] + count, other.mean[name] - mean[name]
            m2[name] = m2[name] + other.m2[name] + np.square(apart) * (n[name] * count / total)
            mean[name] = mean[name] + apart * (count / total)
            n[name] = total
        return type(self)(n=n, mean=mean, m2=m2)

    def finish(self, where: str | None = "region") -> dict[str, np.ndarray]:
        """Return float32 ``LAYER.mean`` and ``LAYER.var`` (ddof 0, as norms divide).

        Raises:
            UserError: there are no values; the message names ``where``.
        """
        if not self.n and where is not None:
            raise UserError(
                where,
                found="no valid pixel in any tile",
                expected="data to take the statistics of the norms from",
                do="Choose other --rows and --cols, or predict with --norm tile.",
            )
        stats: dict[str, np.ndarray] = {}
        for name in sorted(self.n):
            stats[f"{name}.mean"] = self.mean[name].astype(np.float32)
            stats[f"{name}.var"] = (self.m2[name] / self.n[name]).astype(np.float32)
        return stats


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NormPass:
    """The function from a tile to its moments, which is sent to workers."""

    net: Any
    """The module, or the folder and the digest of its model."""
    task: Task
    """Says what the net reads."""
    recipe: Recipe
    """The recipe that is applied while reading."""
    scene: Scene
    """The scene that is read."""
    roi: Roi
    """The region; pixels beyond it are reflected."""
    stats: dict[str, np.ndarray]
    """The statistics of the norms that are frozen already."""
    cache: Tiles | None
    """The tiles in memory by number; None on workers, where the next round may run elsewhere."""

    def __call__(self, place: SampleTile) -> NormMoments:
        """Return the moments of the next norm's input on one tile; empty if the tile has no valid pixel."""
        x, valid = self._cached_tile(place)
        if not valid.any():
            return NormMoments.zero()
        net = self.net if isinstance(self.net, nn.Module) else _net_of_folder(*self.net)[1]
        with torch_threads(1), torch.inference_mode():
            return _moments(net, self.task, self.stats, x, valid, place.number)

    def _cached_tile(self, place: SampleTile) -> Tile:
        """Return a tile, from memory if it is there."""
        if self.cache is None:
            return self._tile(place)
        if place.number not in self.cache:
            tile = self._tile(place)
            if tile[0].nbytes * (len(self.cache) + PARALLEL) > KEPT:
                return tile
            self.cache[place.number] = tile
        return self.cache[place.number]

    def _tile(self, place: SampleTile) -> Tile:
        """Return a tile after the recipe, 0 for no data, and whether each pixel has data."""
        y, x = (
            reflect(np.arange(start, start + place.side), length)
            for start, length in zip((place.y0, place.x0), self.roi.shape, strict=True)
        )
        oy, ox = self.roi.y0, self.roi.x0
        box = Roi(y0=oy + int(y.min()), y1=oy + int(y.max()) + 1, x0=ox + int(x.min()), x1=ox + int(x.max()) + 1)
        cube = self.scene.read(box)
        flat = self.recipe.apply(cube.reshape(-1, cube.shape[2]))
        valid = np.logical_not(np.isnan(flat).any(axis=1))
        scores = np.where(valid[:, None], flat, np.float32(0)).reshape(*cube.shape[:2], -1)
        local = np.ix_(y - y.min(), x - x.min())
        return np.ascontiguousarray(scores[local]), valid.reshape(cube.shape[:2])[local]


@final
class _ReachedError(Exception):
    """The net called the requested norm, so the layers after it need not run."""


def _moments(
    net: nn.Module,
    task: Task,
    stats: dict[str, np.ndarray],
    x: Float32[np.ndarray, "y x channel"],
    valid: Bool[np.ndarray, "y x"],
    number: int,
) -> NormMoments:
    """Return the moments of the input of the first norm that is not frozen, on a tile with valid pixels."""
    observed = freeze(net, stats) if stats else replica(net)  # a copy, because other threads hook their own layers
    mask, moments = torch.from_numpy(valid.astype(np.float32))[None, None], [NormMoments.zero()]

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            inside = functional.adaptive_max_pool2d(mask, inputs[0].shape[2:])[0, 0].numpy() > 0
            moments[0] = NormMoments.zero().of({name: inputs[0][0].contiguous().numpy()[:, inside]})
            raise _ReachedError

        return hook

    for name in spatial_norms(observed):
        observed.get_submodule(name).register_forward_pre_hook(keep(name))
    set_sample_ids(observed, [number])
    with suppress(_ReachedError):
        observed(task.inputs(torch.from_numpy(x).permute(2, 0, 1)[None]))  # seen as channels_last, without a copy
    return moments[0]


@lru_cache(maxsize=1)
def _net_of_folder(folder: str, digest: str) -> tuple[Model, nn.Module]:
    """Return the model of a folder and its net, loaded once per process; the prediction uses the model too."""
    model = Model.of(folder, digest)
    return model, model.module()


def _pooled(
    layer: nn.Module, mean: Float32[np.ndarray, " channel"], var: Float32[np.ndarray, " channel"]
) -> tuple[Float32[np.ndarray, " channel"], Float32[np.ndarray, " channel"]]:
    """Return the statistics by which a norm divides: of each channel, or of groups of channels."""
    if not isinstance(layer, nn.GroupNorm):
        return mean, var
    m, v = (a.astype(np.float64).reshape(layer.num_groups, -1) for a in (mean, var))
    centre = m.mean(axis=1, keepdims=True)
    spread = (v + np.square(m - centre)).mean(axis=1, keepdims=True)
    return tuple(np.broadcast_to(a, m.shape).reshape(-1).astype(np.float32) for a in (centre, spread))  # type: ignore[return-value]
