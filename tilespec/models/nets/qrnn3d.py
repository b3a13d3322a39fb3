"""QRNN3D (Wei, Fu and Huang 2020): a denoiser of images of many bands, whose memory runs from band to band.

Convolutions over bands and pixels propose features and say how much of the band before is kept; what is kept is a
weighted mean along the bands, which any number of bands can have. Unlike the published net, maps are doubled by
repetition and not trilinearly, so that tiles equal the scene.
"""

from functools import partial
from itertools import pairwise
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import DEEPEST, multiples, one_of, within
from tilespec.models.nets.norms import PIXELWISE, norm
from tilespec.models.nets.unet import EXACT_HALO, HEADS

DIRECTIONS: Final = {"both": (False, True), "up": (False,), "down": (True,)}
"""The directions in which memory runs along the bands: whether backwards, for each run of a layer."""

Volume = Float[Tensor, "batch feature band y x"]


@final
class Qrnn3d(nn.Module):
    """The image and what a U of quasi-recurrent layers adds to each of its values.

    Each level has a layer, and one that halves the pixels; on the way up, each is added to its counterpart. The memory
    of neighbouring layers runs in opposite directions, that of the first and of the last in both.

    Args:
        channels_in: The number of bands.
        channels_out: The same number.
        levels: The number of halvings, 2 as published. Sides of images must be multiples of ``2 ** levels``.
        base_width: The number of features of the first level, which doubles with each level; 16 as published.
        norm: The norm behind each convolution; see `tilespec.models.nets.norms`.
        head: The last layer: ``linear`` values, ``logits``, ``tanh``, or ``bounded``.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        levels: int = 2,
        base_width: int = 16,
        norm: str = "batch",
        head: str = "linear",
    ) -> None:
        super().__init__()
        within(
            {
                "net.channels": (channels_out, channels_in == channels_out, f"{channels_in}, as many as bands"),
                "net.levels": (levels, 1 <= levels <= DEEPEST, f"1 to {DEEPEST} halvings"),
                "net.base_width": (base_width, base_width >= 1, "at least 1"),
                "net.head": one_of(head, HEADS),
            }
        )
        widths, make = [base_width * 2**level for level in range(levels + 1)], partial(QuasiRecurrent, name=norm)
        self.first = make(1, base_width, "both")
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for a, b in pairwise(widths):
            self.downs.extend([make(a, a, "up"), make(a, b, "down", stride=2)])
            self.ups.extend([make(a, a, "down"), make(b, a, "up", double=True)])
        self.downs.append(make(widths[-1], widths[-1], "up"))
        self.ups.append(make(widths[-1], widths[-1], "down"))
        self.last = make(base_width, 1, "both")
        self.head = HEADS[head]()
        self.align = 2**levels
        self.tile_class = self.frozen_class = tile_class(levels, by_pixel=norm in PIXELWISE)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch band y x"]:
        """Return an image of the same bands.

        Raises:
            UserError: a side is no multiple of ``2 ** levels`` (`tilespec predict` pads instead).
        """
        do = "Pad the input, or build the net with fewer levels."
        multiples("QRNN3D input", x, self.align, why="2 ** levels", do=do)
        features = self.first(x.unsqueeze(1))
        lefts = list[Tensor]()
        for down in self.downs:
            lefts.append(features)
            features = down(features)
        for up in reversed(self.ups):
            features = up(features) + lefts.pop()
        y: Tensor = self.head(x + self.last(features).squeeze(1))
        return y


@final
class QuasiRecurrent(nn.Module):
    """A convolution for what each band proposes and for what it forgets, then the memory that runs along the bands.

    Of the band before, ``h``, and the proposal ``z`` remains ``f h + (1 - f) z`` (equation 3; Bradbury et al. 2017),
    with a forget gate ``f`` of its own for each direction; the memories of both directions are added.
    """

    def __init__(self, a: int, b: int, directions: str, *, name: str, stride: int = 1, double: bool = False) -> None:
        super().__init__()
        self.backwards, self.doubles = DIRECTIONS[directions], double
        gates = (1 + len(self.backwards)) * b
        self.convolve = nn.Sequential(
            nn.Conv3d(a, gates, 3, stride=(1, stride, stride), padding=1, bias=False), norm(name, gates, dimensions=3)
        )

    def forward(self, x: Volume) -> Float[Tensor, "batch feature2 band y2 x2"]:
        """Return features of the same bands."""
        if self.doubles:
            x = functional.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
        z, *forget = self.convolve(x).chunk(1 + len(self.backwards), dim=1)
        z = z.tanh()
        runs = [remembered(z, f.sigmoid(), backwards=back) for f, back in zip(forget, self.backwards, strict=True)]
        return runs[0] + runs[1] if len(runs) > 1 else runs[0]


def remembered(z: Volume, forget: Volume, *, backwards: bool) -> Volume:
    """Return the memory at each band, from 0 before the first one; ``backwards`` it runs from the last band."""
    bands = list(zip(((1 - forget) * z).unbind(dim=2), forget.unbind(dim=2), strict=True))
    order = -1 if backwards else 1
    memory, memories = torch.zeros_like(z[:, :, 0]), list[Tensor]()
    for new, kept in bands[::order]:
        memory = torch.addcmul(new, kept, memory)
        memories.append(memory)
    return torch.stack(memories[::order], dim=2)


def tile_class(levels: int, *, by_pixel: bool) -> TileClass:
    """Return the relation between tiles and the scene; beyond `EXACT_HALO` a halo costs more than the tile itself.

    Each layer reads one pixel of its level on each side. A level has the first or last layer, or the doubling one, and
    a layer of its own, on the way up; on the way down the halving one reads another pixel. 2 levels have a halo of 24.
    """
    align, cells = 2**levels, 1
    for _ in range(levels):
        cells = -(-(cells + 2) // 2)
    cells += 2
    for level in range(levels):
        cells = 2 * cells + 2 + (level == levels - 1)
    halo = -(-cells // align) * align
    exact = by_pixel and halo <= EXACT_HALO
    return TileClass(kind="exact", halo=halo, align=align) if exact else TileClass(kind="approximate", align=align)
