"""RCAN (Zhang et al., ECCV 2018): residual groups with channel attention, for images of ``scale`` times the pixels."""

from typing import Final, final

from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import one_of, within
from tilespec.models.nets.convolutions import conv
from tilespec.models.nets.unet import EXACT_HALO, HEADS

STEPS: Final = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""The factors of the sub-pixel convolutions by scale (Shi et al. 2016)."""
PLACES: Final = ("last", "first")
"""The places of the enlargement: behind the body as published, or before it."""

Planes = Float[Tensor, "batch channel y x"]


@final
class Rcan(nn.Module):
    """Residual groups in a residual body: ``Rcan(3, 3, scale=4)`` has the published 15,592,355 parameters.

    The body works at the size of the input, and the image is enlarged at the end. With ``enlarge="first"`` the body
    works on the enlarged image, as spectrai has it (18 groups of 16 blocks, half as many channels as bands), which
    costs ``scale ** 2`` times as much. Attention weighs channels by their mean over the tile: the answer depends on the
    whole tile.

    Args:
        channels_in: The number of bands of the image.
        channels_out: The number of channels of the enlarged image.
        scale: The number of output pixels for an input pixel along each side: 2, 3, 4 or 8.
        width: The number of channels of the body.
        groups: The number of residual groups.
        blocks: The number of residual blocks in each group.
        reduction: The number by which attention divides the number of channels in its middle.
        attention: Whether blocks have attention; without it nets of a small reach are exact.
        enlarge: The place of the enlargement: ``last`` as published, or ``first``.
        head: The last layer: ``linear`` values as published, ``bounded``, ``tanh``, or ``logits`` of classes.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        scale: int = 2,
        width: int = 64,
        groups: int = 10,
        blocks: int = 20,
        reduction: int = 16,
        attention: bool = True,
        enlarge: str = "last",
        head: str = "linear",
    ) -> None:
        super().__init__()
        counts = {"groups": groups, "blocks": blocks, "reduction": reduction}
        within(
            {f"net.{name}": (count, count >= 1, "at least 1") for name, count in counts.items()}
            | {
                "net.scale": (scale, scale in STEPS, f"one of {', '.join(map(str, STEPS))}"),
                "net.width": (width, width >= reduction, f"at least the reduction, {reduction}"),
                "net.enlarge": one_of(enlarge, PLACES),
                "net.head": one_of(head, HEADS),
            }
        )
        self.scale = scale
        last, squeezed = enlarge == "last", width // reduction if attention else 0
        self.before = nn.Identity() if last else enlarged(channels_in, scale)
        self.first = conv(2, channels_in, width)
        inner = (
            Residual(*(_block(width, squeezed) for _ in range(blocks)), conv(2, width, width)) for _ in range(groups)
        )
        self.body = Residual(*inner, conv(2, width, width))
        self.after = enlarged(width, scale) if last else nn.Identity()
        self.last = conv(2, width, channels_out)
        self.head = HEADS[head]()
        self.tile_class = tile_class(groups * (2 * blocks + 1) + 2, scale, attention=attention, last=last)

    def forward(self, x: Planes) -> Float[Tensor, "batch out y2 x2"]:
        """Return the enlarged image, ``batch, channel, scale * y, scale * x``."""
        features = self.body(self.first(self.before(x)))
        y: Tensor = self.head(self.last(self.after(features)))
        return y


@final
class Residual(nn.Module):
    """Layers in sequence whose input is added to their output."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Planes) -> Planes:
        """Return planes of the same shape."""
        y: Tensor = x + self.layers(x)
        return y


@final
class ChannelAttention(nn.Module):
    """A weight between 0 and 1 for each channel, from the means of all channels over the tile."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(inplace=True), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Planes) -> Planes:
        """Return planes of the same shape."""
        y: Tensor = x * self.weigh(x.mean(dim=(2, 3), keepdim=True))
        return y


def enlarged(channels: int, scale: int) -> nn.Module:
    """Return sub-pixel convolutions: each makes the channels of finer pixels, which are then interleaved."""
    return nn.Sequential(
        *(nn.Sequential(conv(2, channels, step**2 * channels), nn.PixelShuffle(step)) for step in STEPS[scale])
    )


def tile_class(convolutions: int, scale: int, *, attention: bool, last: bool) -> TileClass:
    """Return the relation between tiles and the scene, for a number of convolutions before the last one.

    Each convolution reads one pixel more at its resolution. Those of the enlargement, and the last one behind it, read
    less than 2 pixels of the input. Beyond `EXACT_HALO` the halo would cost more than the tile itself.
    """
    halo = 2 + (convolutions if last else -(-convolutions // scale))
    if attention or halo > EXACT_HALO:
        return TileClass(kind="approximate")
    return TileClass(kind="exact", halo=halo)


def _block(width: int, squeezed: int) -> nn.Module:
    """Return a residual block: two convolutions, with attention if it has any channels in its middle."""
    layers = [conv(2, width, width), nn.ReLU(inplace=True), conv(2, width, width)]
    return Residual(*layers, *([ChannelAttention(width, squeezed)] if squeezed else []))
