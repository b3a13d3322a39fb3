"""Objectives that go wrong at steps that are told: by a loss, by a gradient behind a good loss, in one patch only."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from tilespec.training.objectives.base import Batch, Move
from tilespec.training.objectives.supervised import Supervised

FAULTS = {
    "nan": lambda loss: loss * torch.nan,
    "inf": lambda loss: loss * torch.inf,
    "gradient": lambda loss: loss + torch.sqrt(loss * 0),  # 0, with a slope that is none
    "input": lambda loss: loss,  # what the net reads is no number, which spoils running means too
}


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """Supervised, but for the patches whose number divided by ``batch`` is one of ``steps``."""

    task: Any
    steps: Any = ()
    first: int = 10**9
    batch: int = 2
    patch: int = 0
    fault: str = "nan"

    def opponents(self, channels):
        return {}

    def moves(self, players, batch: Batch):
        here = any(i % self.batch == self.patch and self._at(i // self.batch) for i in batch.ids)
        if here and self.fault == "input":
            batch = replace(batch, x=batch.x * torch.nan)
        (move,) = Supervised(task=self.task).moves(players, batch)

        def terms():
            for loss in move.terms:
                bad = FAULTS[self.fault](loss) if here else loss
                move.logs["cross_entropy"] = bad
                yield bad

        yield Move(player=move.player, terms=terms(), logs=move.logs)

    def _at(self, step):
        return step in self.steps or step >= self.first
