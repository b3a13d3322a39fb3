"""The generator of Alvarez-Gila, van de Weijer and Garrote (ICCV Workshops 2017): branches at powers of two."""

from itertools import pairwise
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import multiples, one_of, within
from tilespec.models.nets.norms import SeededDropout, initialise
from tilespec.models.nets.unet import EXACT_HALO, HEADS

SLOPE = 0.2
WIDEST = 8
"""The largest width of a level as a multiple of the first level's."""
MOST = 9
"""The number of branches of the published net; the coarsest has one pixel for an image of 256 x 256."""
DOUBLINGS: dict[int, dict[str, Any]] = {
    2: {"kernel_size": 2, "stride": 2},
    3: {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    4: {"kernel_size": 4, "stride": 2, "padding": 1},
}
"""The transposed convolutions that double the sides, by kernel size, which the paper does not give."""


@final
class Branched(nn.Module):
    """One branch for each resolution, from that of the image to 1/2 ** (n_branches - 1) of it; no norm anywhere.

    Branch 0 is the image itself; each further one is a 3 x 3 convolution of stride 2 on the one before. From the
    coarsest on, a transposed convolution doubles the sides, and the result is concatenated with the next finer branch.
    The paper prunes branches from the coarse end: with a 2 x 2 kernel a pixel depends on 2 ** n_branches - 1 pixels
    each way (its table 4), one alone for 1 branch, 15 x 15 for 4, which is best there; ``Branched(3, 31,
    n_branches=9)`` is the whole net, 19,748,191 parameters.

    Args:
        channels_in: The number of channels of the image.
        channels_out: The number of channels of the output.
        n_branches: The number of resolutions, 1 to 9. Sides of the image must be multiples of ``2 ** (n_branches -
            1)``.
        base_width: The number of channels of branch 1, which doubles with each branch, up to 8 times this.
        middle: The number of channels between the two 1 x 1 convolutions at the end.
        kernel: The kernel size of the transposed convolutions: 2, 3 or 4.
        dropout: The share dropped after each transposed convolution while training.
        head: The last layer: ``tanh`` as published, ``linear`` values, or ``logits`` of classes.
        init: The initial weights: ``kaiming``, because without norms the values of deep branches are otherwise nearly 0
            at first; or ``normal``.
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
        """Return ``batch, channel, y, x`` values.

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
    """Return the relation between tiles and the scene.

    A cell of the coarsest branch also reads the previous cell; transposed kernels of 3 and 4 read the next cell, and
    one of 4 the previous cell too. A tile may start anywhere in a cell. Beyond `EXACT_HALO` the halo would cost more
    than the tile itself; such a net is defined, as published, on independent tiles of the training size.
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
    """Return the layers from one branch to the next; the branches that are passed on precede the leaky ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)
    return conv if first else nn.Sequential(nn.LeakyReLU(SLOPE), conv)


def _up(channels_in: int, channels_out: int, kernel: int, dropout: float, layer: int) -> nn.Module:
    """Return one doubling of the sides; the leaky ReLU follows after the concatenation with the finer branch."""
    conv = nn.ConvTranspose2d(channels_in, channels_out, **DOUBLINGS[kernel])
    return nn.Sequential(conv, SeededDropout(dropout, layer))


def _check(n_branches: int, widths: dict[str, int], kernel: int, dropout: float, head: str) -> None:
    """Refuse parameters that define no valid net."""
    limits = {
        "net.n_branches": (n_branches, 1 <= n_branches <= MOST, f"1 to {MOST}"),
        "net.kernel": (kernel, kernel in DOUBLINGS, f"one of {', '.join(map(str, DOUBLINGS))}"),
        "net.dropout": (dropout, 0 <= dropout < 1, "a share below 1"),
        "net.head": one_of(head, HEADS),
    }
    within({f"net.{name}": (width, width >= 1, "at least 1") for name, width in widths.items()} | limits)
