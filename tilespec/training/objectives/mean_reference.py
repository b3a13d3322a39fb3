"""Mean reference: a map is learned from one number for each sample, the mean of the map over the sample's pixels.

The loss of Engstrom et al. (2025) is ``MSE + 20 S + 1e-3 O + 1e-3 R``: the squared error of the mean over the mask,
the squared differences of neighbours (S), the squared excess over the possible range (O), and the squared weights (R)
without biases and norms.

The gradient of a whole sample needs its mean, but not all of its map at once. So a sample of several tiles is computed
twice: first for its sums, without a graph; then tile by tile, each propagated back by itself. With ``m`` the mean, the
derivative of ``(t - m) ** 2`` at a pixel is ``2 (m - t) / pixels``, and S and O are sums over tiles: the gradient is
that of the whole sample, and memory is that of a tile.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.models.tasks.base import Task
from tilespec.training.objectives.base import MapTile, Move, SampleBatch, TiledSample
from tilespec.training.player import Player

Map = Float[Tensor, "quantity y x"]
Mask = Bool[Tensor, "y x"]

PUBLISHED = 1e-3
"""The published weight of O, a sum over the pixels of a mask."""
PIXELS = 100_000
"""The number of pixels of a mask for which both forms weigh O alike."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleSums:
    """Sums over all tiles of a sample, from which a tile computes its part of the loss."""

    values: Float[Tensor, " quantity"]
    """The sum of the map over the mask."""
    pixels: Float[Tensor, ""]
    """The number of pixels of the mask."""
    pairs: Float[Tensor, ""]
    """The number of pixels that S is divided by."""

    @classmethod
    def of(cls, values: Map, tile: MapTile, form: str = "default") -> "SampleSums":
        """Return the sums of one tile's own pixels, in double precision."""
        (height, width), mask = tile.own, tile.mask.double()
        inside = values[:, :height, :width].double() * mask[:height, :width]
        counted = mask[:-1, :-1] if form == "paper" else mask
        return cls(
            values=inside.sum(dim=(1, 2)), pixels=mask[:height, :width].sum(), pairs=counted[:height, :width].sum()
        )

    def __add__(self, other: "SampleSums") -> "SampleSums":
        return SampleSums(
            values=self.values + other.values, pixels=self.pixels + other.pixels, pairs=self.pairs + other.pairs
        )


@final
@dataclass(frozen=True, kw_only=True)
class MeanReference:
    """Minimise the error of the mean over each sample, and keep the map smooth and inside its range.

    All terms are in squared percent of the range of a quantity, or in its squared unit where there is no range. They
    are means over samples and over quantities; a quantity without a reference does not enter the error of that sample.
    """

    targets: ClassVar[tuple[str, ...]] = ("references",)
    uneven: ClassVar[bool] = True

    task: Task
    """The task that is predicted."""
    form: str = "default"
    """``default``: S is the sum over pairs of neighbours of which both belong to the sample, divided by the number of
    its pixels, and O the mean over its pixels. ``paper``: S takes the pixels of a mask without the last row and column
    of the map, with neighbours that may lie outside of the mask, and O is a sum."""
    error: float = 1.0
    """The weight of the squared error of the mean."""
    smoothness: float = 20.0
    """The weight of S."""
    excess: float | None = None
    """The weight of O. None: 1e-3 for the sum of ``paper``; 100 for the mean of ``default``, which is the same for a
    sample of 100,000 pixels."""
    decay: float = 1e-3
    """The weight of R."""

    def __post_init__(self) -> None:
        weights = {"error": self.error, "smoothness": self.smoothness, "excess": self.excess or 0, "decay": self.decay}
        for name, value in weights.items():
            if not 0 <= value < float("inf"):
                raise UserError(f"objective.{name}", found=value, expected="0 or more", do="Change that value.")
        if self.form not in FORMS:
            raise UserError(
                "objective.form", found=repr(self.form), expected=" or ".join(FORMS), do="Name one of them."
            )

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return no nets, because the generator is trained alone."""
        del channels
        return {}

    def moves(self, players: Mapping[str, Player], batch: SampleBatch) -> Iterator[Move]:
        """Yield the generator's move: one term for each tile of each sample, and one for the weights."""
        generator, logs = players["generator"], dict[str, Tensor]()

        def terms() -> Iterator[Tensor]:
            for sample in batch.samples:
                for parts in self.tile_losses(generator.net, batch, sample):
                    for name, part in parts.items():
                        logs[name] = logs.get(name, part.new_zeros(())) + part.detach() / len(batch.samples)
                    yield sum(parts.values(), torch.zeros(())) / len(batch.samples)
            logs["decay"] = self.decay * squares(generator.module)
            yield logs["decay"]

        yield Move(player="generator", terms=terms(), logs=logs)

    def tile_losses(self, net: nn.Module, batch: SampleBatch, sample: TiledSample) -> Iterator[dict[str, Tensor]]:
        """Yield the weighted terms of each tile, whose sums are the terms of the sample and have its gradient."""
        sums = sample_sums(net, self.task, batch.tiles(sample), self.form) if sample.count > 1 else None
        references = torch.tensor(sample.references, dtype=torch.float64, device=batch.device)
        for index, tile in enumerate(batch.tiles(sample)):
            values = predicted(net, self.task, tile)
            own = SampleSums.of(values, tile, self.form)
            total = own if sums is None else sums
            yield self._terms(values, tile, own, total, references, first=index == 0)

    def _terms(
        self, values: Map, tile: MapTile, own: SampleSums, total: SampleSums, references: Tensor, *, first: bool
    ) -> dict[str, Tensor]:
        """Return a tile's part of each term; the squared error counts at the first tile, its gradient at each."""
        smooth, excess = FORMS[self.form]
        limits, unit = self._limits(values)
        size = total.pixels.clamp(min=1)
        known = torch.isfinite(references)
        mean = (total.values.detach() + own.values - own.values.detach()) / size
        missed = ((torch.where(known, references, 0) - mean) * unit).square() * known
        error = missed.sum() / known.sum().clamp(min=1)
        roughness = smooth(values, tile) / total.pairs.clamp(min=1)
        over = outside(values, tile, limits)
        weight = self.excess if self.excess is not None else PUBLISHED * (1 if excess == "sum" else PIXELS)
        terms = {
            "error": self.error * (error if first else error - error.detach()),
            "smoothness": self.smoothness * (roughness * unit.square()).mean(),
            "excess": weight * (over * unit.square()).mean() / (1 if excess == "sum" else size),
        }
        return {name: term.to(values.dtype) for name, term in terms.items()}

    def _limits(self, values: Map) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the ends of the range of each quantity, infinite for none, and the factor to percent of the range."""
        pairs = getattr(self.task, "limits", ((None, None),) * len(values))
        low = values.new_tensor([-torch.inf if low is None else low for low, _ in pairs])
        high = values.new_tensor([torch.inf if high is None else high for _, high in pairs])
        return (low, high), torch.where(torch.isfinite(high - low), 100 / (high - low), 1.0).double()


def predicted(net: nn.Module, task: Task, tile: MapTile) -> Map:
    """Return the map of a tile in the units of the references, at least in single precision."""
    raw = net(task.inputs(tile.x))
    return task.activate(tile.within(raw if raw.dtype == torch.float64 else raw.float()).unsqueeze(0))[0]


@torch.no_grad()
def sample_sums(net: nn.Module, task: Task, tiles: Iterable[MapTile], form: str = "default") -> SampleSums:
    """Return the sums over all tiles of a sample, without a graph, added in the order of the tiles."""
    return reduce(add, (SampleSums.of(predicted(net, task, tile), tile, form) for tile in tiles))


def squares(net: nn.Module) -> Float[Tensor, ""]:
    """Return the sum of the squares of all weights but biases and the gains of norms, which have one axis."""
    weights = [weight.square().sum() for weight in net.parameters() if weight.ndim > 1]
    return torch.stack(weights).sum() if weights else torch.zeros((), requires_grad=True)


def outside(values: Map, tile: MapTile, limits: tuple[Tensor, Tensor]) -> Float[Tensor, " quantity"]:
    """Return the sum of the squared excess over the range of a tile's own pixels in the mask."""
    height, width = tile.own
    (low, high), own = (limit[:, None, None] for limit in limits), values[:, :height, :width]
    beyond = (low - own).clamp(min=0).square() + (own - high).clamp(min=0).square()
    return (beyond * tile.mask[:height, :width]).double().sum(dim=(1, 2))


def inner_pairs(values: Map, tile: MapTile) -> Float[Tensor, " quantity"]:
    """Return the sum of squared differences of neighbours of which both belong to the sample."""
    (height, width), mask = tile.own, tile.mask
    rows, columns = values[:, :, :width], values[:, :height]
    down = (rows[:, 1:] - rows[:, :-1]).square() * (mask[1:, :width] & mask[:-1, :width])
    right = (columns[:, :, 1:] - columns[:, :, :-1]).square() * (mask[:height, 1:] & mask[:height, :-1])
    return down.double().sum(dim=(1, 2)) + right.double().sum(dim=(1, 2))


def leaking_pairs(values: Map, tile: MapTile) -> Float[Tensor, " quantity"]:
    """Return the sum over the mask, without the last row and column, of squared differences to both next neighbours."""
    here = values[:, :-1, :-1]
    squared = (values[:, 1:, :-1] - here).square() + (values[:, :-1, 1:] - here).square()
    return (squared * tile.mask[:-1, :-1]).double().sum(dim=(1, 2))


FORMS = {"default": (inner_pairs, "mean"), "paper": (leaking_pairs, "sum")}
"""The sum of S, and what O is over the pixels of a mask, by form."""
