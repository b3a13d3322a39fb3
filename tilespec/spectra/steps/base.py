"""Base: the interface of a step, the data for its fit, the result of its fit, and readers of parameters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, final, runtime_checkable

from tilespec.core.errors import UserError
from tilespec.core.types import Spectra
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Operator

Kind = Literal["plain", "sampled", "folded"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fitting:
    """The data that a step is fitted on."""

    bands: Bands
    """The bands before the step."""
    sample: Spectra
    """Valid pixels from all over the region after the earlier steps, ``pixel band``."""
    reduce: Callable[[Any], Any]
    """The function that adds a statistic of every pixel of the region after the earlier steps, without finishing it."""
    before: tuple[Operator, ...]
    """The operators of the earlier steps."""
    seed: int
    """The seed of all random draws."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """The result of fitting a step."""

    operator: Operator
    """The operator of the step."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The facts of the fit, as plain data for the result and the recipe's JSON file."""


@runtime_checkable
class Step(Protocol):
    """A step of a recipe, as the table lists it; a frozen dataclass of plain data.

    Some steps have further attributes that are true; a missing attribute counts as false (`declares`):

    - ``counts_weights``: the fit counts every pixel by its weight.
    - ``refuses_weights``: the fit is undefined for weighted pixels.
    - ``gives_deviations``: the operator is a `Project`, which holds the variance of every component.
    - ``takes_deviations``: the fit reads no pixel just after a step that gives deviations.
    """

    @property
    def kind(self) -> Kind:
        """The data that a fit needs: ``plain``, ``sampled`` or ``folded``."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> Any:
        """Return the step with the parameters that were written after ``=``, split at colons."""

    def plan(self, bands: Bands) -> Bands:
        """Return the bands after the step; refuse bands that the step cannot use."""

    def fit(self, on: Fitting) -> Fitted:
        """Return the fitted operator with its facts."""


def declares(step: Step | None, attribute: str) -> bool:
    """Return whether an attribute of a step is true; a missing step or attribute counts as false."""
    return bool(getattr(step, attribute, False))


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
    """Refuse parameters for a step that has none."""
    if args:
        raise bad_step(step, ":".join(args), f"{step}, without parameters")


def two_bands(step: str, bands: Bands) -> Bands:
    """Return the same bands; refuse a single band, because its spectrum has no shape."""
    if bands.count < 2:
        raise UserError(f"step {step!r}", found="1 band", expected="at least 2", do="Leave the step out.")
    return bands


def bad_step(step: str, found: object, usage: str) -> UserError:
    """Return the error for a step with invalid parameters."""
    return UserError(f"step {step!r}", found=repr(found), expected=usage, do="Correct --steps (or recipe.steps).")
