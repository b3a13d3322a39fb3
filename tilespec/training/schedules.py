"""Schedules: learning rates as pure functions of the step and of the validations before it.

They have no state to resume. Each is one small class and one line in the table; a dotted path loads a user's own. A
share multiplies ``train.rate``; steps count from the end of the warm-up. The tests compare each with
`torch.optim.lr_scheduler`, whose schedules are objects with state.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, final, runtime_checkable

from tilespec.core.errors import UserError
from tilespec.core.registry import check_options, load, options_of
from tilespec.training.settings import Train

WARM = 0.34
"""The share of the steps that a warm-up may take without a note."""
Scores = tuple[float, ...]
"""The scores of the validations so far, in order; larger is better, and -inf stands for NaN."""

SCHEDULES = {
    name: f"tilespec.training.schedules:{kind}"
    for name, kind in {
        "constant": "Constant",
        "step": "StepDecay",
        "multiplicative": "Multiplicative",
        "cosine": "Cosine",
        "one_cycle": "OneCycle",
        "cyclic": "Cyclic",
        "plateau": "Plateau",
    }.items()
}


@runtime_checkable
class Schedule(Protocol):
    """The interface of every schedule; constructor arguments ``steps`` and ``floor`` are those of the training."""

    def share(self, step: int, scores: Scores) -> float:
        """Return the share of the rate at ``step``, after validations with ``scores``."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Constant:
    """The share 1 at every step."""

    def share(self, step: int, scores: Scores) -> float:
        """Return the share 1."""
        del step, scores
        return 1.0


@final
@dataclass(frozen=True, kw_only=True)
class StepDecay:
    """A staircase: the share is multiplied by ``factor`` after every ``every`` steps."""

    every: int = 1000
    """The number of steps between two reductions."""
    factor: float = 0.1
    """The ratio of the shares after and before a reduction."""

    def __post_init__(self) -> None:
        _demand(every=(self.every, 1, math.inf), factor=(self.factor, 0, 1))

    def share(self, step: int, scores: Scores) -> float:
        """Return ``factor ** (step // every)``."""
        del scores
        return float(self.factor ** (step // self.every))


@final
@dataclass(frozen=True, kw_only=True)
class Multiplicative:
    """A share that is multiplied by ``factor`` at each step."""

    factor: float = 0.999
    """The ratio of the shares of consecutive steps."""

    def __post_init__(self) -> None:
        _demand(factor=(self.factor, 0, 1))

    def share(self, step: int, scores: Scores) -> float:
        """Return ``factor ** step``."""
        del scores
        return float(self.factor**step)


@final
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from 1 down to ``floor`` (Loshchilov and Hutter 2017, without restarts), then ``floor``."""

    steps: int
    """The number of steps until the floor; default: all of the training."""
    floor: float
    """The share at the end."""

    def __post_init__(self) -> None:
        _demand(steps=(self.steps, 1, math.inf), floor=(self.floor, 0, 1))

    def share(self, step: int, scores: Scores) -> float:
        """Return the share of the cosine at ``step``."""
        del scores
        return _between(1.0, self.floor, min(step / self.steps, 1.0))


@final
@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Half a cosine up from ``start`` to 1, then one down to ``floor`` (Smith and Topin 2018); betas are constant."""

    steps: int
    """The number of steps of the cycle; default: all of the training."""
    floor: float
    """The share at the end."""
    rise: float = 0.3
    """The part of the steps during which the share rises, 0 to 1."""
    start: float = 0.04
    """The share at the beginning."""

    def __post_init__(self) -> None:
        _demand(steps=(self.steps, 1, math.inf), floor=(self.floor, 0, 1), rise=(self.rise, 0, 1))
        _demand(start=(self.start, 0, 1))

    def share(self, step: int, scores: Scores) -> float:
        """Return the share of the rising or the falling half."""
        del scores
        top, last = self.rise * self.steps - 1, self.steps - 1
        if step <= top:
            return _between(self.start, 1.0, step / max(top, 1e-9))
        return _between(1.0, self.floor, min((step - top) / max(last - top, 1e-9), 1.0))


@final
@dataclass(frozen=True, kw_only=True)
class Cyclic:
    """Triangles between ``floor`` and 1, each half as high as the one before unless ``halve`` is false (Smith 2017)."""

    floor: float
    """The share at the beginning and the end of each triangle."""
    up: int = 2000
    """The number of steps from the floor to the top, and from there to the floor."""
    halve: bool = True
    """Whether each triangle is half as high as the one before."""

    def __post_init__(self) -> None:
        _demand(up=(self.up, 1, math.inf), floor=(self.floor, 0, 1))

    def share(self, step: int, scores: Scores) -> float:
        """Return the share at ``step``."""
        del scores
        cycle, place = divmod(step / self.up, 2)
        height = (1 - abs(place - 1)) * (0.5**cycle if self.halve else 1.0)
        return float(self.floor + (1 - self.floor) * height)


@final
@dataclass(frozen=True, kw_only=True)
class Plateau:
    """A share that is multiplied by ``factor`` after more than ``patience`` validations in a row without improvement.

    It needs ``[validate]``.
    """

    floor: float
    """The smallest share."""
    factor: float = 0.1
    """The factor of each reduction."""
    patience: int = 10
    """The number of validations without improvement before a reduction."""
    threshold: float = 1e-4
    """The improvement that counts: the score must exceed the best one by this share of it."""
    cooldown: int = 0
    """The number of validations after a reduction that are ignored."""
    burn_in: int = 0
    """The number of first validations that are ignored."""
    reload: bool = False
    """Whether a reduction goes back to the weights, and the state of the optimiser, of the best validation."""

    def __post_init__(self) -> None:
        _demand(factor=(self.factor, 0, 1), patience=(self.patience, 0, math.inf), floor=(self.floor, 0, 1))
        _demand(threshold=(self.threshold, 0, 1), cooldown=(self.cooldown, 0, math.inf))
        _demand(burn_in=(self.burn_in, 0, math.inf))

    def share(self, step: int, scores: Scores) -> float:
        """Return ``factor`` to the power of the reductions so far."""
        del step
        return float(max(self.factor ** _reductions(self, scores[self.burn_in :]), self.floor))

    def goes_back(self, scores: Scores) -> bool:
        """Return whether the last validation reduces the rate, and the training goes back to the best one."""
        return self.reload and self.share(0, scores) < self.share(0, scores[:-1])


@final
@dataclass(frozen=True, kw_only=True)
class Rate:
    """The learning rate of a training: linear up to the end of the warm-up, then by its schedule."""

    peak: float
    """The learning rate that shares multiply."""
    warmup: int
    """The number of steps of the warm-up."""
    schedule: Schedule
    """The schedule after the warm-up."""
    ends: bool
    """Whether the schedule depends on the last step of the training, so that another last step changes the course."""

    @classmethod
    def of(cls, train: Train) -> "Rate":
        """Return the rate of a configuration.

        Raises:
            UserError: the schedule does not exist, or an option is unknown or out of range.
        """
        kind = load(SCHEDULES, train.schedule.name, "train.schedule")
        options = dict(train.schedule.model_extra or {})
        check_options(kind, options, "train.schedule")
        defaults = {"steps": max(1, train.steps - train.warmup), "floor": train.floor}
        arguments = {key: value for key, value in defaults.items() if key in options_of(kind)} | options
        ends = "steps" in arguments and "steps" not in options
        return cls(peak=train.rate, warmup=train.warmup, schedule=kind(**arguments), ends=ends)

    def at(self, step: int, scores: Scores = ()) -> float:
        """Return the learning rate at ``step``."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        return self.peak * warm * self.schedule.share(max(0, step - self.warmup), scores)

    @property
    def reloads(self) -> bool:
        """Whether the training may go back, so that the state of the best validation must be stored."""
        return bool(getattr(self.schedule, "reload", False))

    def goes_back(self, scores: Scores) -> bool:
        """Return whether the training goes back to the state of the best validation, with the present rate."""
        return self.reloads and bool(getattr(self.schedule, "goes_back", bool)(scores))


def warm_up_notes(train: Train) -> list[str]:
    """Return a note on a warm-up that takes a large part of a training, as of a preset with fewer steps."""
    if train.warmup <= WARM * train.steps:
        return []
    reached = train.rate * min(1.0, train.steps / (train.warmup + 1))
    found = f"the warm-up has {train.warmup} of {train.steps} steps: the rate gets to {reached:.2g} of {train.rate:g}"
    return [f"{found}: set train.warmup={max(1, train.steps // 10)}"]


@lru_cache(maxsize=8)
def _reductions(plateau: Plateau, scores: Scores) -> int:
    """Return the number of reductions of the rate after the validations so far."""
    best, worse, cool, reductions = -math.inf, 0, 0, 0
    for score in scores:
        better = score > (best + plateau.threshold * abs(best) if math.isfinite(best) else best)
        best, worse = (score, 0) if better else (best, worse + 1)
        if cool:
            cool, worse = cool - 1, 0
        if worse > plateau.patience:
            reductions, cool, worse = reductions + 1, plateau.cooldown, 0
    return reductions


def _between(start: float, end: float, done: float) -> float:
    """Return half a cosine from ``start`` (``done`` = 0) to ``end`` (``done`` = 1)."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))


def _demand(**limits: tuple[Any, float, float]) -> None:
    """Refuse options that are not finite, or are out of range: ``name=(value, least, most)``."""
    for name, (value, least, most) in limits.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            span = f"at least {least}" if math.isinf(most) else f"{least} to {most}"
            raise UserError(
                f"train.schedule.{name}", found=repr(value), expected=f"a number, {span}", do="Change that value."
            )
