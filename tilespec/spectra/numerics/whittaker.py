"""Whittaker: smoothing of many spectra at once, and baselines from smoothing with asymmetric weights.

A baseline ``z`` of ``y`` minimises ``sum(w * (y - z)**2) + smoothness * sum(diff(z, 2)**2)``: a pentadiagonal system
for each spectrum, factored band by band for all pixels in one array. Pixels are the last axis, so each has the same
operations whatever its neighbours are; the code runs on NumPy and torch. Spectra are float64: the condition of the
system is near ``16 * smoothness``.
"""

from typing import Any

import numpy as np

from tilespec.core.arrays import namespace

TINY = float(np.finfo(np.float64).tiny)
CHANGE = 1e-3
"""The relative change of a spectrum's weights below which arPLS ends (Baek et al. 2015)."""


def asls(y: Any, smoothness: float, asymmetry: float, iterations: int) -> Any:
    """Return asymmetric least squares baselines (Eilers and Boelens, Leiden University Medical Centre, 2005).

    Bands above the baseline weigh ``asymmetry``, the others ``1 - asymmetry``; the weights are 1 at first. When the
    weights of a spectrum do not change, its baseline is final: more iterations would give the same bits.

    Args:
        y: The spectra, float64 ``band pixel``.
        smoothness: The parameter lambda, 1e2 to 1e9.
        asymmetry: The parameter p, 0.001 to 0.1 for positive peaks.
        iterations: The largest number of iterations of the weights.

    Returns:
        The baselines, float64 ``band pixel``.
    """
    xp = namespace(y)
    above, below = xp.full_like(y[:, :1], asymmetry), xp.full_like(y[:, :1], 1 - asymmetry)

    def weigh(y: Any, z: Any, weights: Any) -> tuple[Any, Any]:
        new_weights = xp.where(y > z, above, below)
        return new_weights, (new_weights != weights).any(0)

    return _reweighted(y, smoothness, iterations, weigh)


def arpls(y: Any, smoothness: float, iterations: int) -> Any:
    """Return asymmetrically reweighted baselines (Baek, Park, Ahn and Choo, Analyst 140 (2015) 250-257).

    A band's weight falls from 1 to 0 when it exceeds the noise of the bands below the baseline (eq. 12), so no
    asymmetry has to be chosen. The arguments are those of `asls`.
    """
    return _reweighted(y, smoothness, iterations, _logistic)


def chord(y: Any) -> Any:
    """Return the straight line from each spectrum's first band to its last.

    The penalty on second differences is zero for a straight line, so subtracting it first changes the baseline by
    exactly that line. The system is nearly singular for such lines, so the subtraction reduces rounding errors.
    """
    along = namespace(y).arange(len(y), dtype=y.dtype, device=y.device)[:, None] / (len(y) - 1)
    return y[:1] + along * (y[-1:] - y[:1])


def _logistic(y: Any, z: Any, weights: Any) -> tuple[Any, Any]:
    """Return the weights by equation 12 of Baek et al., and which spectra have not converged."""
    xp, residual = namespace(y), y - z
    below = residual < 0
    count = _sum(below * 1.0)
    mean = _sum(xp.where(below, residual, 0.0)) / xp.maximum(count, xp.ones_like(count))
    square = _sum(xp.where(below, residual - mean, 0.0) ** 2)
    deviation = (square / xp.maximum(count - 1, xp.ones_like(count))) ** 0.5 + TINY
    # 1 / (1 + exp(2 t)) is (1 - tanh(t)) / 2, which cannot overflow.
    new_weights = (1 - xp.tanh((residual - (2 * deviation - mean)) / deviation)) / 2
    change = _sum((new_weights - weights) ** 2) >= CHANGE**2 * _sum(weights**2)
    return new_weights, change & (count >= 2)


def _sum(values: Any) -> Any:
    """Return sums over bands in a fixed order: the order of a library's sum may depend on the number of pixels."""
    total = values[0] + 0
    for row in values[1:]:
        total += row
    return total


def _reweighted(y: Any, smoothness: float, iterations: int, weigh: Any) -> Any:
    """Return baselines, with those solved again whose spectra have not converged."""
    xp = namespace(y)
    baseline = solve(y, xp.ones_like(y), smoothness)
    who = xp.arange(y.shape[1], device=y.device)
    weights, z, part = xp.ones_like(y), baseline, y
    for _ in range(iterations):
        weights, moving = weigh(part, z, weights)
        if not bool(moving.all()):
            who, weights, part = who[moving], weights[:, moving], part[:, moving]
        if not len(who):
            break
        z = solve(part, weights, smoothness)
        baseline[:, who] = z
    return baseline


def penalty(bands: int) -> tuple[list[float], list[float]]:
    """Return two diagonals of ``D' D`` for second differences ``D``: the main one and the next; the third is all 1."""
    main, first = np.zeros(bands), np.zeros(bands - 1)
    for shift, weight in enumerate((1, 4, 1)):
        main[shift : bands - 2 + shift] += weight
    for shift in (0, 1):
        first[shift : bands - 2 + shift] -= 2
    return main.tolist(), first.tolist()


def solve(y: Any, weights: Any, smoothness: float) -> Any:
    """Return ``z`` with ``(W + smoothness * D' D) z = W y`` for each column.

    The system is divided by ``smoothness``, so that its outermost diagonals are 1, and factored as ``L diag L'``.

    Args:
        y: The spectra, float64 ``band pixel``, at least 2 bands.
        weights: The weights of the bands, of the same shape.
        smoothness: The weight of second differences.
    """
    bands, (main, first) = len(y), penalty(len(y))
    weights = weights / smoothness
    inverse: list[Any] = []
    near: list[Any] = []
    scaled: list[Any] = []
    link: Any = 0.0
    for i in range(bands):
        pivot, value = weights[i] + main[i], weights[i] * y[i]
        if i > 1:
            pivot -= inverse[i - 2]
            value -= scaled[i - 2]
        if i:
            pivot -= link * near[i - 1]
            value -= link * scaled[i - 1]
        inverse.append(1 / pivot)
        if i < bands - 1:
            link = first[i] - near[i - 1] if i else first[0]
            near.append(link * inverse[i])
        scaled.append(value * inverse[i])
    z = namespace(y).empty_like(y)
    z[-1] = scaled[-1]
    z[-2] = scaled[-2] - near[-1] * z[-1]
    for i in range(bands - 3, -1, -1):
        z[i] = scaled[i] - near[i] * z[i + 1] - inverse[i] * z[i + 2]
    return z
