"""K-means: Lloyd's iterations over every pixel of a region, one pass of the scene for each, without labels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float64, Int64

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.core.cpu import one_blas_thread
from tilespec.core.errors import UserError
from tilespec.core.types import Spectra
from tilespec.spectra.passes import reduce_scene, sample
from tilespec.storage.blocks import blocks

SAMPLE = 8192
"""The number of pixels from which the initial centres are computed."""
STARTS = 5
"""The number of k-means++ starts, each run to convergence on the sample; the best gives the initial centres."""
TOLERANCE = 1e-4
"""The largest sum of squared shifts of centres at convergence, as a share of the mean variance of a band."""

Centres = Float64[np.ndarray, "cluster band"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Nearest:
    """The sum and the number of the spectra that are nearest to each centre, a statistic of blocks."""

    centres: Centres
    """The centres of the clusters."""
    sums: Centres
    """The sum of the spectra of each cluster, relative to its centre."""
    counts: Int64[np.ndarray, " cluster"]
    """The number of spectra of each cluster."""
    inertia: float
    """The sum of squared distances to the nearest centres."""
    moment: tuple[Float64[np.ndarray, " band"], float]
    """The sum and the sum of squares of spectra, relative to the mean of the centres, for the tolerance."""
    invalid: int
    """The number of spectra that were left out because they are NaN."""

    @classmethod
    def zero(cls, centres: Centres) -> "Nearest":
        """Return the statistic of no spectrum."""
        counts = np.zeros(len(centres), np.int64)
        moment = (np.zeros(centres.shape[1]), 0.0)
        return cls(centres=centres, sums=np.zeros_like(centres), counts=counts, inertia=0.0, moment=moment, invalid=0)

    def of(self, block: Spectra, origin: tuple[int, int] = (0, 0)) -> "Nearest":
        """Return the contribution of one block of spectra."""
        del origin
        middle = self.centres.mean(axis=0)
        x, c = block[np.isfinite(block[:, 0])] - middle, self.centres - middle
        away = (c**2).sum(axis=1) - 2 * (x @ c.T)
        label, squares = away.argmin(axis=1), float((x**2).sum())
        member = (label[:, None] == np.arange(len(c))).astype(float)
        counts = member.sum(axis=0)
        return replace(
            self,
            sums=member.T @ x - counts[:, None] * c,
            counts=counts.astype(np.int64),
            inertia=max(float(away[np.arange(len(x)), label].sum()) + squares, 0.0),
            moment=(x.sum(axis=0), squares),
            invalid=len(block) - len(x),
        )

    def __add__(self, other: "Nearest") -> "Nearest":
        return replace(
            self,
            sums=self.sums + other.sums,
            counts=self.counts + other.counts,
            inertia=self.inertia + other.inertia,
            moment=(self.moment[0] + other.moment[0], self.moment[1] + other.moment[1]),
            invalid=self.invalid + other.invalid,
        )

    def finish(self) -> Centres:
        """Return the means of the clusters; an empty cluster keeps its centre."""
        return self.centres + self.sums / np.maximum(self.counts, 1)[:, None]

    @property
    def variance(self) -> float:
        """The variance of all spectra, averaged over the bands."""
        n, (total, squares) = max(int(self.counts.sum()), 1), self.moment
        return (squares - float(total @ total) / n) / (n * len(total))


def lloyd(look: Callable[[Nearest], Nearest], start: Centres, passes: int) -> tuple[Centres, Nearest, int]:
    """Return the centres, the last statistic, and the number of passes until the centres converge.

    Lloyd, IEEE Transactions on Information Theory 28 (1982); ``look`` returns the statistic of all spectra.
    """
    centres, sums = start, Nearest.zero(start)
    for number in range(1, passes + 1):
        sums = look(Nearest.zero(centres))
        moved = sums.finish()
        shift = float(((moved - centres) ** 2).sum())
        centres = moved
        if shift <= TOLERANCE * sums.variance:
            return centres, sums, number
    return centres, sums, passes + 1


@final
class KMeans:
    """Clusters of spectra in the order of their sizes; class numbers have no other meaning."""

    STEPS: ClassVar[str] = "vsn"
    USES: ClassVar[tuple[str, ...]] = ("clusters", "passes")

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the net whose largest score belongs to the nearest centre."""
        parts = blocks(on.scene, on.roi)
        on.progress.say(f"fit: {STARTS} starts on a sample, then at most {on.options.passes} passes over the region")
        start = _start(on, on.options.clusters)

        def look(zero: Nearest) -> Nearest:
            sums: Nearest = reduce_scene(parts, on.recipe.steps, zero, client=on.client, progress=on.progress)
            return sums

        centres, sums, passes = lloyd(look, start, on.options.passes)
        order = np.argsort(-sums.counts, kind="stable")
        still = passes <= on.options.passes
        empty = int((sums.counts == 0).sum())
        notes = [] if still else [f"the centres still moved after {on.options.passes} passes: give more --passes"]
        notes += [f"{empty} of {len(centres)} clusters have no pixel"] if empty else []
        return _fitted(centres[order], sums, min(passes, on.options.passes), sums.counts[order].tolist(), notes)


def _start(on: FitInput, clusters: int) -> Centres:
    """Return the initial centres of a region: the best of a few starts on a sample."""
    through = on.recipe.apply(sample(blocks(on.scene, on.roi), seed=on.seed, size=SAMPLE))
    x = through[np.isfinite(through[:, 0])]
    return best_start(x, clusters, seed=on.seed, passes=on.options.passes, option="--clusters")


def best_start(x: Spectra, clusters: int, *, seed: int, passes: int, option: str) -> Centres:
    """Return the best of `STARTS` k-means++ starts on spectra in memory, each run to convergence.

    Arthur and Vassilvitskii, Symposium on Discrete Algorithms (2007).

    Raises:
        UserError: there are fewer different spectra than ``clusters``; the message calls that option ``option``.
    """
    from sklearn.cluster import kmeans_plusplus

    distinct = len(np.unique(x, axis=0))
    if distinct < clusters:
        raise UserError(
            option,
            found=clusters,
            expected=f"at most {distinct}, as many as the sample has different spectra",
            do=f"Give fewer {option}, or a larger region.",
        )
    ends = []
    with one_blas_thread():
        for number in range(STARTS):
            rng = np.random.RandomState([seed, 6, number])
            first = kmeans_plusplus(x.astype(np.float64), clusters, random_state=rng)[0]
            ends.append(lloyd(lambda zero: zero.of(x), first, passes))
    return min(ends, key=lambda end: end[1].inertia)[0]


def _fitted(centres: Centres, sums: Nearest, passes: int, counts: list[int], notes: list[str]) -> FittedBaseline:
    """Return the net of centres: ``2 c.x - |c|^2`` relative to their mean is largest for the nearest."""
    mean = centres.mean(axis=0)
    c = centres - mean
    named = {"affine.weight": 2 * c, "affine.bias": -(c**2).sum(axis=1), "mean": mean}
    return FittedBaseline(
        net={"name": "linear", "centred": True},
        weights={key: torch.from_numpy(value.astype(np.float32)) for key, value in named.items()},
        classes=tuple(f"cluster_{i}" for i in range(len(c))),
        head="tanh",
        facts={
            "pixels": int(sums.counts.sum()),
            "invalid_pixels": sums.invalid,
            "passes": passes,
            "inertia": sums.inertia,
            "cluster_pixels": counts,
        },
        notes=tuple(notes),
        arrays={"centres": centres},
    )
