"""EfficientNet (Tan and Le 2019) as a classifier of every pixel of images.

As in `tilespec.models.nets.resnet`, dilations stand in the place of strides, with the published weights. The published
blocks weigh features by means over the image, which in a scene would depend on how it is cut: here each pixel weighs
its features by its own, unless ``squeeze="tile"`` says so.
"""

from collections.abc import Iterator
from math import ceil
from typing import Final, final

from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import one_of, within
from tilespec.models.nets.convolutions import ACTIVATIONS
from tilespec.models.nets.norms import PIXELWISE, SeededDropout, norm
from tilespec.models.nets.resnet import PixelClassifier
from tilespec.models.nets.unet import EXACT_HALO, HEADS

VARIANTS: Final = (
    (1.0, 1.0),
    (1.0, 1.1),
    (1.1, 1.2),
    (1.2, 1.4),
    (1.4, 1.8),
    (1.6, 2.2),
    (1.8, 2.6),
    (2.0, 3.1),
    (2.2, 3.6),
)
"""The factors of widths and of numbers of blocks, of b0 to b8."""
STAGES: Final = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""For each stage of b0 the factor by which blocks widen, filter size, stride, features, and the number of blocks."""
FIRST = 32
"""The number of features of the first convolution of b0."""
LAST = 4
"""The number of features before the classifier, relative to those of the last stage."""
REDUCTION = 4
"""The number by which attention divides the number of features of the block's input in its middle."""
SQUEEZES: Final = ("pixel", "tile")
"""What attention reads: the features of each pixel, or their means over the tile, as published for whole images."""

Planes = Float[Tensor, "batch feature y x"]


@final
class EfficientNet(nn.Module):
    """Widening blocks with attention: ``EfficientNet(3, 1000)`` has the published 5,288,548 parameters of b0.

    Blocks are never skipped while training, as those published are at random (stochastic depth).

    Args:
        channels_in: The number of bands.
        channels_out: The number of classes or values.
        variant: The published variant, 0 to 8 for b0 to b8: its widths and its numbers of blocks.
        stages: The number of stages, 7 as published; fewer see less and cost less.
        base_width: The number of features of the first convolution, to which all other widths are proportional and
            rounded to multiples of 8; None: as published, 32 in b0.
        squeeze: What attention reads: ``pixel``, the features of each pixel by itself; or ``tile``, their means over
            the tile, as published for whole images.
        norm: The norm behind each convolution; see `tilespec.models.nets.norms`.
        activation: ``silu`` as published, ``relu``, ``leaky_relu``, or ``prelu`` with a slope of its own for each
            layer.
        dropout: The share dropped before the classifier while training; 0.5 in b6 and beyond.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        variant: int = 0,
        stages: int = 7,
        base_width: int | None = None,
        squeeze: str = "pixel",
        norm: str = "batch",
        activation: str = "silu",
        dropout: float = 0.2,
        head: str = "logits",
    ) -> None:
        super().__init__()
        within(
            {
                "net.variant": (variant, 0 <= variant < len(VARIANTS), f"0 to {len(VARIANTS) - 1}, for b0 to b8"),
                "net.stages": (stages, 1 <= stages <= len(STAGES), f"1 to {len(STAGES)}"),
                "net.base_width": (base_width, base_width is None or base_width >= 1, "at least 1"),
                "net.squeeze": one_of(squeeze, SQUEEZES),
                "net.activation": one_of(activation, ACTIVATIONS),
                "net.dropout": (dropout, 0 <= dropout < 1, "a share below 1"),
                "net.head": one_of(head, HEADS),
            }
        )
        factor, deeper = VARIANTS[variant]
        factor = factor if base_width is None else base_width / FIRST
        counts = tuple(ceil(count * deeper) for *_, count in STAGES[:stages])
        convolve = Convolutions(norm, activation)
        width = eights(FIRST * factor)
        deepest = eights(STAGES[stages - 1][3] * factor)
        self.body = nn.Sequential(
            *convolve(channels_in, width, 3),
            *_blocks(convolve, width, factor, counts, squeeze),
            *convolve(deepest, LAST * deepest, 1),
            SeededDropout(dropout, 0),
            PixelClassifier(2, LAST * deepest, channels_out),
        )
        self.head = HEADS[head]()
        self.tile_class = tile_class(counts, exact=squeeze == "pixel" and norm in PIXELWISE)
        self.frozen_class = tile_class(counts, exact=squeeze == "pixel")

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the values of the class of every pixel."""
        y: Tensor = self.head(self.body(x))
        return y


@final
class Convolutions:
    """Convolutions without offset that keep the size, each with a norm and an activation of its own behind it."""

    def __init__(self, norm: str, activation: str) -> None:
        self.norm, self.activation = norm, activation

    def __call__(self, a: int, b: int, size: int, *, dilation: int = 1, groups: int = 1) -> list[nn.Module]:
        """Return a convolution, a norm and an activation."""
        ends = size // 2 * dilation
        conv = nn.Conv2d(a, b, size, padding=ends, dilation=dilation, groups=groups, bias=False)
        return [conv, norm(self.norm, b), self.activate()]

    def activate(self) -> nn.Module:
        """Return an activation."""
        return ACTIVATIONS[self.activation]()


@final
class Attention(nn.Module):
    """A weight between 0 and 1 for each feature, from all features of a pixel or their means over the tile."""

    def __init__(self, width: int, squeezed: int, *, activation: nn.Module, squeeze: str) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(width, squeezed, 1), activation, nn.Conv2d(squeezed, width, 1))
        self.whole = squeeze == "tile"

    def forward(self, x: Planes) -> Planes:
        """Return weighted features."""
        y: Tensor = x * self.weigh(x.mean(dim=(2, 3), keepdim=True) if self.whole else x).sigmoid()
        return y


@final
class WideningBlock(nn.Module):
    """Layers whose input is added to their output if both have as many features, and the block has no stride."""

    def __init__(self, *inner: nn.Module, added: bool) -> None:
        super().__init__()
        self.inner, self.added = nn.Sequential(*inner), added

    def forward(self, x: Planes) -> Float[Tensor, "batch feature2 *plane"]:
        """Return features of every pixel."""
        y: Tensor = self.inner(x)
        return x + y if self.added else y


def _blocks(
    convolve: Convolutions, width: int, factor: float, counts: tuple[int, ...], squeeze: str
) -> Iterator[nn.Module]:
    """Yield the blocks of all stages: they widen, filter each feature by itself, weigh, and narrow without activation.

    The first block behind a stride has the dilation before it, all others that behind it.
    """
    dilation = 2
    for (wider, size, stride, published, _), count in zip(STAGES, counts, strict=False):
        width_out = eights(published * factor)
        for number in range(count):
            inner = width * wider
            yield WideningBlock(
                *(convolve(width, inner, 1) if wider > 1 else []),
                *convolve(inner, inner, size, dilation=dilation, groups=inner),
                Attention(inner, max(1, width // REDUCTION), activation=convolve.activate(), squeeze=squeeze),
                *convolve(inner, width_out, 1)[:-1],
                added=width == width_out and (number > 0 or stride == 1),
            )
            width, dilation = width_out, dilation * (1 if number else stride)


def eights(width: float) -> int:
    """Return the multiple of 8 that is nearest to a width, and not less than nine tenths of it, as published."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * width else nearest + 8


def tile_class(counts: tuple[int, ...], *, exact: bool) -> TileClass:
    """Return the relation between tiles and the scene; beyond `EXACT_HALO` a halo costs more than the tile itself.

    The first convolution reads 1 pixel on each side, and each filter half its size times its dilation.
    """
    halo, dilation = 1, 2
    for (_, size, stride, _, _), count in zip(STAGES, counts, strict=False):
        halo += size // 2 * dilation * (1 + stride * (count - 1))
        dilation *= stride
    return TileClass(kind="exact", halo=halo) if exact and halo <= EXACT_HALO else TileClass(kind="approximate")
