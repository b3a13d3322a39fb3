"""Draws: which spectra a generator makes for a table: some of each class, or those along a path between two of them."""

from dataclasses import dataclass
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int64

from tilespec.predict.generator import Generator, Spectra

BETWEEN: Final = 1 << 32
"""The difference between the numbers of the first spectra of two classes of a table."""


@runtime_checkable
class Draw(Protocol):
    """The spectra of a table, a small value that is sent to workers."""

    @property
    def generator(self) -> Generator:
        """The generator of the spectra."""
        ...

    @property
    def labels(self) -> Int64[np.ndarray, " spectrum"]:
        """The class of each spectrum."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the spectra, besides the generator."""
        ...

    @property
    def beside(self) -> dict[str, Any]:
        """What is stored for each spectrum besides its class: dimensions, values and attributes by name."""
        ...

    def spectra(self, start: int, stop: int) -> Spectra:
        """Return some of the spectra."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Samples:
    """Some spectra of each class."""

    generator: Generator
    chosen: tuple[int, ...]
    """The numbers of the classes."""
    count: int
    """The number of spectra of each."""

    @property
    def labels(self) -> Int64[np.ndarray, " spectrum"]:
        """The class of each spectrum."""
        return np.repeat(np.array(self.chosen, np.int64), self.count)

    @property
    def settings(self) -> dict[str, Any]:
        """The number and the classes."""
        return {"count": self.count, "classes": list(self.chosen)}

    @property
    def beside(self) -> dict[str, Any]:
        """An empty mapping."""
        return {}

    def spectra(self, start: int, stop: int) -> Spectra:
        """Return some of the spectra."""
        place, number = np.divmod(np.arange(start, stop), self.count)
        classes = np.array(self.chosen, np.int64)[place]
        return self.generator.spectra(_latent(self.generator, classes, number), classes)


@final
@dataclass(frozen=True, kw_only=True)
class Path:
    """Spectra at equal distances along a path between two (Audebert et al. 2018, section on interpolation).

    Between two classes the random numbers stay those of the first spectrum of the first class, and the class vector
    moves. Within one class the class stays, and the random numbers move from those of its first to those of its second
    spectrum, along a straight line or along a great circle (Shoemake 1985; White, arXiv:1609.04468).
    """

    generator: Generator
    ends: tuple[int, int]
    """The numbers of both classes."""
    count: int
    """The number of spectra, both ends included."""
    spherical: bool
    """Whether random numbers move along a great circle."""

    @property
    def shares(self) -> Float[np.ndarray, " spectrum"]:
        """The share of the second end in each spectrum."""
        return np.arange(self.count) / (self.count - 1)

    @property
    def labels(self) -> Int64[np.ndarray, " spectrum"]:
        """The class of the nearer end."""
        return np.where(self.shares < 1 / 2, *self.ends)

    @property
    def settings(self) -> dict[str, Any]:
        """The number, the ends, and the kind of line."""
        return {"count": self.count, "between": list(self.ends), "spherical": self.spherical}

    @property
    def beside(self) -> dict[str, Any]:
        """The shares of the second end."""
        return {"share": (("spectrum",), self.shares, {"long_name": "share of the second end of the path"})}

    def spectra(self, start: int, stop: int) -> Spectra:
        """Return some of the spectra."""
        first, last = self.ends
        of = np.array([first, first])
        latent = _latent(self.generator, of, np.array([0, int(first == last)]))
        share = self.shares[start:stop, None]
        between = _on_circle if self.spherical else _on_line
        hot = self.generator.one_hot(np.array(self.ends))
        return self.generator.answered(between(latent[0], latent[1], share), _on_line(hot[0], hot[1], share))


def _latent(
    generator: Generator, classes: Int64[np.ndarray, " spectrum"], number: Int64[np.ndarray, " spectrum"]
) -> Float32[np.ndarray, "spectrum number"]:
    """Return the random numbers of spectra of a table, by their classes and their numbers in them."""
    return generator.latent(classes * BETWEEN + number, "table")


def _on_line(first: np.ndarray, last: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return points on the straight line between two; the ends have the bits of these."""
    return ((1 - share) * first + share * last).astype(np.float32)


def _on_circle(first: np.ndarray, last: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return points on the arc between two, whose lengths change as well; the ends have the bits of these."""
    lengths = [np.linalg.norm(end.astype(np.float64)) for end in (first, last)]
    angle = np.arccos(np.clip(np.dot(first.astype(np.float64), last) / np.prod(lengths), -1, 1))
    if angle == 0:
        return _on_line(first, last, share)
    weights = np.sin((1 - share) * angle) / np.sin(angle), np.sin(share * angle) / np.sin(angle)
    return (weights[0] * first + weights[1] * last).astype(np.float32)
