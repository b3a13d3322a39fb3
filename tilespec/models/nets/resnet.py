"""ResNet (He, Zhang, Ren and Sun 2016) as a classifier of every pixel of spectra, images and volumes.

A ResNet answers once for an image, whose sides it halves five times. In a scene every pixel has a class, and a mean
over a tile would depend on how the scene is cut. So only bands are halved, and only over bands there is a mean at the
end. Along the pixels each halving is a doubled dilation instead (Yu, Koltun and Funkhouser 2017): the weights are the
published ones, and each pixel has the answer of its own neighbourhood.
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
from tilespec.models.nets.convolutions import (
    ACTIVATIONS,
    CONVOLUTIONS,
    POOLS,
    SpectralMap,
    along,
    evaluate,
    limits,
)
from tilespec.models.nets.norms import PIXELWISE, norm
from tilespec.models.nets.unet import EXACT_HALO, HEADS

DEPTHS: Final[dict[int, tuple[bool, tuple[int, ...]]]] = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}
"""For each published depth, whether its blocks have a bottleneck, and how many blocks each stage has."""
WIDER = 4
"""The number of channels behind a bottleneck relative to those inside."""

Features = Float[Tensor, "batch feature *position"]
Smaller = Float[Tensor, "batch feature2 *position2"]


@final
class Resnet(nn.Module):
    """Residual blocks in up to four stages: ``Resnet(3, 1000)`` has the published 11,689,512 parameters of ResNet-18.

    Args:
        channels_in: The number of bands, at least 2 in 1 or 3 dimensions.
        channels_out: The number of classes or values.
        dimensions: 1: convolutions along the bands of each pixel by itself; 2: along the pixels; 3: along both.
        depth: The number of layers as published: 18, 34, 50, 101 or 152.
        stages: The number of stages, 4 as published; fewer see less and cost less.
        base_width: The number of features of the first stage, which doubles with each stage.
        norm: The norm behind each convolution; see `tilespec.models.nets.norms`.
        activation: ``relu``, ``leaky_relu``, ``silu``, or ``prelu`` with a slope of its own for each layer.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        dimensions: int = 2,
        depth: int = 18,
        stages: int = 4,
        base_width: int = 64,
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
                "net.base_width": (base_width, base_width >= 1, "at least 1"),
                "net.head": one_of(head, HEADS),
            }
        )
        make = partial(Layers, dimensions, norm, activation)
        bottleneck, counts = DEPTHS[depth][0], DEPTHS[depth][1][:stages]
        stem = make()
        stem.convolve(channels_in if dimensions == 2 else 1, base_width, 7, stride=2).activate()
        width = base_width * 2 ** (stages - 1) * (WIDER if bottleneck else 1)
        self.body = nn.Sequential(
            stem.sequence(),
            SpreadMaximum(dimensions),
            *_blocks(make, base_width, counts, bottleneck=bottleneck),
            PixelClassifier(dimensions, width, channels_out),
        )
        self.head = HEADS[head]()
        self.dimensions = dimensions
        self.tile_class = tile_class(dimensions, counts, bottleneck=bottleneck, by_pixel=norm in PIXELWISE)
        self.frozen_class = tile_class(
            dimensions, counts, bottleneck=bottleneck, by_pixel=dimensions == 2 or norm in PIXELWISE
        )

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the values of the class of every pixel."""
        y: Tensor = self.head(evaluate(self.body, x, self.dimensions))
        return y


@final
class Layers:
    """A list of layers that share their number of dimensions, norm and activation."""

    def __init__(self, dimensions: int, norm: str, activation: str) -> None:
        self.dimensions, self.norm, self.activation = dimensions, norm, activation
        self.layers: list[nn.Module] = []

    def convolve(self, a: int, b: int, size: int, *, stride: int = 1, dilation: int = 1) -> "Layers":
        """Append a convolution, with a stride along bands and a dilation along pixels, and a norm."""
        self.layers.append(spread(self.dimensions, a, b, size, stride=stride, dilation=dilation))
        self.layers.append(norm(self.norm, b, dimensions=self.dimensions))
        return self

    def activate(self) -> "Layers":
        """Append an activation of its own."""
        self.layers.append(ACTIVATIONS[self.activation]())
        return self

    def sequence(self) -> nn.Sequential:
        """Return the layers in sequence."""
        return nn.Sequential(*self.layers)


@final
class SpreadMaximum(nn.Module):
    """The maximum of 3 positions along each axis: of every other band, and of pixels that lie 2 apart."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        spread = along(dimensions, 1, 2)
        self.pool = POOLS[dimensions](3, stride=along(dimensions, 2, 1), dilation=spread)
        self.ends = [end for each in reversed(spread) for end in (each, each)]

    def forward(self, x: Features) -> Smaller:
        """Return features, with half as many bands."""
        y: Tensor = self.pool(functional.pad(x, self.ends, value=-torch.inf))
        return y


@final
class ResidualBlock(nn.Module):
    """Convolutions whose input, of another size through a convolution of one position, is added to their output."""

    def __init__(self, inner: nn.Module, around: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.inner, self.around, self.after = inner, around, after

    def forward(self, x: Features) -> Smaller:
        """Return features, with half as many bands behind a stride."""
        y: Tensor = self.after(self.inner(x) + self.around(x))
        return y


@final
class PixelClassifier(nn.Module):
    """The mean over the bands, if there are any, and a linear map of the features at every pixel."""

    def __init__(self, dimensions: int, width: int, channels_out: int) -> None:
        super().__init__()
        self.planar = dimensions == 2
        self.map = SpectralMap(width, channels_out)

    def forward(self, x: Features) -> Smaller:
        """Return channels in the place of bands, as `convolutions.evaluate` expects."""
        y: Tensor = self.map((x if self.planar else x.mean(dim=2)).unsqueeze(1))
        return y.squeeze(1) if self.planar else y


def _blocks(
    make: Callable[[], Layers], base_width: int, counts: tuple[int, ...], *, bottleneck: bool
) -> Iterator[nn.Module]:
    """Yield the blocks of all stages; the first one of each further stage halves the bands or doubles the dilation."""
    width_in, dilation = base_width, 4
    for stage, count in enumerate(counts):
        width = base_width * 2**stage
        width_out = width * (WIDER if bottleneck else 1)
        for number in range(count):
            stride = 2 if stage and not number else 1
            inner, around = make(), make()
            if bottleneck:
                inner.convolve(width_in, width, 1).activate()
                inner.convolve(width, width, 3, stride=stride, dilation=dilation).activate()
                inner.convolve(width, width_out, 1)
            else:
                inner.convolve(width_in, width, 3, stride=stride, dilation=dilation).activate()
                inner.convolve(width, width, 3, dilation=dilation * stride)
            if stride > 1 or width_in != width_out:
                around.convolve(width_in, width_out, 1, stride=stride)
            yield ResidualBlock(inner.sequence(), around.sequence(), make().activate().sequence())
            width_in, dilation = width_out, dilation * stride


def spread(dimensions: int, a: int, b: int, size: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    """Return a convolution without offset, with a stride along bands and a dilation along pixels."""
    ends, n = size // 2, dimensions
    steps = {"stride": along(n, stride, 1), "dilation": along(n, 1, dilation)}
    make: Callable[..., nn.Module] = StridedConv3d if n == 3 and stride > 1 else CONVOLUTIONS[n]
    return make(a, b, size, padding=along(n, ends, ends * dilation), bias=False, **steps)


@final
class StridedConv3d(nn.Conv3d):
    """A convolution of volumes that adds the zeros beyond the first and the last band itself.

    Where it is left to oneDNN, torch 2.13.0 overwrites memory in the gradient of the weights, if a filter of 7 with a
    stride of 2 reads 5 to 7 bands.
    """

    def forward(self, x: Features) -> Smaller:
        """Return features, with as many bands as strides fit in."""
        assert not isinstance(self.padding, str), "numbers of positions"
        ends, *rest = self.padding
        padded = functional.pad(x, (0, 0, 0, 0, ends, ends))
        return functional.conv3d(padded, self.weight, None, self.stride, (0, *rest), self.dilation)


def tile_class(dimensions: int, counts: tuple[int, ...], *, bottleneck: bool, by_pixel: bool) -> TileClass:
    """Return the relation between tiles and the scene; beyond `EXACT_HALO` a halo costs more than the tile itself.

    The first convolution reads 3 pixels on each side, the pooling 2, and each further one as many as its dilation.
    """
    if dimensions == 1:
        return TileClass(kind="pixelwise")
    halo = 5
    for stage, count in enumerate(counts):
        dilation = 4 * 2**stage
        halo += count * (1 if bottleneck else 2) * dilation - (dilation // 2 if stage else 0)
    exact = by_pixel and halo <= EXACT_HALO
    return TileClass(kind="exact", halo=halo) if exact else TileClass(kind="approximate")
