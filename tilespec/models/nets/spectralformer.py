"""SpectralFormer (Hong et al. 2022): a transformer whose tokens are groups of neighbouring bands, of windows too."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import one_of, within
from tilespec.models.nets.convolutions import each_window
from tilespec.models.nets.pixelwise import affine
from tilespec.models.nets.unet import HEADS

SPREAD = 0.02
"""The standard deviation of the initial positions and of the initial class token."""
SKIPPED = 2
"""The number of blocks between the two outputs that are fused, as published."""

Tokens = Float[Tensor, "pixel token feature"]


@final
class SpectralFormer(nn.Module):
    """Classes of each pixel, read from the token of the class behind ``depth`` blocks of attention.

    Groupwise spectral embedding: there is a token for each band, a linear map of the ``group`` bands around it, of the
    pixel by itself or of all pixels of the ``window`` around it (published: 1 or 7); beyond the ends the outermost
    bands are repeated, and pixels beyond the image are 0. Cross-layer adaptive fusion: each block from the third on
    reads a sum, with two learned weights, of the last output and of the one that is two blocks older. There is no
    dropout.

    Args:
        channels_in: The number of bands.
        channels_out: The number of classes.
        group: The number of neighbouring bands in a token, an odd number.
        window: The side of the window of pixels in a token, an odd number; 1: each pixel by itself.
        dim: The number of features of a token.
        depth: The number of blocks.
        heads: The number of heads of the attention, a divisor of ``dim``.
        hidden: The number of hidden units of the feed-forward part.
        fusion: Whether blocks are fused with earlier ones.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        group: int = 3,
        window: int = 1,
        dim: int = 64,
        depth: int = 5,
        heads: int = 4,
        hidden: int = 8,
        fusion: bool = True,
        head: str = "logits",
    ) -> None:
        super().__init__()
        counts = {"dim": dim, "depth": depth, "hidden": hidden}
        within(
            {f"net.{name}": (count, count >= 1, "at least 1") for name, count in counts.items()}
            | {
                "net.group": (group, group >= 1 and group % 2 == 1, "an odd number of bands"),
                "net.window": (window, window >= 1 and window % 2 == 1, "an odd number of pixels"),
                "net.heads": (heads, heads >= 1 and dim % heads == 0, f"a divisor of {dim}"),
                "net.head": one_of(head, HEADS),
            }
        )
        self.group, self.window = group, window
        self.tile_class = TileClass(kind="exact", halo=window // 2) if window > 1 else TileClass(kind="pixelwise")
        self.embed = nn.Linear(window * window * group, dim)
        self.token = nn.Parameter(SPREAD * torch.randn(1, 1, dim))
        self.positions = nn.Parameter(SPREAD * torch.randn(1, channels_in + 1, dim))
        self.blocks = nn.ModuleList(AttentionBlock(dim, heads, hidden) for _ in range(depth))
        self.fusions = nn.Parameter(torch.full((max(depth - SKIPPED, 0) if fusion else 0, 2), 0.5))
        self.norm = nn.LayerNorm(dim)
        self.last = nn.Linear(dim, channels_out)
        self.head = HEADS[head]()

    def tokens(self, windows: Float[Tensor, "pixel position band"]) -> Tokens:
        """Return the token of the class and those of all bands, with their positions."""
        ends = self.group // 2
        around = functional.pad(windows, (ends, ends), mode="replicate").unfold(2, self.group, 1)
        bands = affine(self.embed, around.transpose(1, 2).flatten(2))
        return torch.cat([self.token.expand(len(bands), -1, -1), bands], dim=1) + self.positions

    def logits(self, windows: Float[Tensor, "pixel position band"]) -> Float[Tensor, "pixel 1 channel"]:
        """Return the values of the classes of the pixels in the middle of windows."""
        outputs = [self.tokens(windows)]
        for number, block in enumerate(self.blocks):
            x = outputs[-1]
            if 0 <= (fused := number - SKIPPED) < len(self.fusions):
                x = self.fusions[fused, 0] * x + self.fusions[fused, 1] * outputs[fused]
            outputs.append(block(x))
        return affine(self.last, self.norm(outputs[-1][:, :1]))

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the values of the classes of every pixel."""
        y: Tensor = self.head(each_window(self.logits, x, self.window, at_once=self.training))
        return y


@final
class AttentionBlock(nn.Module):
    """Attention between all tokens of a pixel, then a feed-forward part; each reads normalised tokens and is added."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixed, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def attention(self, x: Tokens) -> Tokens:
        """Return for each token the values of all tokens, weighted by the softmax of scaled products (Vaswani 2017)."""
        parts = affine(self.mixed, x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        values = functional.scaled_dot_product_attention(*parts)  # without the memory of all products
        return affine(self.out, values.transpose(1, 2).flatten(2))

    def forward(self, x: Tokens) -> Tokens:
        """Return tokens of the same shape."""
        x = x + self.attention(self.before(x))
        return x + affine(self.narrow, functional.gelu(affine(self.widen, self.between(x))))
