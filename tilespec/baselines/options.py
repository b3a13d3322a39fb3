"""Options of `baseline`, checked before anything is read."""

from dataclasses import dataclass, field, fields
from typing import final

from tilespec.core.errors import UserError
from tilespec.core.options import MASK, SPAN, DryRun, Overwrite, Seeded, Workers

ALL = "all"
AUTO = "auto"
COMPONENTS = 6
"""Latent variables of a classifier, where no number is given."""
MOST = 20
"""Latent variables that ``auto`` tries at most, where no other number is given."""

RANGES = {
    "folds": (2, 100),
    "clusters": (2, 254),  # 255 is no class
    "passes": (1, 10_000),
    "degree": (1, 6),
    "centres": (1, 500),
}
"""Options that are whole numbers, and between which."""


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """The options of single methods; each method says which of them it uses (``USES``)."""

    components: int | str | None = None
    """The method has this many latent variables; auto and auto:N choose the best number up to 20, or to N, by
    cross-validation (plsda, plsr). The default is 6 for plsda and auto for plsr."""
    samples: int | str | None = None
    """The method is fitted on this many spectra, or on all (or 0, plsda); the default is 3000 for plsda, 200,000 for
    mlp and 20,000 for others."""
    synthetic: str | None = field(default=None, metadata={"metavar": "STORE"})
    """The method is fitted on synthetic spectra too: those of this table or scene, which `synth` wrote; or gaussians,
    mixtures or gain-noise, as many as drawn labelled pixels and made from them (svm, logistic, mlp, plsda)."""
    threshold: float = 0.69
    """A pixel is plant where its NDVI is above this (ndvi)."""
    folds: int = 5
    """Cross-validation has this many folds, each a group of squares of the region (plsda), or of samples (plsr,
    ridge, linear)."""
    held_out: float = 0.0
    """This share of the samples is not fitted: it tests the regression, and its errors make the intervals of sample
    means (plsr, ridge, linear)."""
    references: str | None = None
    """A CSV file wavelength,NAME,NAME,... gives the spectrum of each class (sam); a CSV file ID,NAME [UNIT],... gives
    the numbers of each sample (plsr, ridge, linear)."""
    column: str | None = None
    """The regression is on these columns of ``references``, separated by commas; the default is all (plsr, ridge,
    linear)."""
    samples_layer: str | None = field(default=None, metadata={"metavar": "LAYER"})
    """The samples are the numbers of this layer of a scene, 0 for none; without it each scene is a sample, whose id is
    the name of its store (plsr, ridge, linear)."""
    mask: str | None = field(default=None, metadata=MASK)
    """The sample of a scene is this layer: its labelled pixels, or those that are not 0; or those above a threshold on
    a vegetation index, such as NDVI>0.3 (plsr, ridge, linear)."""
    reference_error: str = "0"
    """The reference numbers have errors of this standard deviation, in their unit, one for all or one for each
    column; intervals of pixels are for what is there, without these errors (plsr, ridge, linear)."""
    max_angle: float | None = None
    """A pixel beyond this angle, in radians, from all classes has none: it is 255 (sam)."""
    clusters: int = 8
    """Spectra are divided into this many clusters (kmeans)."""
    passes: int = 50
    """The region is read at most this many times (kmeans)."""
    penalty: float = 1.0
    """A large penalty C fits the samples closely, a small one shrinks the weights (svm, logistic)."""
    hidden: str = field(default="64,64", metadata={"metavar": "N,N,..."})
    """Hidden layers have this many units (mlp)."""
    degree: int = 2
    """Monomials of the bands go up to this degree (polynomial)."""
    centres: int = 50
    """Spectra are described by their distances from this many centres (rbf)."""
    ridge: float | None = None
    """Squared weights of standardised terms are penalised by this, over the mean squared error; the default is 0 for
    linear, 1e-6 for polynomial and rbf, and chosen by cross-validation for ridge."""
    root: bool = False
    """Take the n-th root of monomials of degree n, which suits linear light (polynomial)."""
    scale: bool = False
    """Divide each band by its standard deviation (plsda, plsr)."""
    diagnostics: bool = False
    """Write Q, T2 and DModX of every pixel into OUT.diagnostics (plsda, plsr)."""

    def __post_init__(self) -> None:
        """Refuse what no method can do."""
        self.latent, self.count, self.layers  # noqa: B018 - they parse, and refuse what they cannot
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise _refused(name, getattr(self, name), f"{low} to {high}")
        if self.ridge is not None and not 0 <= self.ridge < float("inf"):
            raise _refused("ridge", self.ridge, "0, or a number above it")
        if not 0 <= self.held_out <= 0.8:
            raise _refused("held_out", self.held_out, "a share of the samples, 0 to 0.8")
        if not self.penalty > 0:
            raise _refused("penalty", self.penalty, "a number above 0")
        if self.max_angle is not None and not 0 < self.max_angle < 3.2:
            raise _refused("max_angle", self.max_angle, "radians above 0, at most pi (0.1 is about 6 degrees)")

    @property
    def auto(self) -> bool:
        """Whether cross-validation chooses the number of latent variables."""
        return str(self.components).partition(":")[0] == AUTO

    @property
    def latent(self) -> int:
        """Latent variables, or how many there may be at most."""
        text = str(COMPONENTS if self.components is None else self.components).removeprefix(f"{AUTO}:")
        return MOST if text == AUTO else _whole("components", text, "a number from 1, auto, or auto:N", 1)

    @property
    def layers(self) -> tuple[int, ...]:
        """The units of the hidden layers."""
        return tuple(
            _whole("hidden", part.strip(), "numbers of units, such as 64,64", 1) for part in str(self.hidden).split(",")
        )

    @property
    def count(self) -> int | None:
        """Labelled pixels; 0 for all, None for the method's own number."""
        if self.samples is None:
            return None
        return 0 if self.samples == ALL else _whole("samples", str(self.samples), "a number of pixels, or all", 0)


@final
@dataclass(frozen=True, kw_only=True)
class BaselineOptions(MethodOptions, Seeded, Workers, DryRun, Overwrite):
    """The options of `baseline`."""

    labels: str | None = field(default=None, metadata={"metavar": "STORE"})
    """The classes are the labels of this store, on the same plane, instead of the scene's own."""
    target: str | None = None
    """A regression answers with the spectra of this scene, on the same plane (linear, polynomial, rbf)."""
    recipe: str | None = None
    """A fitted recipe's folder, or steps to fit on the region, replace the method's own steps; auto chooses them by
    cross-validation (plsr, ridge)."""
    rows: str | None = field(default=None, metadata=SPAN)
    """Fit only on the rows from A up to B, without B."""
    cols: str | None = field(default=None, metadata=SPAN)
    """Fit only on the columns from A up to B, without B."""
    opening: int = 0
    """The prediction is opened morphologically with this radius, in pixels; 0 leaves it as it is."""


def unused(options: MethodOptions, uses: tuple[str, ...]) -> list[str]:
    """Return a note for each option that was given and that the method does not use."""
    given = [each.name for each in fields(MethodOptions) if str(getattr(options, each.name)) != str(each.default)]
    return [f"--{name.replace('_', '-')} is of no use to this method" for name in given if name not in uses]


def _whole(name: str, text: str, expected: str, least: int) -> int:
    """Return a whole number of ``least`` or more."""
    if not text.isdecimal() or int(text) < least:
        raise _refused(name, repr(text), expected)
    return int(text)


def _refused(name: str, found: object, expected: str) -> UserError:
    option = name.replace("_", "-")
    return UserError(f"--{option}", found=found, expected=expected, do=f"Give another --{option}.")
