"""The generator of Alvarez-Gila, van de Weijer and Garrote (ICCV Workshops 2017): branches at powers of two."""

from itertools import pairwise
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import multiples, within
from tilespec.models.nets.norms import SeededDropout, initialise
from tilespec.models.nets.unet import EXACT_HALO, HEADS

SLOPE = 0.2
WIDEST = 8
"""No level is wider than this many times the first."""
MOST = 9
"""Branches of the published net: of 256 x 256 pixels the coarsest has one."""
DOUBLINGS: dict[int, dict[str, Any]] = {
    2: {"kernel_size": 2, "stride": 2},
    3: {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    4: {"kernel_size": 4, "stride": 2, "padding": 1},
}
"""Transposed convolutions that double the sides, by kernel; the paper does not say which it has."""


@final
class Branched(nn.Module):
    """One branch for each resolution, from that of the image to 1/2 ** (n_branches - 1) of it; no norm anywhere.

    Branch 0 is the image itself; each further one is a 3 x 3 convolution of stride 2 on the one before. From the
    coarsest on, a transposed convolution doubles what there is, and the next finer branch joins it. The paper prunes
    branches from the coarse end: with a 2 x 2 kernel a pixel depends on 2 ** n_branches - 1 pixels each way (its table
    4), one alone for 1 branch, 15 x 15 for 4, which is best there; ``Branched(3, 31, n_branches=9)`` is the whole net,
    19,748,191 parameters.

    Args:
        channels_in: Channels of the image.
        channels_out: Channels of the answer.
        n_branches: Resolutions, 1 to 9. Sides of the image must be multiples of ``2 ** (n_branches - 1)``.
        base_width: Channels of branch 1; they double with each branch, up to 8 times this.
        middle: Channels between the two 1 x 1 convolutions at the end.
        kernel: Of the transposed convolutions: 2, 3 or 4.
        dropout: Share dropped after each transposed convolution while training.
        head: ``tanh`` as published, ``linear`` values, or ``logits`` of classes.
        init: ``kaiming``: without norms the deep branches else begin at nearly nothing; or ``normal``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        n_branches: int = 4,
        base_width: int = 64,
        middle: int = 64,
        kernel: int = 2,
        dropout: float = 0.1,
        head: str = "tanh",
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        _check(n_branches, {"base_width": base_width, "middle": middle}, kernel, dropout, head)
        widths = [base_width * min(2**level, WIDEST) for level in range(n_branches - 1)]
        branches = [channels_in, *widths]
        self.downs = nn.ModuleList(_down(a, b, first=i == 0) for i, (a, b) in enumerate(pairwise(branches)))
        self.ups = nn.ModuleList()
        below = branches.pop()
        for depth, (width, branch) in enumerate(zip([base_width, *widths][-2::-1], branches[::-1], strict=True)):
            self.ups.append(_up(below, width, kernel, dropout, depth))
            below = width + branch
        self.end = nn.Sequential(
            nn.Conv2d(below, middle, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(middle, channels_out, 1), HEADS[head]()
        )
        self.align = 2 ** (n_branches - 1)
        self.tile_class = tile_class(n_branches, kernel)
        initialise(self, init)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return one value for each channel and pixel.

        Raises:
            UserError: a side is no multiple of ``2 ** (n_branches - 1)`` (`tilespec predict` pads instead).
        """
        do = "Pad the input, or build the net with fewer n_branches."
        multiples("input of the branched net", x, self.align, why="2 ** (n_branches - 1)", do=do)
        branches = [x]
        for down in self.downs:
            branches.append(down(branches[-1]))
        joined = _leaky(branches.pop())
        for up in self.ups:
            joined = _leaky(torch.cat([up(joined), branches.pop()], dim=1))
        y: Tensor = self.end(joined)
        return y


def tile_class(n_branches: int, kernel: int) -> TileClass:
    """Return how tiles relate to the scene.

    A cell of the coarsest branch reads the cell before as well, and kernels of 3 and 4 look into the cell that follows;
    one of 4 into the cell before, too. A tile may start anywhere in a cell. Beyond `EXACT_HALO` the halo would cost
    more than it gives: there, independent tiles of the training size are the published definition.
    """
    cell = 2 ** (n_branches - 1)
    if n_branches == 1:
        return TileClass(kind="pixelwise")
    halo = {2: cell, 3: cell, 4: 2 * cell - 1}[kernel]
    if halo <= EXACT_HALO:
        return TileClass(kind="exact", halo=halo, align=cell)
    return TileClass(kind="approximate", align=cell)


def _leaky(x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
    return nn.functional.leaky_relu(x, SLOPE)


def _down(channels_in: int, channels_out: int, *, first: bool) -> nn.Module:
    """Return what makes a branch of the one before; branches are kept as they are before the leaky ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)
    return conv if first else nn.Sequential(nn.LeakyReLU(SLOPE), conv)


def _up(channels_in: int, channels_out: int, kernel: int, dropout: float, layer: int) -> nn.Module:
    """Return one doubling; the leaky ReLU follows once the finer branch has joined."""
    conv = nn.ConvTranspose2d(channels_in, channels_out, **DOUBLINGS[kernel])
    return nn.Sequential(conv, SeededDropout(dropout, layer))


def _check(n_branches: int, widths: dict[str, int], kernel: int, dropout: float, head: str) -> None:
    """Refuse numbers that make no net."""
    limits = {
        "net.n_branches": (n_branches, 1 <= n_branches <= MOST, f"1 to {MOST}"),
        "net.kernel": (kernel, kernel in DOUBLINGS, f"one of {', '.join(map(str, DOUBLINGS))}"),
        "net.dropout": (dropout, 0 <= dropout < 1, "a share below 1"),
        "net.head": (repr(head), head in HEADS, f"one of {', '.join(HEADS)}"),
    }
    within({f"net.{name}": (width, width >= 1, "at least 1") for name, width in widths.items()} | limits)
