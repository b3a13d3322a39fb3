"""Pixelwise nets of regression: an affine map of fixed functions of each spectrum, monomials or Gaussians."""

from itertools import combinations_with_replacement
from math import comb
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.models.nets.checks import within
from tilespec.models.nets.pixelwise import Answer, Image, Pieces, affine, each_pixel

TERMS = 2000
"""The largest number of monomials, each of which is a column of the least squares problem."""

Monomial = tuple[int, ...]
"""The channels that are multiplied, in ascending order; a squared channel occurs twice."""


@final
class Standardised(nn.Module):
    """An affine map of terms that it standardises itself, so that its weights remain small."""

    mean: Tensor
    gain: Tensor

    def __init__(self, terms: int, channels_out: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(terms))
        self.register_buffer("gain", torch.ones(terms))
        self.affine = nn.Linear(terms, channels_out)

    def forward(self, terms: Pieces) -> Pieces:
        """Return the values ``batch, channel, y, x``."""
        return affine(self.affine, (terms - self.mean) * self.gain)


@final
class Polynomial(nn.Module):
    """An affine map of the monomials of each spectrum up to a degree, or of the roots of these.

    Root-polynomials (Finlayson, Mackiewicz and Hurlbert, IEEE Transactions on Image Processing 24, 2015): the terms are
    the n-th root of each monomial of degree n, without duplicates; if all values of an image are doubled, so are the
    terms. Values below 0 become 0. They are defined for linear light, not for the encoded values of sRGB.

    Args:
        channels_in: The number of channels of the input.
        channels_out: The number of channels of the output.
        degree: The degree of the monomials, 1 to 6.
        root: Whether the terms are the roots of monomials.
    """

    tile_class = TileClass(kind="pixelwise")

    def __init__(self, channels_in: int, channels_out: int, *, degree: int = 2, root: bool = False) -> None:
        super().__init__()
        self.monomials = monomials(channels_in, degree, root=root)
        self.root = root
        self.read = Standardised(len(self.monomials), channels_out)

    def forward(self, x: Image) -> Answer:
        """Return the values ``batch, channel, y, x``."""
        return each_pixel(lambda pieces: self.read(self.terms(pieces)), x)

    def terms(self, pieces: Pieces) -> Pieces:
        """Return the monomials of spectra, or their roots, as channels."""
        values = pieces.clamp_min(0) if self.root else pieces
        products: dict[Monomial, Tensor] = {}
        for monomial in self.monomials:
            product = values[..., monomial[0]]
            for channel in monomial[1:]:
                product = product * values[..., channel]
            products[monomial] = product.pow(1 / len(monomial)) if self.root and len(monomial) > 1 else product
        return torch.stack(list(products.values()), dim=-1)


def monomials(channels: int, degree: int, *, root: bool) -> tuple[Monomial, ...]:
    """Return the monomials of ``channels`` variables up to ``degree``, those of lower degree first.

    For roots, monomials whose exponents have a common divisor are left out: the square root of ``r r`` is ``r``.

    Raises:
        UserError: the degree is invalid, or there are more than `TERMS` monomials.
    """
    within({"degree": (degree, 1 <= degree <= 6, "1 to 6")})
    number = comb(channels + degree, degree) - 1
    if number > TERMS:
        raise UserError(
            "degree",
            found=f"{degree} with {channels} channels: {number} monomials",
            expected=f"at most {TERMS}",
            do="Choose a lower degree, or fewer channels (--recipe pca=4).",
        )
    combinations = [m for n in range(1, degree + 1) for m in combinations_with_replacement(range(channels), n)]
    return tuple(m for m in combinations if not root or _irreducible(m))


def _irreducible(monomial: Monomial) -> bool:
    """Return whether the exponents of a monomial have no common divisor."""
    exponents = [monomial.count(channel) for channel in set(monomial)]
    return not any(all(e % divisor == 0 for e in exponents) for divisor in range(2, max(exponents) + 1))


@final
class Rbf(nn.Module):
    """An affine map of Gaussians around centres, for spectra that it standardises itself (Moody and Darken 1989).

    Args:
        channels_in: The number of channels of the input.
        channels_out: The number of channels of the output.
        centres: The number of Gaussians.
    """

    tile_class = TileClass(kind="pixelwise")
    mean: Tensor
    gain: Tensor
    centres: Tensor
    width: Tensor

    def __init__(self, channels_in: int, channels_out: int, *, centres: int = 50) -> None:
        super().__init__()
        within({"centres": (centres, centres >= 1, "at least 1")})
        self.register_buffer("mean", torch.zeros(channels_in))
        self.register_buffer("gain", torch.ones(channels_in))
        self.register_buffer("centres", torch.zeros(centres, channels_in))
        self.register_buffer("width", torch.ones(()))
        self.read = Standardised(centres, channels_out)

    def forward(self, x: Image) -> Answer:
        """Return the values ``batch, channel, y, x``."""
        return each_pixel(lambda pieces: self.read(self.terms(pieces)), x)

    def terms(self, pieces: Pieces) -> Float[Tensor, "piece pixel centre"]:
        """Return the Gaussians of spectra, ``exp(-d^2 / (2 width^2))``.

        Squares are summed channel by channel, which is as fast as a product for few channels, and no digits cancel.
        """
        x = (pieces - self.mean) * self.gain
        squares = torch.zeros(*x.shape[:2], len(self.centres), dtype=x.dtype, device=x.device)
        for channel, places in enumerate(self.centres.T):
            squares += (x[..., channel, None] - places).square_()
        return torch.exp(squares.div_(-2 * self.width**2))
