"""The net of Engstrom et al.: a convolution over bands and pixels, then a U-Net without padding, at half the size."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.models.nets.checks import DEEPEST, one_of, within
from tilespec.models.nets.norms import PIXELWISE, norm
from tilespec.models.nets.unet import HEADS

BANDS, SIDE = 7, 2
"""The extent of the first filter: bands, and pixels along each side, which is its stride too."""
LOST = 4
"""The number of pixels that two valid convolutions remove from each axis."""
RANGES = ("linear", "bounded")
"""The heads of values."""


@final
class SpectralFilter(nn.Module):
    """One filter that moves along the bands by 1 and along the pixels by its side: a `Conv3d` of a single channel.

    The weights have 4 axes, without those of channels, since torch orders only such in memory by channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, BANDS, SIDE, SIDE))
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch band2 y2 x2"]:
        """Return 6 bands fewer, of half the size."""
        filtered = functional.conv3d(x.unsqueeze(1), self.weight.unsqueeze(1), self.bias, stride=(1, SIDE, SIDE))
        return filtered.squeeze(1)


@final
class SpectralUnet(nn.Module):
    """A U-Net of valid convolutions behind one filter of 7 bands x 2 x 2 pixels, which learns the preprocessing.

    ``SpectralUnet(62, 1)`` is the published net, 28,973,342 parameters: an image of 2360 x 1272 pixels becomes a map of
    996 x 452, one pixel for 2 x 2, without the outer 184 pixels, on which a valid convolution has no answer.

    Args:
        channels_in: The number of bands, at least 7.
        channels_out: The number of quantities.
        base_width: The number of channels of the first level, which doubles with each level.
        depth: The number of levels, one more than there are halvings behind the filter.
        align_corners: Whether the bilinear doubling aligns the corners of the maps, as published. Then its sampling
            positions depend on the size of the map, so that no tile equals the scene.
        norm: The norm behind each ReLU: ``none`` as published, ``batch`` or ``channel``.
        head: The last layer: ``linear`` values as published, or ``bounded``: between 0 and 1, the limits of the task.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        base_width: int = 64,
        depth: int = 5,
        align_corners: bool = False,
        norm: str = "none",
        head: str = "linear",
    ) -> None:
        super().__init__()
        _check(channels_in, base_width, depth, norm, head)
        widths = [base_width * 2**level for level in range(depth)]
        self.spectral = SpectralFilter()
        ins = [channels_in - BANDS + 1, *widths[:-1]]
        self.downs = nn.ModuleList(_block(a, b, norm) for a, b in zip(ins, widths, strict=True))
        self.ups = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for width in reversed(widths[:-1]))
        self.merges = nn.ModuleList(_block(2 * width, width, norm) for width in reversed(widths[:-1]))
        self.out = nn.Conv2d(widths[0], channels_out, 1)
        self.head = HEADS[head]()
        self.align_corners = align_corners
        self.tile_class = tile_class(depth, align_corners=align_corners)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y2 x2"]:
        """Return ``batch, channel, y, x`` values, a map of half the size without the margin.

        Raises:
            UserError: a side is none that the net halves and doubles exactly (`tilespec predict` reads more instead).
        """
        _check_sides(x, self.tile_class)
        x = self.spectral(x)
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        x = skips.pop()
        for up, merge in zip(self.ups, self.merges, strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.align_corners)
            x = torch.relu(up(x))
            x = merge(torch.cat([_centre(skips.pop(), x), x], dim=1))
        y: Tensor = self.head(self.out(x))
        return y


def tile_class(depth: int, *, align_corners: bool) -> TileClass:
    """Return the relation between tiles and the scene.

    A level loses 4 pixels of its own before a halving, and 4 after a doubling. Where a map has no neighbour, a doubling
    repeats its outermost pixel: a tile reads one pixel more of each level, so that this happens outside of it.
    """
    align = SIDE * 2 ** (depth - 1)
    margin, remainder = 6 * align - 2 * LOST, -SIDE * LOST % align
    if align_corners:
        return TileClass(kind="approximate", align=align, margin=margin, remainder=remainder)
    return TileClass(kind="exact", halo=align - SIDE, align=align, margin=margin, remainder=remainder)


def _block(channels_in: int, channels_out: int, name: str) -> nn.Module:
    """Return two valid convolutions, each with ReLU and norm, in this order."""
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [nn.Conv2d(channels, channels_out, 3), nn.ReLU(inplace=True), norm(name, channels_out)]
    return nn.Sequential(*layers)


def _centre(plane: Tensor, like: Tensor) -> Tensor:
    """Return the centre of a map, of the size of a smaller one."""
    (height, width), (rows, columns) = plane.shape[2:], like.shape[2:]
    top, left = (height - rows) // 2, (width - columns) // 2
    return plane[:, :, top : top + rows, left : left + columns]


def _check_sides(x: Tensor, reach: TileClass) -> None:
    """Refuse an image whose sides are not halved and doubled to whole numbers, or are too small."""
    sides, least = tuple(x.shape[2:]), reach.size(2 * (reach.margin or 0) + 1)
    if any(side < least or reach.size(side) != side for side in sides):
        nearest = [sorted({reach.size(max(side, least)), max(least, reach.size(side) - reach.align)}) for side in sides]
        choices = " x ".join("(" + " or ".join(map(str, each)) + ")" for each in nearest)
        raise UserError(
            "spectral U-Net input",
            found=f"{sides[0]} x {sides[1]} pixels",
            expected=f"sides of {reach.remainder} more than a multiple of {reach.align}, at least {least}: {choices}",
            do="Pad or crop the image; `tilespec predict` reads tiles of such sizes by itself.",
        )


def _check(channels_in: int, base_width: int, depth: int, name: str, head: str) -> None:
    """Refuse parameters that define no valid net."""
    within(
        {
            "recipe.steps": (f"{channels_in} channels", channels_in >= BANDS, f"at least {BANDS}, as the filter has"),
            "net.base_width": (base_width, base_width >= 1, "at least 1"),
            "net.depth": (depth, 1 <= depth <= DEEPEST, f"1 to {DEEPEST} levels"),
            "net.norm": one_of(name, PIXELWISE),
            "net.head": one_of(head, RANGES),
        }
    )
