"""U-Net and residual U-Net for spectra, images and volumes, in the widths of spectrai (Horgan and Bergholt 2022).

The blocks are those of Ronneberger, Fischer and Brox (2015), with the residual blocks of Zhang, Liu and Wang (2018).
"""

from collections.abc import Callable
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import DEEPEST, multiples, one_of, within
from tilespec.models.nets.convolutions import POOLS, double, ending, evaluate, layer, lengthened, limits
from tilespec.models.nets.norms import PIXELWISE
from tilespec.models.nets.unet import HEADS

WIDTH = 64
"""The channels of the first level of nets of spectra and volumes, and of images with few channels."""
FEW = 3
"""The largest number of channels of an image whose first level has `WIDTH` channels and not as many as itself."""


@final
class Resunet(nn.Module):
    """A U-Net of 3-wide convolutions with ``levels`` poolings; ``residual`` adds two convolutions to each block.

    ``Resunet(bands, bands, dimensions=1, answer="bands")`` denoises spectra. A number of bands that does not halve is
    lengthened by the last band inside of the net.

    Args:
        channels_in: The number of bands, at least 2 in 1 or 3 dimensions.
        channels_out: The number of channels of the output.
        dimensions: 1: convolutions along the bands of each pixel by itself; 2: along the pixels; 3: along both.
        residual: Whether each block has two more convolutions, whose input is added to their output.
        base_width: The number of channels of the first level, which doubles with each level but the deepest; None
            means 64, or ``channels_in`` for images of more than 3 channels.
        levels: The number of poolings. Sides of images must be multiples of ``2 ** levels``.
        norm: The norm behind each activation; see `tilespec.models.nets.norms`.
        activation: ``relu``, ``leaky_relu``, ``silu``, or ``prelu`` with a slope of its own for each layer.
        answer: In 1 and 3 dimensions ``channels``, of all bands; or ``bands``, one value for each band.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        dimensions: int = 2,
        residual: bool = True,
        base_width: int | None = None,
        levels: int = 3,
        norm: str = "batch",
        activation: str = "relu",
        answer: str = "channels",
        head: str = "logits",
    ) -> None:
        super().__init__()
        few = dimensions != 2 or channels_in <= FEW
        width = (WIDTH if few else channels_in) if base_width is None else base_width
        within(
            limits(channels_in, channels_out, dimensions, activation, answer)
            | {
                "net.base_width": (width, width >= 1, "at least 1"),
                "net.levels": (levels, 1 <= levels <= DEEPEST, f"1 to {DEEPEST} poolings"),
                "net.head": one_of(head, HEADS),
            }
        )
        block = partial(
            UnetBlock, layers=partial(layer, dimensions, name=norm, activation=activation), residual=residual
        )
        body = Levels(
            dimensions, channels_in if dimensions == 2 else 1, [width * 2**level for level in range(levels)], block
        )
        self.body = nn.Sequential(body, ending(dimensions, width, channels_in, channels_out, answer, activation))
        self.head = HEADS[head]()
        self.dimensions, self.align = dimensions, 1 if dimensions == 1 else 2**levels
        self.tile_class = tile_class(dimensions, levels, norm, residual=residual)
        self.frozen_class = tile_class(dimensions, levels, "batch" if dimensions == 2 else norm, residual=residual)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return ``batch, channel, y, x`` values.

        Raises:
            UserError: a side is no multiple of ``2 ** levels`` (`tilespec predict` pads instead).
        """
        do = "Pad the input, or build the net with fewer levels."
        multiples("U-Net input", x, self.align, why="2 ** levels", do=do)
        y: Tensor = self.head(evaluate(self.body, x, self.dimensions))
        return y


@final
class Levels(nn.Module):
    """The U: a block at each level on the way down and on the way up, whose input has what the way down left there."""

    def __init__(
        self, dimensions: int, channels_in: int, widths: list[int], block: Callable[[int, int, int], nn.Module]
    ) -> None:
        super().__init__()
        ins, ends = [channels_in, *widths], [*widths, widths[-1]]
        self.downs = nn.ModuleList(block(a, b, b) for a, b in zip(ins, ends, strict=True))
        above = [widths[0], *widths[:-1]]
        self.ups = nn.ModuleList(block(2 * a, a, b) for a, b in zip(widths[::-1], above[::-1], strict=True))
        self.pool = POOLS[dimensions](2)
        self.multiple = 1 if dimensions == 2 else 2 ** len(widths)

    def forward(self, x: Float[Tensor, "batch feature *position"]) -> Float[Tensor, "batch width *position"]:
        """Return features of the first level, at every position of the input."""
        bands = x.shape[2]
        x, skips = lengthened(x, self.multiple), list[Tensor]()
        for down in self.downs:
            x = down(self.pool(x) if skips else x)
            skips.append(x)
        x = skips.pop()
        for up in self.ups:
            x = up(torch.cat([skips.pop(), double(x)], dim=1))
        return x[:, :, :bands]


@final
class UnetBlock(nn.Module):
    """Two layers, and between them two further ones whose input is added to their output if ``residual``."""

    def __init__(
        self, channels_in: int, middle: int, channels_out: int, *, layers: Callable[..., nn.Module], residual: bool
    ) -> None:
        super().__init__()
        self.first = layers(channels_in, middle)
        self.inner = nn.Sequential(layers(middle, middle), layers(middle, middle)) if residual else None
        self.last = layers(middle, channels_out)

    def forward(self, x: Float[Tensor, "batch feature *position"]) -> Float[Tensor, "batch feature2 *position"]:
        """Return features at the same positions."""
        x = self.first(x)
        y: Tensor = self.last(x if self.inner is None else x + self.inner(x))
        return y


def tile_class(dimensions: int, levels: int, norm: str, *, residual: bool) -> TileClass:
    """Return the relation between tiles and the scene, with the halo rounded up to the alignment.

    Beyond the edge of an aligned tile, a block reads as many cells of its level as it has layers, and bilinear doubling
    reads one more cell of the level below. With 3 poolings a plain net has a halo of 56 pixels, a residual one of 104.
    """
    if dimensions == 1:
        return TileClass(kind="pixelwise")
    align = 2**levels
    if norm not in PIXELWISE:
        return TileClass(kind="approximate", align=align)
    block, cells = 4 if residual else 2, 0 if dimensions == 2 else 1
    for _ in range(levels):
        cells = (cells + block) // 2 + 1 if dimensions == 2 else (cells + block + 1) // 2
    reach = (cells + block) * align + block * (align - 1)
    return TileClass(kind="exact", halo=-(-reach // align) * align, align=align)
