"""What a step is, what it is fitted on, and what fitting returns; helpers that read the parameters of steps."""

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
    """What the table of steps lists; a frozen dataclass of plain data.

    Four more attributes are true of some steps; a step leaves out what is not true of it (`declares`):

    - ``counts_weights``: the fit counts every pixel by its weight.
    - ``refuses_weights``: the fit has no meaning for weighted pixels.
    - ``gives_deviations``: the operator is a `Project`, which holds the variance of every component.
    - ``takes_deviations``: just after a step that gives deviations, the fit reads no pixel.
    """

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


def declares(step: Step | None, attribute: str) -> bool:
    """Return whether an attribute of a step is true; it is not where there is no step, or no such attribute."""
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
