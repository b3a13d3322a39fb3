"""SNV and VSN: each spectrum loses its offset and gain, over all bands or over those that only scatter changes."""

from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.types import Spectra
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.vsn import weigh
from tilespec.spectra.operators import Normalise, Operator, Scatter
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, no_parameters, numbers, two_bands
from tilespec.spectra.steps.scatter import correction, orthonormal

USAGE = "vsn[=PARAMETERS[:TOLERANCE[:DENOMINATOR]]] with 2, 3 or 4; auto or a number > 0; paper or weighted"
DENOMINATORS = ("paper", "weighted")


@final
@dataclass(frozen=True, kw_only=True)
class Snv:
    """Standard normal variate: subtract each spectrum's mean, divide by its deviation (ddof 1)."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Snv":
        """Return the step ``snv``; it has no parameters."""
        no_parameters("snv", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return two_bands("snv", bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the normalisation with equal weights."""
        return Fitted(operator=normalise(np.ones(on.bands.count)))


@final
@dataclass(frozen=True, kw_only=True)
class Vsn:
    """Weighted SNV with the weights of `tilespec.spectra.numerics.vsn`; weighted MSC for 3 and 4 parameters."""

    kind: ClassVar[Kind] = "sampled"
    n_params: int = 2
    """The number of parameters: 2 for gain and offset, 3 and 4 with a slope and a curvature along the bands."""
    tol: float | None = None
    """The largest residual at gain 1, in units of the data; None estimates it from the noise."""
    denominator: str = "paper"
    """The divisor: ``paper`` is the deviation (ddof 1) of weighted bands, ``weighted`` the root of the weighted mean
    square.
    """
    n_pairs: int = field(default=2000, kw_only=True)
    """The number of pairs of spectra to compare."""
    n_iter: int = field(default=500, kw_only=True)
    """The number of draws for each pair."""

    def __post_init__(self) -> None:
        if self.n_params not in (2, 3, 4) or not (self.tol is None or self.tol > 0):
            raise bad_step("vsn", f"{self.n_params}:{self.tol}", USAGE)
        if self.denominator not in DENOMINATORS:
            raise bad_step("vsn", self.denominator, USAGE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Vsn":
        """Return the step ``vsn[=PARAMETERS[:TOLERANCE[:DENOMINATOR]]]``."""
        n_params, tol, denominator = (*args, *("2", "auto", "paper")[len(args) :])[:3]
        values = numbers(
            "vsn", (n_params, "0" if tol == "auto" else tol, denominator, *args[3:]), USAGE, (int, float, str)
        )
        return cls(n_params=values[0], tol=None if tol == "auto" else values[1], denominator=values[2])

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        least = self.n_params if self.tol is not None else self.n_params + 1
        if bands.count < least:
            sizes = f"{self.n_params} parameters on {bands.count} bands"
            raise bad_step("vsn", sizes, f"at least {least} bands, to leave any to compare")
        return two_bands("vsn", bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the normalisation with the weights from the sampled pixels."""
        weights = weigh(
            on.sample,
            n_params=self.n_params,
            tol=self.tol,
            n_pairs=self.n_pairs,
            n_iter=self.n_iter,
            seed=on.seed,
        )
        operator: Operator
        if self.n_params == 2:
            operator = normalise(weights.raw, self.denominator)
        else:
            operator = scatter(on.sample, weights.raw, degree=self.n_params - 2)
        return Fitted(operator=operator, facts=weights.facts)


def normalise(raw: Float64[np.ndarray, " band"], denominator: str = "paper") -> Normalise:
    """Return weighted SNV for raw weights (0..1); SNV, with ddof 1, where they are all 1.

    With ``w = raw / s``, ``s = sum(raw)`` and ``c = x - sum(w * x)`` the paper's ``z`` is ``c / (s * sd(w * c))``,
    with the deviation (ddof 1) over bands, because ``s * w`` is ``raw``. ``weighted`` divides by
    ``sqrt(sum(w * c**2))``.

    Raises:
        UserError: all weights are 0.
    """
    total = raw.sum()
    if total <= 0:
        raise UserError(
            "step 'vsn'", found="weights that are all 0", expected="a band with weight", do="Raise the tolerance."
        )
    scale = raw / np.sqrt(len(raw) - 1) if denominator == "paper" else np.sqrt(raw / total)
    return Normalise(weights=(raw / total).astype(np.float32), scale=scale.astype(np.float32))


def scatter(sample: Spectra, raw: Float64[np.ndarray, " band"], *, degree: int) -> Scatter:
    """Return weighted MSC against the sample's mean spectrum, with a polynomial baseline of ``degree``."""
    weights = raw / raw.sum()
    terms = np.linspace(-1, 1, len(raw)) ** np.arange(degree + 1)[:, None]
    return correction(sample.mean(axis=0, dtype=np.float64), orthonormal(terms, weights, "vsn"), weights, "vsn")
