"""Nets of segmentation-models-pytorch (Iakubovskii 2019): any of its encoders in any of its architectures.

The package is an extra, and is imported with the first such net. Weights are random, and nothing is downloaded.
"""

from collections.abc import Mapping
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.models.nets.checks import multiples, one_of, within
from tilespec.models.nets.norms import SeededDropout
from tilespec.models.nets.unet import HEADS

ARCHITECTURES: Final = (
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
)
"""The names of the package's classes."""
HALVED: Final = {"PAN": 8}
"""The architectures that halve the encoder's last features again, and the number of these that a side then needs."""
LISTED: Final = "tu-"
"""The beginning of the names of timm's encoders, behind which a name of its list stands."""
SKIPPING: Final = ("drop_prob", "_drop_connect_rate")
"""The attributes of layers and encoders that say how many blocks are skipped while training."""
OPERATORS: Final = ("nms", "qnms")
"""The operators that torchvision describes as it is imported, though it may not have them."""
REFUSED: Final = (ValueError, NotImplementedError, KeyError, AttributeError, AssertionError)
"""What the package raises for an encoder that an architecture cannot have."""

Planes = Float[Tensor, "batch feature y x"]


@final
class Smp(nn.Module):
    """An encoder of images and the architecture around it, as ``segmentation_models_pytorch`` has them.

    Masks of dropout follow from the number of the sample, and blocks are never skipped while training (stochastic
    depth), so that a training is the same each time.

    Args:
        channels_in: The number of bands.
        channels_out: The number of classes or values.
        architecture: The name of a class of the package, such as ``Unet`` or ``DeepLabV3Plus``; see `ARCHITECTURES`.
        encoder: The name of an encoder of the package, such as ``efficientnet-b0``, or ``tu-NAME`` for one of timm.
        dropout: The share dropped by each layer that drops; None: as the architecture has it.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        architecture: str = "Unet",
        encoder: str = "resnet34",
        dropout: float | None = None,
        head: str = "logits",
    ) -> None:
        super().__init__()
        within(
            {
                "net.architecture": one_of(architecture, ARCHITECTURES),
                "net.dropout": (dropout, dropout is None or 0 <= dropout < 1, "a share below 1"),
                "net.head": one_of(head, HEADS),
            }
        )
        self.body = _built(architecture, encoder, channels_in, channels_out)
        _repeatable(self.body, dropout)
        self.head = HEADS[head]()
        self.align = HALVED.get(architecture, 1) * self.body.encoder.output_stride
        self.tile_class = self.frozen_class = TileClass(kind="approximate", align=self.align)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return ``batch, channel, y, x`` values.

        Raises:
            UserError: a side is no multiple of the encoder's stride (`tilespec predict` pads instead), the encoder
                takes images of one size, or while training a norm has a single value for each channel.
        """
        do = "Pad the input, or choose another patch size."
        multiples("input of smp", x, self.align, why="the stride", do=do)
        try:
            y: Tensor = self.head(self.body(x))
        except ValueError as error:
            raise UserError(
                "train.batch",
                found=f"{len(x)} patches at a time ({error})",
                expected="2 or more, of whose features norms of a batch take means",
                do="Set a larger train.batch, or a larger data.patch.",
            ) from error
        except AssertionError as error:
            raise UserError(
                "net.encoder",
                found=f"an encoder of images of one size ({error})",
                expected="one of images of any size",
                do="Choose another encoder, or patches and tiles of that size.",
            ) from error
        return y


@final
class PlaneDropout(nn.Module):
    """Dropout of whole features: one draw of `SeededDropout` for each."""

    def __init__(self, inner: SeededDropout) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Planes) -> Planes:
        """Return ``x`` with a share of its features 0 while training."""
        return x * self.inner(x.new_ones(*x.shape[:2], 1, 1)) if self.training else x


@final
class KnownRates(TorchFunctionMode):
    """A mode in which rates of successive blocks have values, also where a net is built without memory."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``func``; what `torch.linspace` returns is on the CPU."""
        del types
        kwargs = dict(kwargs or {})
        return func(*args, **(kwargs | {"device": "cpu"} if func is torch.linspace else kwargs))


def library() -> Any:
    """Return the module of segmentation-models-pytorch.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        try:
            import segmentation_models_pytorch
        except RuntimeError as error:
            # torchvision is built for torch with CUDA, and torch is not: it lacks operators, which no encoder calls
            if f"torchvision::{OPERATORS[0]}" not in str(error):
                raise
            for name in OPERATORS:
                torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float limit) -> Tensor")
            import segmentation_models_pytorch
    except (ImportError, RuntimeError) as error:
        raise UserError(
            "net.name",
            found=f"smp, without segmentation-models-pytorch ({error})",
            expected="the extra `encoders`",
            do="pip install 'tilespec[encoders]'",
        ) from error
    return segmentation_models_pytorch


def _built(architecture: str, encoder: str, channels_in: int, channels_out: int) -> Any:
    """Return the package's own net with random weights.

    Raises:
        UserError: neither the package nor timm has this encoder, or the architecture cannot have it.
    """
    package = library()
    from timm import list_models  # a name outside this list may be an address to download from

    own = [name for name in package.encoders.get_encoder_names() if not name.startswith("timm-")]
    good = encoder in own or (encoder.startswith(LISTED) and encoder.removeprefix(LISTED) in list_models())
    known = f"one of {', '.join(own)}, or {LISTED}NAME with a name of timm.list_models()"
    within({"net.encoder": (repr(encoder), good, known)})
    kind = getattr(package, architecture)
    try:
        with KnownRates():
            return kind(encoder, encoder_weights=None, in_channels=channels_in, classes=channels_out)
    except REFUSED as error:
        raise UserError(
            "net.encoder",
            found=f"{encoder!r} in {architecture}: {error}",
            expected="an encoder that this architecture can have",
            do="Choose another encoder, such as 'resnet34', or another net.architecture.",
        ) from error


def _repeatable(net: nn.Module, share: float | None) -> None:
    """Let dropout follow from the number of the sample, and skip no block."""
    for number, (name, layer) in enumerate(list(net.named_modules())):
        if isinstance(layer, nn.Dropout | nn.Dropout2d) and layer.p > 0:
            seeded = SeededDropout(layer.p if share is None else share, number)
            parent, _, attribute = name.rpartition(".")
            whole = isinstance(layer, nn.Dropout2d)
            setattr(net.get_submodule(parent), attribute, PlaneDropout(seeded) if whole else seeded)
        for attribute in SKIPPING:
            if hasattr(layer, attribute):
                setattr(layer, attribute, 0.0)
