"""Loop: the steps from the present state of a training to its end. `moves` defines a step."""

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.storage.backends.base import StorePath
from tilespec.training.loop.moves import StepRunner
from tilespec.training.loop.throughput import Batches, Reader, Throughput
from tilespec.training.loop.weight_average import WeightAverage
from tilespec.training.objectives.base import Items
from tilespec.training.player import Player
from tilespec.training.ranks.group import Ranks
from tilespec.training.run import checkpoint, run_folder
from tilespec.training.run.log import TrainingLog
from tilespec.training.schedules import Rate
from tilespec.training.settings import Train
from tilespec.training.validation.judge import Judge


@runtime_checkable
class Change(Protocol):
    """A change of a batch before its step."""

    def __call__(self, batch: Items) -> Items:
        """Return the changed batch."""
        ...


class StepResult(NamedTuple):
    """The result of a step, the same on all ranks."""

    losses: dict[str, float]
    """The losses by name, averaged over the ranks."""
    norms: dict[str, float]
    """The norm of the gradients of each player; of several moves the largest."""
    rate: float
    """The learning rate of the step."""
    stopping: bool
    """Whether a rank has received a request to stop."""

    @property
    def good(self) -> bool:
        """Whether all losses and norms are finite."""
        return all(math.isfinite(value) for value in (*self.losses.values(), *self.norms.values()))


class TrainingState(NamedTuple):
    """The state of a training's counts."""

    done: int
    """The number of steps."""
    losses: dict[str, float]
    """The losses of the last step."""
    skipped: int = 0
    """The number of skipped steps since the training began or resumed."""
    bad: int = 0
    """The number of skipped steps in a row until now."""

    def after(self, result: StepResult) -> "TrainingState":
        """Return the counts after one more step."""
        if result.good:
            return TrainingState(self.done + 1, result.losses, self.skipped)
        return TrainingState(self.done + 1, result.losses, self.skipped + 1, self.bad + 1)


@final
@dataclass(frozen=True, kw_only=True)
class Loop:
    """The loop of one rank."""

    train: Train
    """The settings ``[train]``."""
    folder: StorePath
    """The folder of the training."""
    ranks: Ranks
    """This process among all ranks."""
    players: Mapping[str, Player]
    """The nets by name; ``generator`` is the net of the model."""
    runner: StepRunner
    """The object that executes the moves of a step."""
    augment: Change
    """The augmentation of a batch, on the device."""
    rate: Rate
    """The learning rate by step and validations."""
    judge: Judge
    """The validations of the weights."""
    average: WeightAverage | None
    """The average of the generator's weights, in rank 0, if it is requested."""
    log: TrainingLog | None
    """The log, in rank 0."""

    def run(self, start: int, loader: Batches, reader: Reader, progress: Progress) -> dict[str, Any]:
        """Run the steps from ``start`` to the last, or to an early stop; return the final counts.

        Raises:
            KeyboardInterrupt: a rank received a request to stop; the last valid step has its checkpoint.
            UserError: losses, gradients or weights are NaN or infinite for more steps than the settings allow.
        """
        last, throughput = start if self.judge.stopped else self.train.steps, Throughput(loader, reader)
        tally = TrainingState(start, {} if self.log is None else self.log.losses)
        progress.start("train", last - start, "steps")
        with closing(loader.batches(start, last)) as batches:
            for step, batch in enumerate(batches, start):
                result = self._step(step, batch)
                tally = tally.after(result)
                self._settle(tally, result)
                figures_now = self._validate(tally.done, progress)
                end = tally.done == last or self.judge.stopped
                self._keep(tally, {"step": step, **_line(result, figures_now)}, throughput, now=end or result.stopping)
                progress.advance(1, _readable(result.losses))
                if end:
                    break
                if result.stopping:
                    self.ranks.agree(0)  # no rank ends before the checkpoint is written
                    raise KeyboardInterrupt
        progress.finish()
        figures = throughput.total(tally.done - start)
        return {"steps": tally.done, "resumed_from": start, **figures, "losses": tally.losses, "skipped": tally.skipped}

    def weights(self) -> dict[str, Tensor]:
        """Return the generator's state for validation and the model: averaged, if that is requested."""
        return dict(self.players["generator"].module.state_dict() if self.average is None else self.average.tensors)

    def _state(self) -> dict[str, Tensor]:
        """Return the tensors of all players, and their average."""
        return checkpoint.state(self.players, None if self.average is None else self.average.tensors)

    def _step(self, step: int, batch: Items) -> StepResult:
        """Run one step and return its result."""
        rate = self.rate.at(step, self.judge.scores)
        for player in self.players.values():
            for group in player.optimiser.param_groups:
                group["lr"] = rate
        losses, norms = self.runner.step(self.augment(batch.to(self.ranks.device)))
        own = torch.stack([*losses.values()])
        means = self.ranks.mean(torch.cat([own, own.new_full((1,), float(self.ranks.stopping()))]))
        values = torch.cat([means, torch.stack([*norms.values()])]).tolist()  # the only wait for the device in a step
        shared, stop, moved = values[: len(losses)], values[len(losses)], values[len(losses) + 1 :]
        named = dict(zip(losses, shared, strict=True)), dict(zip(norms, moved, strict=True))
        return StepResult(*named, rate=rate, stopping=stop > 0)

    def _settle(self, tally: TrainingState, result: StepResult) -> None:
        """Accept a valid step, or undo an invalid one; end the training after too many."""
        step = tally.done - 1
        if result.good:
            if self.average is not None:
                self.average.update(step)
            return
        self.runner.statistics.put_back()
        if tally.bad > self.train.bad_steps or tally.done == self.train.steps:
            figures = {**result.losses, **{f"gradient of {name}": norm for name, norm in result.norms.items()}}
            values = ", ".join(f"{name} {value:g}" for name, value in figures.items())
            raise _hopeless(self.folder, f"losses at step {step}: {values}", tally.bad)

    def _validate(self, done: int, progress: Progress) -> dict[str, Any]:
        """Return the metrics of the weights after ``done`` steps, empty when no validation is due."""
        if not self.judge.due(done):
            return {}
        figures = self.judge.look(done, self.weights)
        if self.rate.reloads:
            self.judge.remember(done, self._state)
        if self.rate.goes_back(self.judge.scores) and self.judge.best is not None:
            self.ranks.agree(0)  # the state of the best validation is written
            tensors = None if self.average is None else self.average.tensors
            checkpoint.restore(self.players, self.judge.best_state(), tensors, where=self.folder)
            progress.say(f"the rate falls, and the training goes back to the weights of step {self.judge.best}")
        progress.say(f"validated after {done} steps: {_readable(figures)}")
        return figures

    def _keep(self, tally: TrainingState, line: dict[str, Any], throughput: Throughput, *, now: bool) -> None:
        """Write the log and a checkpoint when they are due, or ``now``; an invalid step has no checkpoint."""
        if self.log is None:
            return
        if now or tally.done % self.train.log_every == 0:
            self.log.write({**line, **throughput.now(tally.done)})
        if not tally.bad and (now or tally.done % self.train.checkpoint_every == 0):
            tensors = self._state()
            if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
                raise _hopeless(self.folder, f"weights after step {tally.done - 1} that are NaN or infinite", 1)
            self.log.flush()
            checkpoint.save(self.folder / run_folder.CHECKPOINTS, tally.done, tensors, self.judge.lines)


def _readable(figures: Mapping[str, float | None]) -> str:
    """Return figures as text for the user."""
    return " ".join(f"{name} {'-' if value is None else format(value, '.3g')}" for name, value in figures.items())


def _line(result: StepResult, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the log line of a step; NaN and infinity become None, because JSON does not have them."""
    losses, norms = ({k: v if math.isfinite(v) else None for k, v in f.items()} for f in (result.losses, result.norms))
    return {**losses, "rate": result.rate, "norms": norms, **({"validation": figures} if figures else {})}


def _hopeless(folder: StorePath, found: str, bad: int) -> UserError:
    """Return the reason why a training cannot continue."""
    return UserError(
        folder,
        found=f"{found}; {bad} such steps in a row" if bad > 1 else found,
        expected="finite losses, gradients and weights",
        do="The last good checkpoint is kept. Lower train.rate or set train.clip in another --out, or look for bad "
        "reflectance.",
    )
