"""PCA: exact, in one pass over the scene, from shifted moments, with deterministic signs."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Project
from tilespec.spectra.statistics import Moments
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, numbers

USAGE = "pca=COMPONENTS, at least 1 (pca=4)"


@final
@dataclass(frozen=True, kw_only=True)
class Pca:
    """Project spectra on their leading principal components; they are centred, but not scaled."""

    kind: ClassVar[Kind] = "folded"
    counts_weights: ClassVar[bool] = True
    gives_deviations: ClassVar[bool] = True
    components: int
    """The number of components."""

    def __post_init__(self) -> None:
        if self.components < 1:
            raise bad_step("pca", self.components, USAGE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Pca":
        """Return the step ``pca=COMPONENTS``."""
        values = numbers("pca", args, USAGE, (int,))
        if not values:
            raise bad_step("pca", "", USAGE)
        return cls(components=values[0])

    def plan(self, bands: Bands) -> Bands:
        """Return the components, with numbers from 1; refuse more components than bands."""
        if self.components > bands.count:
            raise UserError(
                "step 'pca'",
                found=f"pca={self.components}",
                expected=f"at most {bands.count} components, as many as there are bands",
                do=f"Give --steps with pca={min(self.components, bands.count)} or less.",
            )
        return _unfitted(self.components, bands.count).out(bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the projection, from one pass over all pixels."""
        shift = on.sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        moments: Moments = on.reduce(Moments.zero(shift))
        projection = decompose(moments, self.components)
        facts: dict[str, Any] = {
            "pixels": moments.n,
            "invalid_pixels": moments.invalid,
            "constant_bands": int((np.diag(moments.products) == 0).sum()),
            "explained_variance": projection.variance.tolist(),
            "explained_variance_ratio": projection.ratio.tolist(),
        }
        most = moments.n - 1
        if self.components > most:
            facts["notes"] = [f"pca={self.components} of {moments.n} spectra: only {most} components have variance"]
        return Fitted(operator=projection, facts=facts)


def decompose(moments: Moments, components: int) -> Project:
    """Return the leading ``components`` of the covariance; the largest absolute loading of each is positive.

    Raises:
        UserError: there are fewer than two valid pixels, or all are equal.
    """
    if moments.n < 2:
        raise UserError(
            "step 'pca'",
            found=f"{moments.n} valid pixels ({moments.invalid} without data)",
            expected="at least 2",
            do="Choose a region with data, or check the nodata value and the steps before.",
        )
    values, vectors = np.linalg.eigh(moments.finish())
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    total = values.sum()
    if total == 0:
        raise UserError(
            "step 'pca'", found="spectra that are all equal", expected="variance", do="Choose another region."
        )
    loadings = vectors[:, :components].T
    peak = np.abs(loadings).argmax(axis=1)
    loadings = loadings * np.sign(loadings[np.arange(components), peak])[:, None]
    return Project(
        mean=moments.mean.astype(np.float32),
        loadings=np.ascontiguousarray(loadings, dtype=np.float32),
        variance=values[:components].copy(),
        ratio=values[:components] / total,
    )


def _unfitted(components: int, bands: int) -> Project:
    """Return a projection of the right shape without a fit, for the look-up of its bands."""
    zero = np.zeros(components)
    loadings = np.zeros((components, bands), np.float32)
    return Project(mean=np.zeros(bands, np.float32), loadings=loadings, variance=zero, ratio=zero)
