"""Fit pass: moments that let a later scene join a fit, and a check of a fit's arithmetic against float64.

Moments of float32 pieces are exact to about 1e-7 unless values cancel, which depends on the data. Therefore every pass
that gathers moments is recomputed for a few pieces in float64, and the difference is reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.core.cpu import one_blas_thread
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import Spectra
from tilespec.spectra.operators import Operator
from tilespec.spectra.passes import picked, reduce_scene
from tilespec.spectra.pieces import transform
from tilespec.spectra.statistics import Moments, MomentStatistic
from tilespec.storage.blocks import Block, scenes
from tilespec.storage.scene import Scene

CHECKED = 3
"""The number of blocks of which some pixels are recomputed in float64."""
PIXELS = 512
"""The number of recomputed pixels in each of these blocks."""
LIMIT = 1e-3
"""The largest accepted relative error of their moments; usual are 1e-7 to 1e-5."""


@final
@dataclass(eq=False)
class FitPass:
    """A step's pass over all pixels, which checks the resulting moments against float64 and stores them."""

    where: Sequence[Block]
    """The blocks that are read."""
    operators: tuple[Operator, ...]
    """The fitted steps before this one, as operators."""
    old: Mapping[str, Moments] | None = None
    """The moments of scenes that were read earlier and are added; None for none."""
    client: Any = None
    """The `distributed.Client`, or None for this process."""
    progress: Progress | None = None
    """The progress that counts the blocks of the pass."""
    scenes: Mapping[str, Scene] | None = None
    """The scenes by URL, if they are open already."""
    device: str | None = None
    """The device that computes, None for the CPU with NumPy."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The facts of the pass, such as ``self_check``."""
    moments: dict[str, Moments] = field(default_factory=dict)
    """The moments that the pass gathered, including the old ones."""

    def __call__(self, zero: Any) -> Any:
        """Return ``zero`` plus the contribution of every pixel."""
        if self.old is not None:
            zero = zero.like({name: _emptied(moments) for name, moments in self.old.items()})
        how = {"client": self.client, "progress": self.progress, "scenes_by_url": self.scenes, "device": self.device}
        total = reduce_scene(self.where, self.operators, zero, **how)
        if not isinstance(total, MomentStatistic):
            return total
        self.facts = {"self_check": self_check(self.where, self.operators, zero.moments["signal"], self.scenes)}
        old, new = self.old or {}, total.moments
        if old:
            counts = f"{old['signal'].n} pixels before and {new['signal'].n} new ones"
            self.facts["notes"] = [f"Fitted on {counts}; the steps before stay as they were fitted."]
        self.moments = {name: old[name] + moments if old else moments for name, moments in new.items()}
        return total.like(self.moments)


def _emptied(moments: Moments) -> Moments:
    """Return empty moments with the same shift."""
    return Moments.zero(moments.shift)


def self_check(
    where: Sequence[Block],
    operators: tuple[Operator, ...],
    zero: Moments,
    scenes_by_url: Mapping[str, Scene] | None = None,
) -> float:
    """Return the relative error of the moments of some pixels, compared with the same moments in float64.

    Raises:
        UserError: the error is above `LIMIT`.
    """
    by_url, ours, exact = scenes_by_url or scenes(where), zero, (np.zeros_like(zero.sums), np.zeros_like(zero.products))
    for i in sorted({round(i) for i in np.linspace(0, len(where) - 1, CHECKED)}):
        spectra, weights = picked(by_url[where[i].url], where[i])
        part = np.ones(len(spectra), np.float32) if weights is None else weights
        with one_blas_thread():
            single, double = _twice(operators, zero, spectra[:PIXELS].copy(), part[:PIXELS])
        ours, exact = ours + single, (exact[0] + double[0], exact[1] + double[1])
    error = _error(ours, *exact)
    if not error <= LIMIT:
        raise UserError(
            where[0].url,
            found=f"moments in float32 that are {error:.1e} (relative) from those in float64",
            expected=f"at most {LIMIT:.0e}",
            do="Values far from zero cancel in a step: put `mean` or `minmax` first in --steps, or drop such bands.",
        )
    return error


def _twice(
    operators: tuple[Operator, ...], zero: Moments, spectra: Spectra, weights: Float32[np.ndarray, " pixel"]
) -> tuple[Moments, tuple[Float64[np.ndarray, " _band"], Float64[np.ndarray, "_band _band"]]]:
    """Return the moments of some spectra, and sums and products of the same spectra in float64."""
    if not len(spectra):
        return zero, (np.zeros_like(zero.sums), np.zeros_like(zero.products))
    exact: Any = spectra.astype(np.float64)
    with np.errstate(all="ignore"):
        for operator in operators:
            exact = operator.apply(exact)
    single = transform(operators, spectra, exact.shape[1])
    ok = np.isfinite(exact).all(axis=1) & np.isfinite(single[:, 0])
    root = np.sqrt(weights[ok].astype(np.float64))
    centred = (exact[ok] - zero.shift) * root[:, None]
    return zero.over([(single[ok], weights[ok])]), (root @ centred, centred.T @ centred)


def _error(ours: Moments, sums: Float64[np.ndarray, " band"], products: Float64[np.ndarray, "band band"]) -> float:
    """Return the larger of two relative errors: of the products, and of the sums on the scale of the products."""
    size, scale = float(np.linalg.norm(products)), float(np.sqrt(ours.weight * np.trace(products)))
    if not size or not scale:
        return 0.0
    apart = np.linalg.norm(ours.products - products) / size, np.linalg.norm(ours.sums - sums) / scale
    return float(max(apart))
