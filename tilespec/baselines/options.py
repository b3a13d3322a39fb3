"""What a baseline was asked: its options, checked before anything is read."""

from dataclasses import dataclass, fields
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED

ALL = "all"
AUTO = "auto"
MOST = 20
"""Latent variables that ``auto`` tries at most, where no other number is given."""

RANGES = {
    "folds": (2, 100),
    "clusters": (2, UNLABELLED - 1),
    "passes": (1, 10_000),
    "degree": (1, 6),
    "centres": (1, 500),
}
"""Options that are whole numbers, and between which."""


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of all methods; each method says which of them it uses (``USES``)."""

    components: int | str = 6
    """Latent variables; ``auto`` or ``auto:N``: chosen among 1 to 20, or to N, by cross-validation."""
    samples: int | str | None = None
    """Labelled pixels to learn from; ``all`` or 0: every one of the region, out of core; None: the method's number."""
    threshold: float = 0.69
    """Of NDVI."""
    folds: int = 5
    """Of the cross-validation: groups of squares of the region."""
    scale: bool = False
    """Divide each band by its deviation (PLS-DA)."""
    references: str | None = None
    """CSV file of spectra, one for each class."""
    max_angle: float | None = None
    """Radians beyond which a pixel has no class."""
    clusters: int = 8
    """Of k-means."""
    passes: int = 50
    """Over the region, of k-means: at most."""
    penalty: float = 1.0
    """C of the support vector machine and of the logistic regression: large fits closely, small shrinks."""
    ridge: float | None = None
    """Penalty on squared weights of standardised terms, over the mean squared error; None: the method's own."""
    degree: int = 2
    """Of a polynomial."""
    root: bool = False
    """Take the n-th root of monomials of degree n."""
    centres: int = 50
    """Of radial basis functions."""
    diagnostics: bool = False
    """Write Q residuals and Hotelling's T2 beside the prediction."""

    def __post_init__(self) -> None:
        """Refuse what no method can do."""
        self.latent, self.count  # noqa: B018 - both parse, and refuse what they cannot
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise _refused(name, getattr(self, name), f"{low} to {high}")
        if self.ridge is not None and not 0 <= self.ridge < float("inf"):
            raise _refused("ridge", self.ridge, "0, or a number above it")
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
        text = str(self.components).removeprefix(f"{AUTO}:")
        return MOST if text == AUTO else _whole("components", text, "a number from 1, auto, or auto:N", 1)

    @property
    def count(self) -> int | None:
        """Labelled pixels; 0 for all, None for the method's own number."""
        if self.samples is None:
            return None
        return 0 if self.samples == ALL else _whole("samples", str(self.samples), "a number of pixels, or all", 0)


def unused(asked: Asked, uses: tuple[str, ...]) -> list[str]:
    """Return a note for each option that was given and that the method does not use."""
    given = [field.name for field in fields(Asked) if str(getattr(asked, field.name)) != str(field.default)]
    return [f"--{name.replace('_', '-')} is of no use to this method" for name in given if name not in uses]


def options(given: dict[str, Any]) -> Asked:
    """Return the options by name; refuse unknown names as Python does."""
    known = {field.name for field in fields(Asked)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise TypeError(f"baseline() has no option {unknown[0]!r}; options are {', '.join(sorted(known))}")
    return Asked(**given)


def _whole(name: str, text: str, expected: str, least: int) -> int:
    """Return a whole number of ``least`` or more."""
    if not text.isdecimal() or int(text) < least:
        raise _refused(name, repr(text), expected)
    return int(text)


def _refused(name: str, found: object, expected: str) -> UserError:
    option = name.replace("_", "-")
    return UserError(f"--{option}", found=found, expected=expected, do=f"Give another --{option}.")
