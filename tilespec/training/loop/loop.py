"""Loop: step after step, from wherever a training stands to its end. What a step does is `moves`."""

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.training.loop.moves import Mover
from tilespec.training.loop.throughput import Batches, Pace, Reader
from tilespec.training.loop.weight_average import Averaged
from tilespec.training.objectives.base import Batch
from tilespec.training.player import Player
from tilespec.training.ranks.group import Ranks
from tilespec.training.run import checkpoint, run_folder
from tilespec.training.run.log import Journal
from tilespec.training.schedules import Rate
from tilespec.training.settings import Train
from tilespec.training.validation.judge import Judge


@runtime_checkable
class Change(Protocol):
    """What happens to a batch before it is learned from."""

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        ...


class Made(NamedTuple):
    """What a step came to; the same on all ranks."""

    losses: dict[str, float]
    """Means over the ranks."""
    norms: dict[str, float]
    """Of the gradients of each player; of several moves the largest."""
    rate: float
    """That it was learned at."""
    told: bool
    """Whether a rank was told to stop."""

    @property
    def good(self) -> bool:
        """Whether all are numbers."""
        return all(math.isfinite(value) for value in (*self.losses.values(), *self.norms.values()))


class Tally(NamedTuple):
    """What a training has come to."""

    done: int
    """Steps."""
    losses: dict[str, float]
    """Of the last one."""
    skipped: int = 0
    """Steps since it was begun, or resumed, that were no good."""
    bad: int = 0
    """Those in a row, up to now."""

    def after(self, made: Made) -> "Tally":
        """Return the tally after one more step."""
        if made.good:
            return Tally(self.done + 1, made.losses, self.skipped)
        return Tally(self.done + 1, made.losses, self.skipped + 1, self.bad + 1)


@final
@dataclass(frozen=True, kw_only=True)
class Loop:
    """The loop of one rank."""

    train: Train
    """Settings."""
    folder: Path
    """Of the training."""
    ranks: Ranks
    """This process among all."""
    players: Mapping[str, Player]
    """By name; ``generator`` is what is kept."""
    mover: Mover
    """What makes a step's moves."""
    augment: Change
    """What happens to a batch, on the device."""
    rate: Rate
    """Of learning, by step and validations."""
    judge: Judge
    """Of the weights."""
    average: Averaged | None
    """Of the generator's weights, in rank 0, if it is asked for."""
    journal: Journal | None
    """The log, in rank 0."""

    def run(self, start: int, loader: Batches, reader: Reader, progress: Progress) -> dict[str, Any]:
        """Do the steps from ``start`` to the last, or to where it stops early; return what they came to.

        Raises:
            KeyboardInterrupt: a rank was told to stop; the last good step has its checkpoint.
            UserError: losses, gradients or weights that are no numbers, for longer than settings allow.
        """
        last, pace = start if self.judge.stopped else self.train.steps, Pace(loader, reader)
        tally = Tally(start, {} if self.journal is None else self.journal.losses)
        progress.start("train", last - start, "steps")
        with closing(loader.batches(start, last)) as batches:
            for step, batch in enumerate(batches, start):
                made = self._step(step, batch)
                tally = tally.after(made)
                self._settle(tally, made)
                judged = self._judged(tally.done, progress)
                end = tally.done == last or self.judge.stopped
                self._keep(tally, {"step": step, **_line(made, judged)}, pace, now=end or made.told)
                progress.advance(1, _said(made.losses))
                if end:
                    break
                if made.told:
                    self.ranks.agree(0)  # nobody leaves before the checkpoint is written
                    raise KeyboardInterrupt
        progress.finish()
        figures = pace.total(tally.done - start)
        return {"steps": tally.done, "resumed_from": start, **figures, "losses": tally.losses, "skipped": tally.skipped}

    def weights(self) -> dict[str, Tensor]:
        """Return the generator's state as it is judged and published: averaged, if that is asked for."""
        return dict(self.players["generator"].module.state_dict() if self.average is None else self.average.tensors)

    def _step(self, step: int, batch: Batch) -> Made:
        """Do one step."""
        rate = self.rate.at(step, self.judge.scores)
        for player in self.players.values():
            for group in player.optimiser.param_groups:
                group["lr"] = rate
        losses, norms = self.mover.step(self.augment(batch.to(self.ranks.device)))
        own = torch.stack([*losses.values()])
        means = self.ranks.mean(torch.cat([own, own.new_full((1,), float(self.ranks.told()))]))
        values = torch.cat([means, torch.stack([*norms.values()])]).tolist()  # once a step the device is waited for
        shared, told, moved = values[: len(losses)], values[len(losses)], values[len(losses) + 1 :]
        named = dict(zip(losses, shared, strict=True)), dict(zip(norms, moved, strict=True))
        return Made(*named, rate=rate, told=told > 0)

    def _settle(self, tally: Tally, made: Made) -> None:
        """Take in a good step, or undo a bad one; despair of too many."""
        step = tally.done - 1
        if made.good:
            if self.average is not None:
                self.average.update(step)
            return
        self.mover.statistics.put_back()
        if tally.bad > self.train.bad_steps or tally.done == self.train.steps:
            figures = {**made.losses, **{f"gradient of {name}": norm for name, norm in made.norms.items()}}
            values = ", ".join(f"{name} {value:g}" for name, value in figures.items())
            raise _hopeless(self.folder, f"losses at step {step}: {values}", tally.bad)

    def _judged(self, done: int, progress: Progress) -> dict[str, Any]:
        """Return the metrics of the weights after ``done`` steps, nothing when it is not time for that."""
        if not self.judge.due(done):
            return {}
        judged = self.judge.look(done, self.weights)
        progress.say(f"validated after {done} steps: {_said(judged)}")
        return judged

    def _keep(self, tally: Tally, line: dict[str, Any], pace: Pace, *, now: bool) -> None:
        """Write the log and a checkpoint when it is time, or ``now``; no checkpoint of a step that was no good."""
        if self.journal is None:
            return
        if now or tally.done % self.train.log_every == 0:
            self.journal.write({**line, **pace.now(tally.done)})
        if not tally.bad and (now or tally.done % self.train.checkpoint_every == 0):
            tensors = checkpoint.state(self.players, None if self.average is None else self.average.tensors)
            if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
                raise _hopeless(self.folder, f"weights after step {tally.done - 1} that are no numbers", 1)
            checkpoint.save(self.folder / run_folder.CHECKPOINTS, tally.done, tensors, self.judge.lines)


def _said(figures: Mapping[str, float | None]) -> str:
    """Return figures as a user reads them."""
    return " ".join(f"{name} {'-' if value is None else format(value, '.3g')}" for name, value in figures.items())


def _line(made: Made, judged: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is logged about a step; None stands for what is no number, which JSON does not have."""
    losses, norms = ({k: v if math.isfinite(v) else None for k, v in f.items()} for f in (made.losses, made.norms))
    return {**losses, "rate": made.rate, "norms": norms, **({"validation": judged} if judged else {})}


def _hopeless(folder: Path, found: str, bad: int) -> UserError:
    """Return why a training cannot go on."""
    return UserError(
        folder,
        found=f"{found}; {bad} such steps in a row" if bad > 1 else found,
        expected="finite losses, gradients and weights",
        do="The last good checkpoint is kept. Lower train.rate or set train.clip in another --out, or look for bad "
        "reflectance.",
    )
