"""Pixelwise nets: classical methods for single pixels as modules, so that one predictor serves all.

Matrix products run on pieces of one fixed, padded number of pixels, as a batch of pieces: a pixel's bits then depend
neither on its tile nor on the number of threads.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass

PIECE = 2048
"""The number of pixels in one matrix product."""
GROUP = 32
"""The number of pieces at a time, which bounds the memory of hidden layers."""

LANES = 16
"""The number to a multiple of which the outputs of a matrix product are padded."""
FARTHEST = 4.0
"""An angle in radians that is larger than every possible one."""

Image = Float[Tensor, "batch channel y x"]
Answer = Float[Tensor, "batch out y x"]
Pieces = Float[Tensor, "piece pixel _"]


@final
class Identity(nn.Module):
    """A net whose output equals its input."""

    tile_class = TileClass(kind="pixelwise")

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        _expect("identity", channels_out, channels_in)

    def forward(self, x: Image) -> Answer:
        """Return the input ``x`` unchanged."""
        return x


@final
class Ndvi(nn.Module):
    """Class 1 where the vegetation index ``(nir - red) / (nir + red)`` is above a threshold, one-hot over two classes.

    Rouse, Haas, Schell and Deering (1974). 0/0 is background, and so is a value equal to the threshold.
    """

    tile_class = TileClass(kind="pixelwise")

    def __init__(self, channels_in: int, channels_out: int, *, red: int, nir: int, threshold: float) -> None:
        super().__init__()
        _expect("ndvi", channels_out, 2)
        assert max(red, nir) < channels_in, "bands beyond the input"
        self.red, self.nir, self.threshold = red, nir, threshold

    def forward(self, x: Image) -> Answer:
        """Return the class of each pixel, one-hot ``batch, class, y, x``."""
        red, nir = x[:, self.red], x[:, self.nir]
        plant = (nir - red) / (nir + red) > self.threshold  # False for 0/0
        return torch.stack([~plant, plant], dim=1).to(x.dtype)


@final
class Linear(nn.Module):
    """An affine map of each spectrum, with optional centring: PLS-DA, whose scores approximate one-hot classes."""

    tile_class = TileClass(kind="pixelwise")
    mean: Tensor

    def __init__(self, channels_in: int, channels_out: int, *, centred: bool = False) -> None:
        super().__init__()
        self.affine = nn.Linear(channels_in, channels_out)
        self.centred = centred
        if centred:
            self.register_buffer("mean", torch.zeros(channels_in))

    def scores(self, pieces: Pieces) -> Pieces:
        """Return the scores of spectra, ``pixel class``."""
        return affine(self.affine, pieces - self.mean if self.centred else pieces)

    def forward(self, x: Image) -> Answer:
        """Return the scores ``batch, class, y, x``."""
        return each_pixel(self.scores, x)


@final
class Sam(nn.Module):
    """Minus the angle in radians between each spectrum and each class's reference (Kruse et al. 1993).

    A spectrum that is 0 in all bands has no direction; its angle to all references is a right angle.
    """

    tile_class = TileClass(kind="pixelwise")
    references: Tensor
    known: Tensor

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.register_buffer("references", torch.zeros(channels_out, channels_in))
        self.register_buffer("known", torch.ones(channels_out))

    def scores(self, pieces: Pieces) -> Pieces:
        """Return minus the angles ``pixel class``; a class without a reference has a larger angle than any other."""
        pieces = pieces.contiguous()  # a sum over strided memory has another order and other bits
        products = times(pieces, self.references)
        length = torch.linalg.vector_norm(pieces, dim=-1, keepdim=True)
        cosine = products / torch.where(length > 0, length, torch.ones_like(length))
        return torch.where(self.known > 0, -torch.acos(cosine.clamp(-1, 1)), -FARTHEST)

    def forward(self, x: Image) -> Answer:
        """Return minus the angle to each class, ``batch, class, y, x``."""
        return each_pixel(self.scores, x)


@final
class Mlp(nn.Module):
    """A multilayer perceptron for each spectrum, with ReLU between its layers; it standardises its input itself."""

    tile_class = TileClass(kind="pixelwise")
    mean: Tensor
    gain: Tensor

    def __init__(self, channels_in: int, channels_out: int, *, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels_in))
        self.register_buffer("gain", torch.ones(channels_in))
        widths = [channels_in, *hidden, channels_out]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    def logits(self, pieces: Pieces) -> Pieces:
        """Return the logits of spectra, ``pixel class``."""
        x = (pieces - self.mean) * self.gain
        *hidden, last = self.layers
        for layer in hidden:
            x = affine(layer, x).relu_()
        return affine(last, x)

    def forward(self, x: Image) -> Answer:
        """Return the logits ``batch, class, y, x``."""
        return each_pixel(self.logits, x)


def affine(layer: nn.Module, pieces: Pieces) -> Pieces:
    """Return the output of a `torch.nn.Linear` for pieces, each by a matrix product of its own."""
    return times(pieces, layer.get_parameter("weight")) + layer.get_parameter("bias")


def times(pieces: Pieces, rows: Float[Tensor, "out channel"]) -> Pieces:
    """Return the products of spectra with rows, piece by piece.

    BLAS uses other kernels for few outputs, and another one for a single piece, so outputs are padded to `LANES`.
    """
    columns = nn.functional.pad(rows, (0, 0, 0, -len(rows) % LANES)).T.contiguous()
    return torch.bmm(pieces.contiguous(), columns.expand(len(pieces), -1, -1))[..., : len(rows)]


def each_pixel(net: Callable[[Tensor], Tensor], x: Image) -> Answer:
    """Return the output of ``net``, which maps ``piece pixel channel``, for every pixel; the last piece is padded."""
    last = x.permute(0, 2, 3, 1)
    pixels = last.reshape(-1, last.shape[-1])
    n, channels = pixels.shape
    whole = n // PIECE * PIECE
    out = [
        net(group.reshape(-1, PIECE, channels)) for group in torch.split(pixels[:whole], GROUP * PIECE) if len(group)
    ]
    if whole < n:
        rest = nn.functional.pad(pixels[whole:], (0, 0, 0, PIECE - (n - whole)))
        out.append(net(rest[None])[:, : n - whole])
    return torch.cat([part.flatten(0, 1) for part in out]).reshape(*last.shape[:-1], -1).permute(0, 3, 1, 2)


def _expect(name: str, count: int, expected: int) -> None:
    """Refuse a number of channels that the net does not support."""
    if count != expected:
        raise UserError(
            f"net {name!r}",
            found=f"{count} channels out",
            expected=f"{expected}",
            do="Use another net for this number of classes.",
        )
