"""PLS: partial least squares from moments; no spectrum is needed, so a scene of any size needs one pass.

Improved kernel PLS, algorithm 2 of Dayal and MacGregor, Journal of Chemometrics 11 (1997) 73-85: only ``X'Y`` is
deflated, by loadings from ``X'X``, so the algorithm needs only ``X'X`` and ``X'Y`` of centred spectra and responses.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64

from tilespec.baselines.pls.group_moments import Cross
from tilespec.core.errors import UserError

NOTHING = 1e-12
"""The share of the initial covariance with the responses below which the remainder is rounding, so no component
follows.
"""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Pls:
    """A fitted PLS regression with all its components; the first ``a`` of them are a model too."""

    n: int
    """The number of fitted pixels."""
    mean_x: Float64[np.ndarray, " band"]
    """The mean that is subtracted from spectra."""
    mean_y: Float64[np.ndarray, " target"]
    """The mean that is added to the prediction."""
    scale: Float64[np.ndarray, " band"]
    """The divisor of centred spectra: 1, or deviations (ddof 1)."""
    weights: Float64[np.ndarray, "band component"]
    """The weights W as unit columns; the largest absolute weight of each is positive."""
    loadings: Float64[np.ndarray, "band component"]
    """The loadings P of the spectra."""
    rotations: Float64[np.ndarray, "band component"]
    """The rotations R: centred, scaled spectra times R are the scores."""
    targets: Float64[np.ndarray, "target component"]
    """The loadings Q of the responses."""
    squares: Float64[np.ndarray, " component"]
    """The sum of squares of the scores of each component."""
    total: tuple[float, float]
    """The sums of squares of centred, scaled spectra and of centred responses."""

    @property
    def components(self) -> int:
        """The number of components."""
        return len(self.squares)

    def coefficients(self) -> Float64[np.ndarray, "component band target"]:
        """Return the regression vectors of 1, 2, ... components, for centred spectra in their own units."""
        each = np.einsum("pa,ma->apm", self.rotations, self.targets)
        return np.cumsum(each, axis=0) / self.scale[:, None]

    @property
    def explained_x(self) -> Float64[np.ndarray, " component"]:
        """The share of each component in the variance of the spectra."""
        return self.squares * (self.loadings**2).sum(axis=0) / self.total[0]

    @property
    def explained_y(self) -> Float64[np.ndarray, " component"]:
        """The share of each component in the variance of the responses."""
        return self.squares * (self.targets**2).sum(axis=0) / self.total[1]

    def vip(self) -> Float64[np.ndarray, " band"]:
        """Return each band's variable importance in the projection; their mean square is 1 (Wold 1993)."""
        explained = self.squares * (self.targets**2).sum(axis=0)
        return np.sqrt(len(self.mean_x) * (self.weights**2) @ explained / explained.sum())


def fit(cross: Cross, components: int, *, scale: bool = False) -> Pls:
    """Return the PLS regression with ``components`` components, or fewer if fewer exist.

    Args:
        cross: The centred moments of spectra and responses.
        components: The requested number; there are fewer if the remainder does not vary with the responses.
        scale: Whether to divide each band by its deviation (a constant band by 1).

    Raises:
        UserError: no band varies with the responses, so there is no component.
    """
    deviation = np.sqrt(np.diag(cross.xx) / max(cross.weight - 1, 1))
    by = np.where(deviation > 0, deviation, 1.0) if scale else np.ones(len(cross.mean_x))
    xx, xy = cross.xx / np.outer(by, by), cross.xy / by[:, None]
    w, p, r, q, tt = _components(xx, xy, components)
    if not tt:
        raise UserError(
            "PLS",
            found=f"{cross.n} spectra that do not vary with the classes",
            expected="spectra and responses that vary together",
            do="Check the labels and the region.",
        )
    return Pls(
        n=cross.n,
        mean_x=cross.mean_x,
        mean_y=cross.mean_y,
        scale=by,
        weights=np.stack(w, axis=1),
        loadings=np.stack(p, axis=1),
        rotations=np.stack(r, axis=1),
        targets=np.stack(q, axis=1),
        squares=np.array(tt),
        total=(float(np.trace(xx)), float(np.trace(cross.yy))),
    )


Vectors = list[np.ndarray]


def _components(
    xx: Float64[np.ndarray, "band band"], xy: Float64[np.ndarray, "band target"], wanted: int
) -> tuple[Vectors, Vectors, Vectors, Vectors, list[float]]:
    """Return columns of W, P, R, Q and the squares of the scores: Dayal and MacGregor (1997), algorithm 2."""
    ws, ps, rs, qs, squares = Vectors(), Vectors(), Vectors(), Vectors(), list[float]()
    least = NOTHING * np.linalg.norm(xy)
    for _ in range(min(wanted, len(xx))):
        w = _weight(xy)
        if not np.linalg.norm(xy) > least or not np.linalg.norm(w):
            break
        r = w.copy()
        for p, before in zip(ps, rs, strict=True):
            r -= (p @ w) * before
        along = r @ xx
        tt = float(along @ r)
        if not tt > NOTHING * np.trace(xx) * (r @ r):
            break
        p, q = along / tt, (r @ xy) / tt
        xy = xy - np.outer(p, q) * tt
        for column, values in zip((ws, ps, rs, qs), (w, p, r, q), strict=True):
            column.append(values)
        squares.append(tt)
    return ws, ps, rs, qs, squares


def _weight(xy: Float64[np.ndarray, "band target"]) -> Float64[np.ndarray, " band"]:
    """Return the unit vector whose score covaries most with the responses; its largest absolute weight is positive."""
    _, vectors = np.linalg.eigh(xy.T @ xy)
    w = xy @ vectors[:, -1]
    norm = np.linalg.norm(w)
    if not norm > 0:
        return np.zeros(len(w))
    return w / (norm * np.sign(w[np.abs(w).argmax()]))
