"""MST++ (Cai et al., CVPR Workshops 2022): spectral-wise transformers in cascade, from an image to spectra.

It is written from the paper: a token is a whole channel, so attention compares channels over all pixels and costs as
much as a convolution; each stage is a small U of such blocks.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import DEEPEST, multiples, one_of, within
from tilespec.models.nets.norms import ChannelNorm
from tilespec.models.nets.unet import HEADS

ALIGN = 8
"""The number of pixels to a multiple of which sides are padded at least, as published."""
WIDER = 4
"""The width of the hidden layer of the feed-forward part relative to its input."""
SPREAD = 0.02
"""The standard deviation of the initial weights of the attention."""

Image = Float[Tensor, "batch channel y x"]


@final
class Mst(nn.Module):
    """A convolution, ``stages`` spectral-wise transformers in sequence, and a convolution; the input is added.

    ``Mst(3, 31)`` is the published net: 1,619,625 parameters (the paper says 1.62 M). Attention is normalised over
    all pixels that the net is given, so a tile's output depends on the whole tile.

    Args:
        channels_in: The number of channels of the image.
        channels_out: The number of channels of the output.
        dim: The number of inner channels at full resolution; None means ``channels_out``.
        stages: The number of transformers in cascade.
        levels: The number of halvings inside each of them.
        blocks: The number of attention blocks at each level.
        head: The last layer: ``linear`` values as published, ``tanh``, or ``logits`` of classes.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        dim: int | None = None,
        stages: int = 3,
        levels: int = 2,
        blocks: int = 1,
        head: str = "linear",
    ) -> None:
        super().__init__()
        width = channels_out if dim is None else dim
        counts = {"dim": width, "stages": stages, "levels": levels, "blocks": blocks}
        limits = {f"net.{name}": (count, count >= 1, "at least 1") for name, count in counts.items()}
        limits["net.levels"] = levels, 1 <= levels <= DEEPEST, f"1 to {DEEPEST}"
        within(limits | {"net.head": one_of(head, HEADS)})
        self.first = _conv(channels_in, width)
        self.stages = nn.Sequential(*(MstStage(width, levels, blocks) for _ in range(stages)))
        self.last = _conv(width, channels_out)
        self.around = nn.Identity() if width == channels_out else nn.Conv2d(width, channels_out, 1, bias=False)
        self.head = HEADS[head]()
        self.align = max(ALIGN, 2**levels)
        self.tile_class = TileClass(kind="approximate", align=self.align)

    def forward(self, x: Image) -> Float[Tensor, "batch out y x"]:
        """Return ``batch, channel, y, x`` values.

        Raises:
            UserError: a side is no multiple of 8, or of ``2 ** levels`` (`tilespec predict` pads instead).
        """
        do = "Pad the input, or choose another patch size."
        multiples("input of MST++", x, self.align, why=f"max({ALIGN}, 2 ** levels)", do=do)
        planes = self.first(x)
        y: Tensor = self.head(self.last(self.stages(planes)) + self.around(planes))
        return y


@final
class MstStage(nn.Module):
    """A U of attention blocks: ``levels`` halvings, each with twice the channels, and back; its input is added."""

    def __init__(self, channels: int, levels: int, blocks: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels)]
        self.first = _conv(channels, channels)
        self.before = nn.ModuleList(_blocks(width, channels, blocks) for width in widths)
        self.halvings = nn.ModuleList(nn.Conv2d(w, 2 * w, 4, stride=2, padding=1, bias=False) for w in widths)
        self.deepest = _blocks(channels * 2**levels, channels, blocks)
        self.doublings = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[::-1])
        self.join = nn.ModuleList(nn.Conv2d(2 * w, w, 1, bias=False) for w in widths[::-1])
        self.after = nn.ModuleList(_blocks(width, channels, blocks) for width in widths[::-1])
        self.last = _conv(channels, channels)

    def forward(self, x: Image) -> Image:
        """Return planes of the same shape."""
        planes, levels = self.first(x), []
        for attend, halve in zip(self.before, self.halvings, strict=True):
            levels.append(attend(planes))
            planes = halve(levels[-1])
        planes = self.deepest(planes)
        for double, join, attend in zip(self.doublings, self.join, self.after, strict=True):
            planes = attend(join(torch.cat([double(planes), levels.pop()], dim=1)))
        y: Tensor = x + self.last(planes)
        return y


@final
class MstBlock(nn.Module):
    """Attention between channels, then a feed-forward part with a depthwise convolution; each is added."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        hidden = WIDER * channels
        self.attention = SpectralAttention(channels, heads)
        self.norm = ChannelNorm(channels)
        self.feed = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.GELU(),
            _depthwise(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )

    def forward(self, x: Image) -> Image:
        """Return planes of the same shape."""
        x = x + self.attention(x)
        y: Tensor = x + self.feed(self.norm(x))
        return y


@final
class SpectralAttention(nn.Module):
    """Spectral-wise multi-head self-attention (S-MSA): each channel is a token, its pixels its features.

    Queries and keys have length 1 over the pixels; a learned factor for each head sharpens their products. Two
    depthwise convolutions of the values encode positions.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(channels, channels, 1)
        self.sharpness = nn.Parameter(torch.ones(heads, 1, 1))
        self.position = nn.Sequential(_depthwise(channels), nn.GELU(), _depthwise(channels))
        for part in (self.query, self.key, self.value, self.out):
            nn.init.trunc_normal_(part.weight, std=SPREAD)
        nn.init.zeros_(self.out.get_parameter("bias"))

    def forward(self, x: Image) -> Image:
        """Return, for each channel, the values of all channels of its head, weighted by their similarity."""
        values = self.value(x)
        query, key = (functional.normalize(self._tokens(part(x)), dim=-1) for part in (self.query, self.key))
        alike = torch.softmax(self.sharpness * (key @ query.transpose(-2, -1)), dim=-1)
        mixed = (alike @ self._tokens(values)).reshape(x.shape)
        y: Tensor = self.out(mixed) + self.position(values)
        return y

    def _tokens(self, x: Image) -> Float[Tensor, "batch head token pixel"]:
        """Return planes as the tokens of each head."""
        return x.reshape(len(x), self.heads, x.shape[1] // self.heads, -1)


def _blocks(channels: int, each: int, count: int) -> nn.Module:
    """Return ``count`` blocks whose heads have ``each`` channels."""
    return nn.Sequential(*(MstBlock(channels, channels // each) for _ in range(count)))


def _conv(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)


def _depthwise(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
