"""Scatter: MSC and extended MSC fit each spectrum by a reference and known disturbances, and remove those."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64
from numpy.polynomial.legendre import legvander

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.curve_files import Curves, places, read_curves
from tilespec.spectra.operators import Scatter
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, numbers
from tilespec.spectra.steps.scaling import spread_facts, spread_of

MSC = "msc, or msc=REFERENCE, a text table of places and one spectrum"
EMSC = "emsc[=DEGREE[:INTERFERENTS[:REFERENCE]]], DEGREE >= 0 (2), then text tables of places and spectra"
DISTINCT = 1e-5
"""The smallest share of a curve that the other curves must leave unexplained, because spectra are float32."""

Curve = Float64[np.ndarray, " band"]
Basis = Float64[np.ndarray, "curve band"]


@final
class Msc:
    """Multiplicative scatter correction, ``x = offset + gain * reference``: EMSC of degree 0.

    Geladi, MacDougall and Martens, Applied Spectroscopy 39 (1985) 491-500.
    """

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Emsc":
        """Return the step ``msc[=REFERENCE]``."""
        if len(args) > 1:
            raise bad_step("msc", ":".join(args), MSC)
        return Emsc(name="msc", degree=0, reference=read_curves(args[0], "msc") if args else None)


@final
@dataclass(frozen=True, kw_only=True)
class Emsc:
    """Extended MSC: ``x = gain * reference + polynomial + interferents``, solved for the reference's shape.

    Martens and Stark, J. Pharm. Biomed. Anal. 9 (1991) 625-635; Afseth and Kohler, Chemometr. Intell. Lab. Syst. 117
    (2012) 92-99. The polynomial uses the actual band centres.
    """

    name: str = "emsc"
    """The name of the step for messages."""
    degree: int = 2
    """The degree of the polynomial."""
    interferents: Curves | None = None
    """The spectra whose share is removed."""
    reference: Curves | None = None
    """The reference spectrum; None takes the mean of all pixels."""

    def __post_init__(self) -> None:
        if self.degree < 0:
            raise bad_step(self.name, self.degree, EMSC)
        if self.interferents is not None and not len(self.interferents.values):
            raise bad_step(self.name, f"no spectrum in {self.interferents.source}", "places and one spectrum or more")
        if self.reference is not None and len(self.reference.values) != 1:
            description = f"{len(self.reference.values)} spectra in {self.reference.source}"
            raise bad_step(self.name, description, "places and one spectrum")

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Emsc":
        """Return the step ``emsc[=DEGREE[:INTERFERENTS[:REFERENCE]]]``; an empty text between colons means none."""
        degree, *files = numbers("emsc", args or ("2",), EMSC, (int, str, str))
        interferents, reference = (read_curves(file, "emsc") if file else None for file in (*files, "", "")[:2])
        return cls(degree=degree, interferents=interferents, reference=reference)

    @property
    def kind(self) -> Kind:
        """The kind ``folded``, or ``plain`` with a reference."""
        return "folded" if self.reference is None else "plain"

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands; refuse more curves than the bands can separate."""
        curves = orthonormal(self._curves(bands), np.ones(bands.count), self.name)
        if self.reference is not None:
            correction(self.reference.at(bands, self.name)[0], curves, np.ones(bands.count), self.name)
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the correction."""
        even, facts = np.ones(on.bands.count), {}
        if self.reference is None:
            spread = spread_of(on)
            reference, facts = spread.mean, spread_facts(spread)
        else:
            reference = self.reference.at(on.bands, self.name)[0]
        curves = orthonormal(self._curves(on.bands), even, self.name)
        return Fitted(operator=correction(reference, curves, even, self.name), facts=facts)

    def _curves(self, bands: Bands) -> Basis:
        """Return the polynomial's terms and the interferents."""
        at = places(bands, self.name)
        terms = legvander(2 * (at - at.min()) / (np.ptp(at) or 1.0) - 1, self.degree).T
        return terms if self.interferents is None else np.vstack([terms, self.interferents.at(bands, self.name)])


def orthonormal(curves: Basis, weights: Curve, step: str) -> Basis:
    """Return orthonormal curves with the same span: ``curves @ diag(weights) @ curves.T`` is the identity.

    Raises:
        UserError: there are more curves than bands minus one, or the other curves explain one of them.
    """
    if len(curves) >= curves.shape[1]:
        many = f"{len(curves)} curves to remove on {curves.shape[1]} bands"
        raise bad_step(step, many, "fewer curves than bands, to leave a reference")
    lengths = np.sqrt((curves**2) @ weights)[:, None]
    unit = curves / np.where(lengths > 0, lengths, 1)
    triangle = np.linalg.qr((unit * np.sqrt(weights)).T).R
    left = np.abs(np.diag(triangle))
    if left.min() < DISTINCT:
        raise _explained(step, f"curve {int(left.argmin())} to remove (the polynomial's come first)")
    return np.linalg.solve(triangle.T, unit)


def correction(reference: Curve, curves: Basis, weights: Curve, step: str) -> Scatter:
    """Return the operator that removes ``curves``, orthonormal under ``weights``, and the gain on ``reference``.

    Raises:
        UserError: the curves explain the reference, so the gain is undefined.
    """
    solve = (curves * weights).T
    fitted = (reference @ solve) @ curves
    rest = reference - fitted
    square, whole = rest**2 @ weights, reference**2 @ weights
    if square <= DISTINCT**2 * whole:
        raise _explained(step, "the reference spectrum")
    return Scatter(
        curves=curves.astype(np.float32),
        solve=solve.astype(np.float32),
        gain=(rest * weights / square).astype(np.float32),
        energy=(weights / square).astype(np.float32),
        kept=fitted.astype(np.float32),
    )


def _explained(step: str, what: str) -> UserError:
    return UserError(
        f"step {step!r}",
        found=f"{what}, which the other curves explain",
        expected="a shape of its own, so that its share is defined",
        do="Lower the degree, or leave it out.",
    )
