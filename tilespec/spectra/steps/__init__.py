"""Steps: what a user asks a recipe to do, written ``crop=450:950,sg=11:2:1,vsn,pca=4``, and how each is fitted.

A step is a small frozen value; fitting it gives an operator (`tilespec.spectra.operators`). Three kinds: ``plain``
needs no data, ``sampled`` looks at some hundred pixels, ``folded`` needs a statistic of every pixel and so a pass.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol, final, runtime_checkable

from tilespec.core.errors import UserError
from tilespec.core.registry import from_user, load
from tilespec.core.types import Spectra
from tilespec.spectra.operators import Bands, Operator

STEPS = {
    "crop": "tilespec.spectra.steps.crop:Crop",
    "drop": "tilespec.spectra.steps.crop:Drop",
    "snv": "tilespec.spectra.steps.normalise:Snv",
    "vsn": "tilespec.spectra.steps.normalise:Vsn",
    "msc": "tilespec.spectra.steps.scatter:Msc",
    "emsc": "tilespec.spectra.steps.scatter:Emsc",
    "sg": "tilespec.spectra.steps.savgol:SavGol",
    "als": "tilespec.spectra.steps.baseline:Als",
    "arpls": "tilespec.spectra.steps.baseline:Arpls",
    "continuum": "tilespec.spectra.steps.continuum:ContinuumRemoval",
    "absorbance": "tilespec.spectra.steps.absorbance:Absorbance",
    "reflectance": "tilespec.spectra.steps.absorbance:Reflectance",
    "light": "tilespec.spectra.steps.absorbance:LinearLight",
    "resample": "tilespec.spectra.steps.resample:Resampling",
    "span": "tilespec.spectra.steps.scaling:Spanning",
    "minmax": "tilespec.spectra.steps.scaling:MinMax",
    "scale": "tilespec.spectra.steps.scaling:Scale",
    "mean": "tilespec.spectra.steps.scaling:Centre",
    "autoscale": "tilespec.spectra.steps.scaling:Autoscale",
    "pca": "tilespec.spectra.steps.pca:Pca",
    "mnf": "tilespec.spectra.steps.mnf:Mnf",
}
"""Steps by name: one small class and one line here, or a user's ``package.module:Class``."""

Kind = Literal["plain", "sampled", "folded"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fitting:
    """What a step is fitted on."""

    bands: Bands
    """What arrives at the step."""
    sample: Spectra
    """Valid pixels from all over the region, through the steps before."""
    fold: Callable[[Any], Any]
    """Runs a pass: a fold over every pixel of the region, through the steps before; not finished."""
    before: tuple[Operator, ...]
    """The fitted steps before."""
    seed: int
    """Of whatever is drawn."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A step that was fitted."""

    operator: Operator
    """What it does."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What fitting found out: plain data for the result and the recipe's card."""


@runtime_checkable
class Step(Protocol):
    """What the table of steps lists; a frozen dataclass of plain data."""

    @property
    def kind(self) -> Kind:
        """What fitting needs; of most steps a class variable."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> Any:
        """Return the step with the parameters that were written after ``=``, split at colons."""

    def plan(self, bands: Bands) -> Bands:
        """Return the bands afterwards; refuse what cannot be done with these bands."""

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator."""


def parse(text: str) -> tuple[Step, ...]:
    """Return the steps that ``text`` lists, separated by commas; no steps for an empty text.

    Raises:
        UserError: an unknown step (the known ones are listed), or parameters that a step cannot read.
    """
    return tuple(_step(name, args) for name, args in _parts(text))


def from_user_steps(text: str) -> str:
    """Return ``text``, which the user wrote: steps of the user's own that it names may be loaded from now on."""
    for name, _ in _parts(text):
        from_user(name)
    return text


def _parts(text: str) -> list[tuple[str, str]]:
    """Return the name and the parameters of every step that ``text`` lists."""
    parts = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return [(name.strip(), args) for name, _, args in parts]


def _step(name: str, args: str) -> Step:
    step: Step = load(STEPS, name, "step").parse(tuple(args.split(":")) if args else ())
    return step


def plan(steps: tuple[Step, ...], bands: Bands) -> Bands:
    """Return the bands after all steps, so that what cannot be done is refused before any pass."""
    for step in steps:
        bands = step.plan(bands)
    return bands


def passes(steps: tuple[Step, ...]) -> int:
    """Return how many times the cube is read whole: `scale` just after `pca` knows its deviations already."""
    names = [type(step).__name__ for step in steps]
    free = sum(pair == ("Pca", "Scale") for pair in pairwise(names))
    return sum(step.kind == "folded" for step in steps) - free


def numbers(step: str, args: tuple[str, ...], usage: str, kinds: tuple[type[Any], ...]) -> list[Any]:
    """Return the parameters of a step as numbers of ``kinds``; too many or unreadable ones show ``usage``."""
    wrong = bad_step(step, ":".join(args), usage)
    if len(args) > len(kinds):
        raise wrong
    try:
        return [kind(arg) for kind, arg in zip(kinds, args, strict=False)]
    except ValueError:
        raise wrong from None


def no_parameters(step: str, args: tuple[str, ...]) -> None:
    """Refuse parameters where there are none."""
    if args:
        raise bad_step(step, ":".join(args), f"{step}, without parameters")


def two_bands(step: str, bands: Bands) -> Bands:
    """Return the same bands; refuse a spectrum of one band, which has no shape."""
    if bands.count < 2:
        raise UserError(f"step {step!r}", found="1 band", expected="at least 2", do="Leave the step out.")
    return bands


def bad_step(step: str, found: object, usage: str) -> UserError:
    """Return the error for a step with parameters that it cannot take."""
    return UserError(f"step {step!r}", found=repr(found), expected=usage, do="Correct --steps (or recipe.steps).")


__all__ = [
    "STEPS",
    "Fitted",
    "Fitting",
    "Kind",
    "Step",
    "bad_step",
    "from_user_steps",
    "no_parameters",
    "numbers",
    "parse",
    "passes",
    "plan",
]
