"""Clusters: groups without names are judged by the agreement of two partitions, and by the best assignment to classes.

Each class gets at most one cluster, so that the number of pixels that agree is largest (Kuhn 1955, Naval Research
Logistics Quarterly 2, 83); the pixels of a cluster without a class are errors. The adjusted Rand index and the
normalised mutual information need no assignment.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

Counts = Int64[np.ndarray, "true cluster"]


def best_assignment(counts: Counts) -> dict[int, int]:
    """Return the class of each cluster that has one, from the number of pixels of each pair."""
    from scipy.optimize import linear_sum_assignment

    classes, clusters = linear_sum_assignment(counts, maximize=True)
    pairs = zip(clusters.tolist(), classes.tolist(), strict=True)
    return {cluster: number for cluster, number in sorted(pairs) if counts[number, cluster]}


def agreement(counts: Counts) -> dict[str, float | None]:
    """Return ``ari`` and ``nmi`` of two partitions from the number of pixels of each pair; None without pixels.

    ``ari`` is the Rand index adjusted for chance (Hubert and Arabie 1985, Journal of Classification 2, 193). ``nmi`` is
    the mutual information over the mean of both entropies (Strehl and Ghosh 2002, JMLR 3, 583).
    """
    total = int(counts.sum())
    if not total:
        return {"ari": None, "nmi": None}
    return {"ari": _rand(counts.astype(np.float64)), "nmi": _information(counts / total)}


def assigned(assignment: dict[int, int], clusters: Sequence[str], classes: Sequence[str]) -> dict[str, str | None]:
    """Return the class of each cluster by name, None for a cluster without one."""
    known = {cluster: classes[number] for cluster, number in assignment.items()}
    return {name: known.get(cluster) for cluster, name in enumerate(clusters)}


def _rand(counts: np.ndarray) -> float:
    """Return the adjusted Rand index; 1 for two partitions of one group."""

    def pairs(n: np.ndarray) -> float:
        return float((n * (n - 1)).sum() / 2)

    both, true, cluster = pairs(counts), pairs(counts.sum(axis=1)), pairs(counts.sum(axis=0))
    everything = pairs(counts.sum(keepdims=True))
    expected = true * cluster / everything if everything else 0.0
    most = (true + cluster) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _information(shares: np.ndarray) -> float:
    """Return the normalised mutual information; 1 for two partitions of one group."""
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    both = shares[shares > 0]
    information = float((both * np.log(both / np.outer(rows, columns)[shares > 0])).sum())
    entropies = sum(-float((part * np.log(part)).sum()) for part in (rows[rows > 0], columns[columns > 0]))
    return 1.0 if entropies == 0 else max(0.0, 2 * information / entropies)


def lookup(assignment: Mapping[int, int], classes: int, none: int) -> Any:
    """Return the class of each cluster in a table of 256: ``classes`` for a cluster without one; ``none`` stays."""
    table = np.full(256, classes, np.uint8)
    table[none] = none
    table[list(assignment)] = list(assignment.values())
    return table
