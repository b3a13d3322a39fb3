"""The pix2pix U-Net (Isola et al. 2017) as used by Mishra and Herrmann (2021): 4 x 4 convolutions of stride 2."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import DEEPEST, multiples, one_of, within
from tilespec.models.nets.norms import SeededDropout, initialise, norm

SLOPE = 0.2
DROPPED = 3
"""The number of innermost decoder levels with dropout."""
WIDEST = 8
"""The largest width of a level as a multiple of the first level's."""
EXACT_HALO = 32
"""The largest halo in pixels of a net that is declared exact, because a tile with this halo costs little more."""

HEADS: dict[str, type[nn.Module]] = {
    "logits": nn.Identity,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
    "bounded": nn.Sigmoid,
}
"""The last module of a net, by the name of the head in the task."""


@final
class Unet(nn.Module):
    """A U-Net with ``n_down`` halvings. ``Unet(4, 2, head="tanh")`` is the published generator, 54,418,434 parameters.

    Args:
        channels_in: The number of bands or scores of the input.
        channels_out: The number of channels of the output, such as classes.
        base_width: The number of channels of the first level, which doubles with each level, up to 8 times this.
        n_down: The number of halvings. Sides of the input must be multiples of ``2 ** n_down``.
        norm: The norm: ``batch``, ``instance``, ``channel`` or ``none``; see `tilespec.models.nets.norms`.
        dropout: The share dropped in the three innermost decoder levels.
        head: The last layer: ``logits`` of classes, ``linear`` values, or ``tanh`` as published.
        init: The initial weights: ``normal`` as published, or ``kaiming``.
        live: Whether to predict as published: with the statistics of each tile, and with dropout, seeded by
            `set_sample_ids`.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        base_width: int = 64,
        n_down: int = 8,
        norm: str = "batch",
        dropout: float = 0.5,
        head: str = "logits",
        init: str = "normal",
        live: bool = False,
    ) -> None:
        super().__init__()
        _check(base_width, n_down, dropout, head)
        widths = [base_width * min(2**level, WIDEST) for level in range(n_down)]
        ins = [channels_in, *widths[:-1]]
        inner = range(1, n_down - 1)
        self.downs = nn.ModuleList(
            _down(a, b, norm if level in inner else "none", live)
            for level, (a, b) in enumerate(zip(ins, widths, strict=True))
        )
        self.ups = nn.ModuleList()
        below = widths[-1]
        for depth, width in enumerate(reversed(widths[:-1])):
            self.ups.append(_up(below, width, norm, dropout if depth < DROPPED else 0.0, depth, live=live))
            below = 2 * width
        self.out = nn.ConvTranspose2d(below, channels_out, 4, stride=2, padding=1)
        self.head = HEADS[head]()
        self.align = 2**n_down
        random = live and dropout > 0 and n_down > 1
        self.tile_class = tile_class(n_down, norm, live=live, random=random)
        self.frozen_class = tile_class(n_down, "batch", live=False, random=random)
        initialise(self, init)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return ``batch, channel, y, x`` values.

        Raises:
            UserError: a side is no multiple of ``2 ** n_down`` (`tilespec predict` pads instead).
        """
        do = "Pad the input, or build the net with a smaller n_down."
        multiples("U-Net input", x, self.align, why="2 ** n_down", do=do)
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = torch.relu(skips.pop())
        for up in self.ups:
            x = torch.cat([up(x), skips.pop()], dim=1).relu_()  # in place: the same bits with one pass over memory less
        y: Tensor = self.head(self.out(x))
        return y


def tile_class(n_down: int, norm: str, *, live: bool, random: bool = False) -> TileClass:
    """Return the relation between tiles and the scene; a net's ``frozen_class`` is that with frozen norms.

    An aligned tile needs one more pixel of the bottleneck on each side, and each convolution above one more of its
    level: ``2 ** (n_down + 1) - 1`` pixels of the scene, here rounded up to the alignment. Large nets are declared
    approximate, since a halo wider than the tile costs more than the tile itself; such a net is defined, as published,
    on independent tiles of the training size. So are nets that are ``random`` at prediction: each tile draws its own
    mask.
    """
    halo = 2 * 2**n_down
    by_pixel = norm in ("channel", "none") or (norm == "batch" and not live)
    if by_pixel and not random and halo <= EXACT_HALO:
        return TileClass(kind="exact", halo=halo, align=2**n_down)
    return TileClass(kind="approximate", align=2**n_down)


def _down(channels_in: int, channels_out: int, name: str, live: bool) -> nn.Module:
    """Return one halving of the sides: convolution, norm, leaky ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)
    return nn.Sequential(conv, norm(name, channels_out, live=live), nn.LeakyReLU(SLOPE, inplace=True))


def _up(channels_in: int, channels_out: int, name: str, dropout: float, layer: int, *, live: bool) -> nn.Module:
    """Return one doubling of the sides: transposed convolution, norm, dropout; the ReLU follows the concatenation."""
    conv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    return nn.Sequential(conv, norm(name, channels_out, live=live), SeededDropout(dropout, layer, live=live))


def _check(base_width: int, n_down: int, dropout: float, head: str) -> None:
    """Refuse parameters that define no valid net."""
    within(
        {
            "net.base_width": (base_width, base_width >= 1, "at least 1"),
            "net.n_down": (n_down, 1 <= n_down <= DEEPEST, f"1 to {DEEPEST} halvings"),
            "net.dropout": (dropout, 0 <= dropout < 1, "a share below 1"),
            "net.head": one_of(head, HEADS),
        }
    )
