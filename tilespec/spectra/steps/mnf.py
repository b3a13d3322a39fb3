"""MNF: components in the order of signal to noise; the noise is estimated from neighbouring pixels.

Green, Berman, Switzer and Craig, IEEE Trans. Geosci. Remote Sens. 26 (1988) 65-74; as noise-adjusted principal
components: Lee, Woodyatt and Berman, the same 28 (1990) 295-304. The noise covariance is half the covariance of
differences (Switzer and Green's shift difference): the difference of two neighbours of the same material is noise only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float32

from tilespec.core.errors import UserError
from tilespec.core.types import PIECE
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import NoiseAdjust
from tilespec.spectra.statistics import Moments, Part
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, numbers

USAGE = "mnf=COMPONENTS[:DIRECTION], at least 1; lowerright (default), right or lower (mnf=10:right)"
DIRECTIONS = {"lowerright": (1, 1), "right": (0, 1), "lower": (1, 0)}
"""The rows and columns from a pixel to the neighbour that it is compared with, by direction."""
LEAST = 1e-7
"""The smallest noise of a direction, as a share of the largest; float32 does not resolve directions below it."""

Plane = Float32[np.ndarray, "_y _x band"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SignalAndNoise:
    """Moments of all pixels and of the differences between neighbours; a pair belongs to its upper left pixel."""

    signal: Moments
    """The moments of the pixels."""
    noise: Moments
    """The moments of the differences, with shift 0."""
    halo: tuple[int, int]
    """The rows and columns from a pixel to its neighbour."""

    @classmethod
    def zero(cls, shift: Float32[np.ndarray, " band"], halo: tuple[int, int]) -> "SignalAndNoise":
        """Return empty moments; those of the pixels have the shift ``shift``."""
        return cls(signal=Moments.zero(shift), noise=Moments.zero(np.zeros_like(shift)), halo=halo)

    def of(self, block: Plane, own: tuple[int, int]) -> "SignalAndNoise":
        """Return the moments of the first ``own`` rows and columns; their neighbours may lie beyond them."""
        rows = max(1, PIECE // own[1])
        noise = self.noise.over(_differences(block, own, self.halo, rows))
        pixels = ((block[y : min(y + rows, own[0]), : own[1]], None) for y in range(0, own[0], rows))
        signal = self.signal.over((part.reshape(-1, part.shape[2]).copy(), weights) for part, weights in pixels)
        return replace(self, signal=signal, noise=noise)

    def __add__(self, other: "SignalAndNoise") -> "SignalAndNoise":
        return replace(self, signal=self.signal + other.signal, noise=self.noise + other.noise)

    @property
    def moments(self) -> dict[str, Moments]:
        """The moments that a later scene can be added to."""
        return {"signal": self.signal, "noise": self.noise}

    def like(self, moments: Mapping[str, Moments]) -> "SignalAndNoise":
        """Return the statistic that contains ``moments``."""
        return replace(self, signal=moments["signal"], noise=moments["noise"])

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the covariance matrices of the pixels and of the noise."""
        return self.signal.finish(), self.noise.finish() / 2


def _differences(block: Plane, own: tuple[int, int], step: tuple[int, int], rows: int) -> Iterator[Part]:
    """Yield pixel minus neighbour for all pairs whose upper left pixel is in ``own``, some rows at a time."""
    dy, dx = step
    height, width = min(own[0], block.shape[0] - dy), min(own[1], block.shape[1] - dx)
    for y in range(0, height, rows):
        end = min(y + rows, height)
        apart = block[y:end, :width] - block[y + dy : end + dy, dx : width + dx]
        yield apart.reshape(-1, block.shape[2]), None


@final
@dataclass(frozen=True, kw_only=True)
class Mnf:
    """Project spectra on the components with the largest ratio of signal to noise; the noise has variance 1 in each.

    It needs one pass, like a PCA; a block is read with the next row and column of pixels, so an object of the store is
    decoded up to four times.
    """

    kind: ClassVar[Kind] = "folded"
    refuses_weights: ClassVar[bool] = True
    components: int
    """The number of components."""
    direction: str = "lowerright"
    """The direction of the neighbour."""

    def __post_init__(self) -> None:
        if self.components < 1 or self.direction not in DIRECTIONS:
            raise bad_step("mnf", f"{self.components}:{self.direction}", USAGE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Mnf":
        """Return the step ``mnf=COMPONENTS[:DIRECTION]``."""
        values = numbers("mnf", args, USAGE, (int, str))
        if not values:
            raise bad_step("mnf", "", USAGE)
        return cls(components=values[0], direction=values[1] if len(values) > 1 else "lowerright")

    def plan(self, bands: Bands) -> Bands:
        """Return the components, with numbers from 1; refuse more components than bands."""
        if self.components > bands.count:
            raise _too_many(self.components, bands.count, "as many as there are bands")
        zero = np.zeros((self.components, bands.count), np.float32)
        return NoiseAdjust(mean=zero[0], loadings=zero, back=zero, snr=np.zeros(self.components)).out(bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the projection, from one pass over all pixels and pairs."""
        shift = on.sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        statistics: SignalAndNoise = on.reduce(SignalAndNoise.zero(shift, DIRECTIONS[self.direction]))
        operator, lost = adjust(statistics, self.components)
        facts = {
            "pixels": statistics.signal.n,
            "invalid_pixels": statistics.signal.invalid,
            "noise_pairs": statistics.noise.n,
            "signal_to_noise": operator.snr.tolist(),
        }
        note = (
            f"{lost} of {len(shift)} directions have no noise to speak of (bands that are constant, or a step before "
        )
        notes = [f"{note}that fixes a sum of them) and are left out of mnf."] if lost else []
        return Fitted(operator=operator, facts=facts | ({"notes": notes} if notes else {}))


def adjust(statistics: SignalAndNoise, components: int) -> tuple[NoiseAdjust, int]:
    """Return the leading noise-adjusted components, and the number of directions with too little noise.

    With noise covariance ``N = E diag(l) E'`` and signal covariance ``S``, the components are eigenvectors ``U`` of
    ``diag(l)**-.5 E' S E diag(l)**-.5``; their eigenvalues are 1 + signal to noise.

    Raises:
        UserError: there are fewer than two pairs of valid neighbours, no noise, or fewer directions with noise than
            components.
    """
    if min(statistics.signal.n, statistics.noise.n) < 2:
        raise UserError(
            "step 'mnf'",
            found=f"{statistics.signal.n} valid pixels in {statistics.noise.n} pairs of neighbours",
            expected="at least 2 pairs",
            do="Choose a region with data that is more than one pixel high and wide.",
        )
    signal, noise = statistics.finish()
    values, vectors = np.linalg.eigh(noise)
    has = values > max(values[-1], 0) * LEAST
    if components > has.sum():
        raise _too_many(components, int(has.sum()), "as many directions as have noise")
    root, vectors = np.sqrt(values[has]), vectors[:, has]
    white = vectors / root
    ratio, turned = np.linalg.eigh(white.T @ signal @ white)
    turned = turned[:, ::-1][:, :components]
    loadings = (white @ turned).T
    signs = np.sign(loadings[np.arange(components), np.abs(loadings).argmax(axis=1)])[:, None]
    operator = NoiseAdjust(
        mean=statistics.signal.mean.astype(np.float32),
        loadings=np.ascontiguousarray(loadings * signs, dtype=np.float32),
        back=np.ascontiguousarray(((vectors * root) @ turned).T * signs, dtype=np.float32),
        snr=ratio[::-1][:components] - 1,
    )
    return operator, int((~has).sum())


def _too_many(components: int, limit: int, why: str) -> UserError:
    """Return the error for more components than possible."""
    return UserError(
        "step 'mnf'",
        found=f"mnf={components}",
        expected=f"at most {limit} components, {why}",
        do=f"Give --steps with mnf={limit} or less." if limit else "Noise-free or constant data have no MNF: use pca.",
    )
