"""DenseNet (Huang, Liu, van der Maaten and Weinberger 2017) as a classifier of every pixel.

Each layer reads what all layers of its block before it made. As in `tilespec.models.nets.resnet`, bands are halved and
pixels are not: along the pixels dilations stand in the place of strides, with the published weights.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import one_of, within
from tilespec.models.nets.convolutions import ACTIVATIONS, along, evaluate, lengthened, limits
from tilespec.models.nets.norms import PIXELWISE, norm
from tilespec.models.nets.resnet import PixelClassifier, SpreadMaximum, spread
from tilespec.models.nets.unet import EXACT_HALO, HEADS

DEPTHS: Final[dict[int, tuple[int, tuple[int, ...]]]] = {
    121: (32, (6, 12, 24, 16)),
    161: (48, (6, 12, 36, 24)),
    169: (32, (6, 12, 32, 32)),
    201: (32, (6, 12, 48, 32)),
}
"""For each published depth, how many features a layer adds, and how many layers each block has."""
SQUEEZED = 4
"""The number of features between the two convolutions of a layer, relative to those that it adds."""

Features = Float[Tensor, "batch feature *position"]
Smaller = Float[Tensor, "batch feature2 *position2"]


@final
class Densenet(nn.Module):
    """Dense blocks in up to four stages: ``Densenet(3, 1000)`` has the published 7,978,856 parameters of DenseNet-121.

    Args:
        channels_in: The number of bands, at least 2 in 1 or 3 dimensions.
        channels_out: The number of classes or values.
        dimensions: 1: convolutions along the bands of each pixel by itself; 2: along the pixels; 3: along both.
        depth: The number of layers as published: 121, 161, 169 or 201.
        stages: The number of blocks, 4 as published; fewer see less and cost less.
        growth: The number of features that each layer adds, half of those of the first convolution; None: as published.
        norm: The norm before each activation; see `tilespec.models.nets.norms`.
        activation: ``relu``, ``leaky_relu``, ``silu``, or ``prelu`` with a slope of its own for each layer.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        dimensions: int = 2,
        depth: int = 121,
        stages: int = 4,
        growth: int | None = None,
        norm: str = "batch",
        activation: str = "relu",
        head: str = "logits",
    ) -> None:
        super().__init__()
        within(
            limits(channels_in, channels_out, dimensions, activation)
            | {
                "net.depth": (depth, depth in DEPTHS, f"one of {', '.join(map(str, DEPTHS))}"),
                "net.stages": (stages, 1 <= stages <= 4, "1 to 4"),
                "net.growth": (growth, growth is None or growth >= 1, "at least 1"),
                "net.head": one_of(head, HEADS),
            }
        )
        published, counts = DEPTHS[depth][0], DEPTHS[depth][1][:stages]
        added = published if growth is None else growth
        width, before = 2 * added, partial(_activated, dimensions, norm, activation)
        blocks = list(_blocks(dimensions, before, width, added, counts))
        for count in counts[:-1]:
            width = (width + count * added) // 2
        self.body = nn.Sequential(
            spread(dimensions, channels_in if dimensions == 2 else 1, 2 * added, 7, stride=2),
            *before(2 * added),
            SpreadMaximum(dimensions),
            *blocks,
            *before(width + counts[-1] * added),
            PixelClassifier(dimensions, width + counts[-1] * added, channels_out),
        )
        self.head = HEADS[head]()
        self.dimensions = dimensions
        self.tile_class = tile_class(dimensions, counts, by_pixel=norm in PIXELWISE)
        self.frozen_class = tile_class(dimensions, counts, by_pixel=dimensions == 2 or norm in PIXELWISE)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the values of the class of every pixel."""
        y: Tensor = self.head(evaluate(self.body, x, self.dimensions))
        return y


@final
class DenseLayer(nn.Module):
    """Layers whose output joins their input as further features."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Features) -> Float[Tensor, "batch feature2 *position"]:
        """Return the input and the features that the layers add."""
        return torch.cat([x, self.inner(x)], dim=1)


@final
class SpreadMean(nn.Module):
    """The mean of 2 positions along each axis: of pairs of bands, and of pixels that lie ``dilation`` apart.

    The last band of an odd number stands for its pair, and the last pixel for those beyond the edge.
    """

    def __init__(self, dimensions: int, dilation: int) -> None:
        super().__init__()
        self.banded, self.far = dimensions != 2, dilation if dimensions > 1 else 0
        self.ends = [end for each in reversed(along(dimensions, 0, dilation)) for end in (0, each)]

    def forward(self, x: Features) -> Smaller:
        """Return features, with half as many bands."""
        if self.banded:
            x = lengthened(x, 2)
            x = (x[:, :, ::2] + x[:, :, 1::2]) / 2
        if self.far:
            x = functional.pad(x, self.ends, mode="replicate")
            x = (x[..., self.far :, :] + x[..., : -self.far, :]) / 2
            x = (x[..., self.far :] + x[..., : -self.far]) / 2
        return x


def _activated(dimensions: int, name: str, activation: str, width: int) -> list[nn.Module]:
    """Return a norm and an activation of its own."""
    return [norm(name, width, dimensions=dimensions), ACTIVATIONS[activation]()]


def _blocks(
    dimensions: int, before: Callable[[int], list[nn.Module]], width: int, added: int, counts: tuple[int, ...]
) -> Iterator[nn.Module]:
    """Yield the layers of all blocks; a mean between two blocks halves features and bands, and doubles the dilation."""
    for stage, count in enumerate(counts):
        dilation = 4 * 2**stage
        if stage:
            yield nn.Sequential(*before(width), spread(dimensions, width, width // 2, 1))
            yield SpreadMean(dimensions, dilation // 2)
            width //= 2
        for _ in range(count):
            inner = SQUEEZED * added
            yield DenseLayer(
                *before(width),
                spread(dimensions, width, inner, 1),
                *before(inner),
                spread(dimensions, inner, added, 3, dilation=dilation),
            )
            width += added


def tile_class(dimensions: int, counts: tuple[int, ...], *, by_pixel: bool) -> TileClass:
    """Return the relation between tiles and the scene; beyond `EXACT_HALO` a halo costs more than the tile itself.

    The first convolution reads 3 pixels on each side, the maximum 2, each layer as many as its dilation, and each mean
    between blocks the dilation before it.
    """
    if dimensions == 1:
        return TileClass(kind="pixelwise")
    halo = 5 + sum(count * 4 * 2**stage + (2 * 2**stage if stage else 0) for stage, count in enumerate(counts))
    exact = by_pixel and halo <= EXACT_HALO
    return TileClass(kind="exact", halo=halo) if exact else TileClass(kind="approximate")
