"""SegNet (Badrinarayanan, Kendall and Cipolla 2017) for images and volumes: maxima go back to where they were found."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import multiples, one_of, within
from tilespec.models.nets.convolutions import POOLS, conv, ending, evaluate, layer, lengthened, limits
from tilespec.models.nets.norms import PIXELWISE, SeededDropout
from tilespec.models.nets.unet import EXACT_HALO, HEADS

COUNTS = (2, 2, 3, 3, 3)
"""The number of convolutions of each stage on the way down, and on the way up, where the first stage has one."""
MANY = 3
"""The number of convolutions of the stages with dropout."""
WIDEST = 8
"""The largest width of a stage as a multiple of the first stage's."""
UNPOOLS: dict[int, Callable[..., nn.Module]] = {2: nn.MaxUnpool2d, 3: nn.MaxUnpool3d}
"""The modules that put maxima back, by number of dimensions."""


@final
class Segnet(nn.Module):
    """Five stages of 3-wide convolutions, each behind it a pooling whose positions the way up uses again.

    Args:
        channels_in: The number of bands, at least 2 in 3 dimensions.
        channels_out: The number of classes.
        dimensions: 2: convolutions along the pixels; 3: along bands and pixels.
        stages: The number of poolings, 5 as published. Sides of images must be multiples of ``2 ** stages``.
        base_width: The number of channels of the first stage, which doubles with each stage, up to 8 times this.
        norm: The norm behind each activation; see `tilespec.models.nets.norms`.
        activation: ``relu``, ``leaky_relu``, ``silu``, or ``prelu`` with a slope of its own for each layer.
        dropout: The share dropped behind each stage of three convolutions while training.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        dimensions: int = 2,
        stages: int = 5,
        base_width: int = 64,
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.5,
        head: str = "logits",
    ) -> None:
        super().__init__()
        within(
            limits(channels_in, channels_out, dimensions, activation)
            | {
                "net.dimensions": (dimensions, dimensions in UNPOOLS, "2 (images) or 3 (volumes)"),
                "net.stages": (stages, 1 <= stages <= len(COUNTS), f"1 to {len(COUNTS)}"),
                "net.base_width": (base_width, base_width >= 1, "at least 1"),
                "net.dropout": (dropout, 0 <= dropout < 1, "a share below 1"),
                "net.head": one_of(head, HEADS),
            }
        )
        make = partial(layer, dimensions, name=norm, activation=activation)
        widths = [base_width * min(2**stage, WIDEST) for stage in range(stages)]
        planar = dimensions == 2
        body = Maxima(dimensions, channels_in if planar else 1, widths, make, dropout)
        volume = partial(ending, dimensions, base_width, channels_in, channels_out, "channels", activation)
        self.body = nn.Sequential(body, conv(2, base_width, channels_out) if planar else volume())
        self.head = HEADS[head]()
        self.dimensions, self.align = dimensions, 2**stages
        self.tile_class = tile_class(stages, by_pixel=norm in PIXELWISE)
        self.frozen_class = tile_class(stages, by_pixel=planar or norm in PIXELWISE)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return ``batch, channel, y, x`` values.

        Raises:
            UserError: a side is no multiple of ``2 ** stages`` (`tilespec predict` pads instead).
        """
        do = "Pad the input, or build the net with fewer stages."
        multiples("SegNet input", x, self.align, why="2 ** stages", do=do)
        y: Tensor = self.head(evaluate(self.body, x, self.dimensions))
        return y


@final
class Maxima(nn.Module):
    """The stages down, which remember where maxima were, and the stages up, which put features there and 0 around."""

    def __init__(
        self,
        dimensions: int,
        channels_in: int,
        widths: list[int],
        make: Callable[[int, int], nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        counts, deepest = COUNTS[: len(widths)], len(widths) - 1
        ins = [channels_in, *widths]
        self.downs = nn.ModuleList(
            _stage(make, [ins[stage]] + [widths[stage]] * count, dropout, stage) for stage, count in enumerate(counts)
        )
        self.ups = nn.ModuleList(
            _stage(make, [widths[stage]] * counts[stage] + [widths[stage - 1]], dropout, len(COUNTS) + stage)
            for stage in range(deepest, 0, -1)
        )
        self.pool, self.unpool = POOLS[dimensions](2, return_indices=True), UNPOOLS[dimensions](2)
        self.multiple = 1 if dimensions == 2 else 2 ** len(widths)

    def forward(self, x: Float[Tensor, "batch feature *position"]) -> Float[Tensor, "batch width *position"]:
        """Return features of the first stage, at every position of the input."""
        bands = x.shape[2]
        x, places = lengthened(x, self.multiple), list[Tensor]()
        for down in self.downs:
            x, place = self.pool(down(x))
            places.append(place)
        for up in self.ups:
            x = up(self.unpool(x, places.pop()))
        y: Tensor = self.unpool(x, places.pop())
        return y[:, :, :bands] if self.multiple > 1 else y


def tile_class(stages: int, *, by_pixel: bool) -> TileClass:
    """Return the relation between tiles and the scene; beyond `EXACT_HALO` a halo costs more than the tile itself."""
    align, cells = 2**stages, 0
    for count in (1, *COUNTS[1:stages]):
        cells = -(-(cells + count) // 2)
    for count in reversed(COUNTS[:stages]):
        cells = 2 * cells + count
    halo = -(-cells // align) * align
    exact = by_pixel and halo <= EXACT_HALO
    return TileClass(kind="exact", halo=halo, align=align) if exact else TileClass(kind="approximate", align=align)


def _stage(make: Callable[[int, int], nn.Module], sizes: list[int], dropout: float, number: int) -> nn.Module:
    """Return convolutions between successive sizes, with dropout behind three of them."""
    layers = [make(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*layers, *([SeededDropout(dropout, number)] if len(layers) == MANY else []))
