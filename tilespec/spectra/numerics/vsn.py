"""VSN weights: how often each band obeys pure scatter, over many pairs of spectra.

Rabatel, Marini, Walczak and Roger, "VSN: Variable sorting for normalization", Journal of Chemometrics 34 (2020)
e3164. Two spectra that differ by scatter alone satisfy ``x_j(k) = a * x_i(k) + b [+ c*k [+ d*k**2]]``. For each pair,
RANSAC finds the largest set of bands that do; a band's weight is the share of pairs that have it in their set.

On scenes many pairs mix materials. Three rules keep those from flattening the weights: each pair is oriented so that
the gain is at most about 1, the tolerance follows the gain (the noise of both spectra enters a residual), and a pair
whose best gain lies outside `GAINS` (a dark spectrum fits "constant" everywhere) is degenerate, left out and counted.
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
"""Gains between two spectra of one material."""
FLAT_RANGE = 10.0
"""A spectrum whose range is below this many tolerances carries no shape to compare."""
FEW = 0.1
"""With fewer spectra above that than this share, the noise is high: the half with the largest ranges is compared."""
LEAST_TOL = 1e-4
"""Smallest automatic tolerance, as a share of the median range: noise-free spectra differ by rounding."""
THREADS = 2
"""Threads that compare pairs: NumPy lets go of the interpreter for most of it."""
MUCH = 0.1
"""A share of degenerate pairs above this is worth a warning."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """What the search found."""

    raw: Float64[np.ndarray, " band"]
    """Share of pairs whose largest set holds the band, 0 to 1."""
    tol: float
    """Largest residual of a band in the set, at gain 1."""
    pairs: int
    """Pairs that were counted."""
    degenerate: float
    """Share of pairs left out because their best gain is not that of two spectra of one material."""
    flat: int
    """Spectra left out because they have no shape."""
    noisy: bool
    """Whether most spectra are flat to the tolerance."""

    @property
    def facts(self) -> dict[str, Any]:
        """Plain data for a result, with a note where there is something to warn of."""
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
        spectra: Valid pixels, some hundred; pairs are drawn among them.
        n_params: 2 for gain and offset, 3 and 4 with a slope and a curvature along the bands.
        tol: Largest residual at gain 1, in units of the data; None takes `tolerance`.
        n_pairs: Pairs to compare; all pairs where there are no more.
        n_iter: Draws for each pair.
        seed: Of the draws.

    Raises:
        UserError: fewer than two spectra with a shape, or only degenerate pairs.
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
    with ThreadPoolExecutor(THREADS) as pool:  # counts are whole numbers: their sum has no order
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
    """Return the spectra whose shape stands out of the noise, and whether they are so few that others had to do."""
    spans = np.ptp(spectra, axis=1)
    shaped = spans >= FLAT_RANGE * tol
    noisy = bool(shaped.mean() < FEW)
    if noisy:
        shaped = (spans >= np.median(spans)) & (spans > 0)
    return spectra[shaped], noisy


def draw_pairs(n: int, n_pairs: int, rng: np.random.Generator) -> Int64[np.ndarray, "pair 2"]:
    """Return pairs ``i < j`` below ``n``: all of them, or ``n_pairs`` different ones."""
    total = n * (n - 1) // 2
    chosen = np.arange(total) if total <= n_pairs else np.sort(rng.choice(total, n_pairs, replace=False))
    i, j = np.triu_indices(n, 1)
    return np.stack([i[chosen], j[chosen]], axis=1).astype(np.int64)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """RANSAC for one pair at a time, in arrays of ``draw band`` that stay in cache."""

    draws: Int64[np.ndarray, "draw param"]
    """Bands of each draw, different within a draw; the same for every pair."""
    powers: Float32[np.ndarray, "term band"]
    """1, k, k**2 along the bands, k from -1 to 1."""
    tol: float
    """Largest residual at gain 1."""
    room: Float32[np.ndarray, "draw band"]
    """Where residuals are computed, again and again."""

    @classmethod
    def of(cls, bands: int, n_params: int, n_iter: int, tol: float, rng: np.random.Generator) -> "_Search":
        """Return the search for spectra of ``bands`` bands."""
        draws = rng.permuted(np.tile(np.arange(bands), (n_iter, 1)), axis=1)[:, :n_params]
        powers = np.linspace(-1, 1, bands, dtype=np.float32) ** np.arange(n_params - 1)[:, None]
        room = np.empty((n_iter, bands), np.float32)
        return cls(draws=draws, powers=powers.astype(np.float32), tol=tol, room=room)

    def counts(
        self, spectra: Float32[np.ndarray, "shaped band"], pairs: Int64[np.ndarray, "pair 2"]
    ) -> tuple[Float64[np.ndarray, " band"], int]:
        """Return how many pairs have each band in their largest set, and how many pairs have such a set."""
        mine, spans = replace(self, room=np.empty_like(self.room)), np.std(spectra, axis=1)
        sums, used = np.zeros(spectra.shape[1]), 0
        for i, j in pairs:
            steep, shallow = (i, j) if spans[i] >= spans[j] else (j, i)
            found = mine.inliers(spectra[steep], spectra[shallow])
            if found is not None:
                sums += found
                used += 1
        return sums, used

    def inliers(
        self, x: Float32[np.ndarray, " band"], y: Float32[np.ndarray, " band"]
    ) -> Bool[np.ndarray, " band"] | None:
        """Return the largest set of bands with ``y = a * x + polynomial``; None when its gain is degenerate."""
        fitted = self._solve(x, y)
        if not len(fitted):
            return None
        residual = np.matmul(fitted, np.vstack([x, self.powers]), out=self.room[: len(fitted)])
        residual -= y
        np.abs(residual, out=residual)
        gains = fitted[:, 0]
        inside = residual < (self.tol * np.sqrt((1 + gains**2) / 2))[:, None]
        best = int(np.count_nonzero(inside, axis=1).argmax())
        return inside[best] if GAINS[0] <= gains[best] <= GAINS[1] else None

    def _solve(
        self, x: Float32[np.ndarray, " band"], y: Float32[np.ndarray, " band"]
    ) -> Float32[np.ndarray, "draw param"]:
        """Return the exact solution of each draw, gain first; draws that have none are left out."""
        at_x, at_y = x[self.draws].astype(np.float64), y[self.draws].astype(np.float64)
        if self.draws.shape[1] == 2:
            rise = at_x[:, 1] - at_x[:, 0]
            ok = np.abs(rise) > np.finfo(np.float32).eps
            gain = (at_y[ok, 1] - at_y[ok, 0]) / rise[ok]
            return np.stack([gain, at_y[ok, 0] - gain * at_x[ok, 0]], axis=1).astype(np.float32)
        system = np.concatenate([at_x[..., None], self.powers.T[self.draws]], axis=-1)
        ok = np.abs(np.linalg.det(system)) > 1e-9 * np.abs(at_x).max(axis=1)
        return np.linalg.solve(system[ok], at_y[ok][..., None])[..., 0].astype(np.float32)
