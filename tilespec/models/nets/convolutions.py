"""Convolutions in 1, 2 or 3 dimensions, so that one class describes a net for spectra, images and volumes.

==========  ==================================================  ==========================================
dimensions  a sample of the inner net                           what its convolutions move along
==========  ==================================================  ==========================================
1           one pixel: ``1 band``                               the bands; every pixel by itself
2           one tile: ``band y x``                              the pixels; the bands are the channels
3           one tile: ``1 band y x``                            bands and pixels
==========  ==================================================  ==========================================

The inner net answers in the same form: channels of the output in the place of bands.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.models.nets.checks import Limit, one_of
from tilespec.models.nets.norms import norm
from tilespec.models.nets.pixelwise import affine

SPECTRA = 256
"""The number of pixels at a time in a net of 1 dimension, to which they are padded: a pixel's bits then do not depend
on its tile, nor does memory."""
SLOPE = 0.01
"""The slope of the leaky ReLU below 0."""
ANSWERS: Final = ("channels", "bands")
"""The answers of a net of 1 or 3 dimensions: any channels, a linear map of all bands; or a value for each band, of its
neighbourhood."""

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""The convolutions by number of dimensions."""
POOLS: dict[int, Callable[..., nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
"""The maxima of neighbouring positions by number of dimensions."""
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, SLOPE, inplace=True),
    "prelu": nn.PReLU,
    "silu": partial(nn.SiLU, inplace=True),
}
"""The activations by name; every layer has a module of its own, since a PReLU has a weight."""

Image = Float[Tensor, "batch band y x"]
Answer = Float[Tensor, "batch channel y x"]
Net = Callable[[Tensor], Tensor]


def conv(dimensions: int, channels_in: int, channels_out: int, size: int = 3) -> nn.Module:
    """Return a convolution with an odd filter size that keeps the size of its input, padded with zeros."""
    return CONVOLUTIONS[dimensions](channels_in, channels_out, size, padding=size // 2)


def layer(dimensions: int, channels_in: int, channels_out: int, name: str, activation: str) -> nn.Module:
    """Return a 3-wide convolution, an activation and a norm, in this order."""
    return nn.Sequential(
        conv(dimensions, channels_in, channels_out),
        ACTIVATIONS[activation](),
        norm(name, channels_out, dimensions=dimensions),
    )


def limits(
    channels_in: int, channels_out: int, dimensions: int, activation: str, answer: str = "channels"
) -> dict[str, Limit]:
    """Return the conditions on the parameters that nets of any number of dimensions share, for `checks.within`."""
    fits = answer != "bands" or (dimensions in (1, 3) and channels_in == channels_out)
    each = (
        f"channels; or bands, with 1 or 3 dimensions and as many channels out as in ({channels_in}, not {channels_out})"
    )
    return {
        "net.dimensions": (dimensions, dimensions in CONVOLUTIONS, "1 (spectra), 2 (images) or 3 (volumes)"),
        "recipe.steps": (f"{channels_in} channel", dimensions == 2 or channels_in > 1, "2 bands or more to move along"),
        "net.activation": one_of(activation, ACTIVATIONS),
        "net.answer": (repr(answer), answer in ANSWERS and fits, each),
    }


def along(dimensions: int, bands: int, pixels: int) -> tuple[int, ...]:
    """Return a number for each axis that the convolutions move along: of the bands, of the pixels, or of both."""
    return {1: (bands,), 2: (pixels, pixels), 3: (bands, pixels, pixels)}[dimensions]


@final
class SpectralMap(nn.Module):
    """A linear map from all bands of a position to the channels of the output, the same at every position."""

    def __init__(self, bands: int, channels_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(bands, channels_out)

    def forward(self, x: Float[Tensor, "batch feature band *pixel"]) -> Float[Tensor, "batch feature channel *pixel"]:
        """Return channels in the place of bands."""
        last = x.movedim(2, -1)
        answer = affine(self.linear, last.reshape(1, -1, x.shape[2]))
        return answer.reshape(*last.shape[:-1], -1).movedim(-1, 2)


def ending(dimensions: int, width: int, bands: int, channels_out: int, answer: str, activation: str) -> nn.Module:
    """Return the last layers of a net whose features have ``width`` channels.

    An image is mapped pixel by pixel. In 1 and 3 dimensions a convolution leaves one feature for each band. This is the
    answer ``bands``, without an activation, so that it may have any sign. For ``channels``, an activation and a linear
    map of all bands follow.
    """
    if dimensions == 2:
        return conv(2, width, channels_out, 1)
    one = conv(dimensions, width, 1)
    if answer == "bands":
        return one
    return nn.Sequential(one, ACTIVATIONS[activation](), SpectralMap(bands, channels_out))


def lengthened(x: Tensor, multiple: int) -> Tensor:
    """Return spectra or volumes ``batch feature band ...`` whose last band is repeated up to a multiple of bands."""
    extra = -x.shape[2] % multiple
    return torch.cat([x, *[x[:, :, -1:]] * extra], dim=2) if extra else x


def double(x: Float[Tensor, "batch feature *position"]) -> Float[Tensor, "batch feature *position2"]:
    """Return twice as many positions along each axis: bilinear in images, repeated in spectra and volumes.

    Bilinear doubling takes no account of corners, so that it is the same in every tile.
    """
    if x.ndim == 4:
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def each_spectrum(net: Net, x: Image, *, at_once: bool) -> Answer:
    """Return the answers of a net of spectra (``pixel 1 band`` to ``pixel 1 channel``) for all pixels of images.

    Pixels are evaluated in pieces of `SPECTRA`, or ``at_once`` while training, where norms need the whole batch.
    """
    last = x.permute(0, 2, 3, 1)
    pixels = last.reshape(-1, 1, x.shape[1])
    pieces: Iterable[Tensor] = [pixels]
    if not at_once:
        pieces = torch.split(functional.pad(pixels, (0, 0, 0, 0, 0, -len(pixels) % SPECTRA)), SPECTRA)
    answers = torch.cat([net(piece) for piece in pieces])[: len(pixels)]
    return answers.reshape(*last.shape[:3], -1).permute(0, 3, 1, 2)


def each_window(net: Net, x: Image, window: int, *, at_once: bool) -> Answer:
    """Return the answers of a net of windows (``pixel position band`` to ``pixel 1 channel``) for all pixels of images.

    The positions are those of the ``window * window`` pixels around each pixel, row by row, 0 beyond the image; pieces
    are as in `each_spectrum`, so that the windows of a whole image never lie in memory together.
    """
    around = functional.pad(x, (window // 2,) * 4).permute(0, 2, 3, 1)
    windows = around.unfold(1, window, 1).unfold(2, window, 1)
    shape = windows.shape[:3]
    every = torch.arange(shape.numel(), device=x.device)
    if not at_once:
        every = functional.pad(every, (0, -len(every) % SPECTRA))
    pieces = torch.split(every, len(every) if at_once else SPECTRA)
    answers = [net(windows[torch.unravel_index(piece, shape)].flatten(2).transpose(1, 2)) for piece in pieces]
    return torch.cat(answers)[: shape.numel()].reshape(*shape, -1).permute(0, 3, 1, 2)


def evaluate(net: nn.Module, x: Image, dimensions: int) -> Answer:
    """Return the answer of an inner net to images, in the form of its number of dimensions."""
    return LAYOUTS[dimensions](net, x)


LAYOUTS: dict[int, Callable[[nn.Module, Image], Answer]] = {
    1: lambda net, x: each_spectrum(net, x, at_once=net.training),
    2: lambda net, x: net(x),
    3: lambda net, x: net(x.unsqueeze(1)).squeeze(1),
}
"""The relation between images and the inner net, by number of dimensions."""
