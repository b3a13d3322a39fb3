"""VSN: the weight of each band is the share of pairs of spectra that differ there only by scatter.

Rabatel, Marini, Walczak and Roger, "VSN: Variable sorting for normalization", Journal of Chemometrics 34 (2020) e3164.
Two spectra that differ only by scatter satisfy ``x_j(k) = a * x_i(k) + b [+ c*k [+ d*k**2]]``. For each pair, RANSAC
finds the largest set of bands that satisfy it; a band's weight is the share of pairs whose set contains it.

In scenes many pairs mix materials. Three rules prevent those pairs from making all weights equal: each pair is ordered
so that the gain is at most about 1; the tolerance is multiplied by the gain (the noise of both spectra enters a
residual); and a pair whose best gain lies outside `GAINS` (a dark spectrum fits any other with a small gain) is
degenerate: it is counted and left out.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from tilespec.core.errors import UserError
from tilespec.core.types import Spectra

GAINS = (0.2, 5.0)
"""The smallest and the largest gain between two spectra of one material."""
FLAT_RANGE = 10.0
"""The smallest range of a spectrum, in tolerances, with which it has a shape to compare."""
FEW = 0.1
"""The share of spectra above that range below which the noise is high; then the half with the largest ranges is used.
"""
LEAST_TOL = 1e-4
"""The smallest automatic tolerance, as a share of the median range, because spectra without noise differ by rounding.
"""
THREADS = 2
"""The number of threads that compare pairs; NumPy releases the interpreter's lock for most of the time."""
MUCH = 0.1
"""The share of degenerate pairs above which the user is warned."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The result of the search over pairs."""

    raw: Float64[np.ndarray, " band"]
    """The share of pairs, 0 to 1, whose largest set contains the band."""
    tol: float
    """The largest residual of a band in the set, at gain 1, in units of the data."""
    pairs: int
    """The number of pairs that were counted."""
    degenerate: float
    """The share of pairs that were left out because of a gain that two spectra of one material do not have."""
    flat: int
    """The number of spectra that were left out because they have no shape."""
    noisy: bool
    """Whether the range of most spectra is small against the tolerance."""

    @property
    def facts(self) -> dict[str, Any]:
        """The weights as plain data for a result, with a note when the user should be warned."""
        notes = []
        if self.degenerate > MUCH:
            notes.append(
                f"{self.degenerate:.0%} of the pairs that VSN compared are degenerate: the scene mixes materials, and "
                "the weights come from the other pairs."
            )
        if self.noisy:
            notes.append(
                f"The range of most spectra is below {FLAT_RANGE:g} times VSN's tolerance {self.tol:.3g}: with that "
                "much noise its weights are nearly equal, and VSN is nearly SNV."
            )
        numbers = {"tol": self.tol, "pairs": self.pairs, "degenerate": self.degenerate, "flat_spectra": self.flat}
        return numbers | ({"notes": notes} if notes else {})


def tolerance(spectra: Spectra) -> float:
    """Return ``3 * sqrt(2) * sigma``, with the noise ``sigma`` from second differences along the bands.

    Their median absolute deviation is ``0.6745 * sqrt(6) * sigma`` for white noise, and a smooth spectrum adds
    little to it. At gain 1 a residual is the difference of two noises, hence ``sqrt(2)``.
    """
    second = np.diff(spectra.astype(np.float64), n=2, axis=1)
    mad = np.median(np.abs(second - np.median(second)))
    least = LEAST_TOL * np.median(np.ptp(spectra, axis=1))
    return float(max(3 * np.sqrt(2) * mad / (0.6745 * np.sqrt(6)), least))


def weigh(
    spectra: Spectra,
    *,
    n_params: int = 2,
    tol: float | None = None,
    n_pairs: int = 2000,
    n_iter: int = 500,
    seed: int = 0,
) -> Weights:
    """Return the weight of every band.

    Args:
        spectra: A few hundred valid pixels, ``pixel band``, from which pairs are drawn.
        n_params: The number of parameters: 2 for gain and offset, 3 and 4 with a slope and a curvature along the bands.
        tol: The largest residual at gain 1, in units of the data; None takes `tolerance`.
        n_pairs: The number of pairs to compare; all pairs if there are fewer.
        n_iter: The number of draws for each pair.
        seed: The seed of the draws.

    Raises:
        UserError: fewer than two spectra have a shape, or all pairs are degenerate.
    """
    tol = tolerance(spectra) if tol is None else tol
    shaped, noisy = _shaped(spectra, tol)
    pairs = draw_pairs(len(shaped), n_pairs, np.random.default_rng([seed, 0]))
    if not len(pairs):
        raise UserError(
            "step 'vsn'",
            found=f"{len(shaped)} of {len(spectra)} sampled spectra with any shape",
            expected="at least 2 that are not constant",
            do="Choose another region, or leave vsn out.",
        )
    search = _Search.of(spectra.shape[1], n_params, n_iter, tol, np.random.default_rng([seed, 1]))
    with ThreadPoolExecutor(THREADS) as pool:  # the sum of integers does not depend on the order
        counts = list(pool.map(partial(search.counts, shaped), np.array_split(pairs, THREADS)))
    sums, used = np.sum([held for held, _ in counts], axis=0), sum(count for _, count in counts)
    if not sums.any():
        raise UserError(
            "step 'vsn'",
            found=f"{len(pairs)} pairs of spectra, none alike up to scatter within tol = {tol:.3g}",
            expected="some bands that differ by gain and offset alone",
            do="Give a larger tolerance (vsn=2:0.01), or use snv.",
        )
    share = 1 - used / len(pairs)
    return Weights(raw=sums / used, tol=tol, pairs=used, degenerate=share, flat=len(spectra) - len(shaped), noisy=noisy)


def _shaped(spectra: Spectra, tol: float) -> tuple[Float32[np.ndarray, "shaped band"], bool]:
    """Return the spectra whose range exceeds the noise, and whether others were added because these were too few."""
    spans = np.ptp(spectra, axis=1)
    shaped = spans >= FLAT_RANGE * tol
    noisy = bool(shaped.mean() < FEW)
    if noisy:
        shaped = (spans >= np.median(spans)) & (spans > 0)
    return spectra[shaped], noisy


def draw_pairs(n: int, n_pairs: int, rng: np.random.Generator) -> Int64[np.ndarray, "pair 2"]:
    """Return pairs ``i < j`` below ``n``: all pairs, or ``n_pairs`` different ones."""
    total = n * (n - 1) // 2
    chosen = np.arange(total) if total <= n_pairs else np.sort(rng.choice(total, n_pairs, replace=False))
    i, j = np.triu_indices(n, 1)
    return np.stack([i[chosen], j[chosen]], axis=1).astype(np.int64)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """RANSAC for one pair at a time, in arrays ``draw band`` that fit the processor's cache."""

    draws: Int64[np.ndarray, "draw param"]
    """The bands of each draw, different within a draw and the same for every pair."""
    powers: Float32[np.ndarray, "term band"]
    """The powers 1, k, k**2 along the bands, with k from -1 to 1."""
    tol: float
    """The largest residual at gain 1, in units of the data."""
    buffers: Float32[np.ndarray, "draw band"]
    """The memory in which residuals are computed."""

    @classmethod
    def of(cls, bands: int, n_params: int, n_iter: int, tol: float, rng: np.random.Generator) -> "_Search":
        """Return the search for spectra of ``bands`` bands."""
        draws = rng.permuted(np.tile(np.arange(bands), (n_iter, 1)), axis=1)[:, :n_params]
        powers = np.linspace(-1, 1, bands, dtype=np.float32) ** np.arange(n_params - 1)[:, None]
        buffers = np.empty((n_iter, bands), np.float32)
        return cls(draws=draws, powers=powers.astype(np.float32), tol=tol, buffers=buffers)

    def counts(
        self, spectra: Float32[np.ndarray, "shaped band"], pairs: Int64[np.ndarray, "pair 2"]
    ) -> tuple[Float64[np.ndarray, " band"], int]:
        """Return how many pairs have each band in their largest set, and how many pairs have a set at all."""
        mine, spans = replace(self, buffers=np.empty_like(self.buffers)), np.std(spectra, axis=1)
        sums, used = np.zeros(spectra.shape[1]), 0
        for i, j in pairs:
            steep, shallow = (i, j) if spans[i] >= spans[j] else (j, i)
            inliers = mine.inliers(spectra[steep], spectra[shallow])
            if inliers is not None:
                sums += inliers
                used += 1
        return sums, used

    def inliers(
        self, x: Float32[np.ndarray, " band"], y: Float32[np.ndarray, " band"]
    ) -> Bool[np.ndarray, " band"] | None:
        """Return the largest set of bands with ``y = a * x + polynomial``, or None when its gain is degenerate."""
        fitted = self._solve(x, y)
        if not len(fitted):
            return None
        residual = np.matmul(fitted, np.vstack([x, self.powers]), out=self.buffers[: len(fitted)])
        residual -= y
        np.abs(residual, out=residual)
        gains = fitted[:, 0]
        inside = residual < (self.tol * np.sqrt((1 + gains**2) / 2))[:, None]
        best = int(np.count_nonzero(inside, axis=1).argmax())
        return inside[best] if GAINS[0] <= gains[best] <= GAINS[1] else None

    def _solve(
        self, x: Float32[np.ndarray, " band"], y: Float32[np.ndarray, " band"]
    ) -> Float32[np.ndarray, "draw param"]:
        """Return the exact solution of each draw, gain first; draws without a solution are left out."""
        at_x, at_y = x[self.draws].astype(np.float64), y[self.draws].astype(np.float64)
        if self.draws.shape[1] == 2:
            rise = at_x[:, 1] - at_x[:, 0]
            ok = np.abs(rise) > np.finfo(np.float32).eps
            gain = (at_y[ok, 1] - at_y[ok, 0]) / rise[ok]
            return np.stack([gain, at_y[ok, 0] - gain * at_x[ok, 0]], axis=1).astype(np.float32)
        system = np.concatenate([at_x[..., None], self.powers.T[self.draws]], axis=-1)
        ok = np.abs(np.linalg.det(system)) > 1e-9 * np.abs(at_x).max(axis=1)
        return np.linalg.solve(system[ok], at_y[ok][..., None])[..., 0].astype(np.float32)
