"""What is trained: from where, at which size, by whom, how often."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from scenes import Data
from train_data import source
from train_job import SIZES, Training
from train_ways import FROM, KEEPS, RANKS

ROUNDS = 2
"""Repeats of the ceiling and of tilespec; peers run once."""
DEFAULT = ("w32-p256", "w64-p512")
"""Sizes of the full run."""


@final
@dataclass(frozen=True, kw_only=True)
class Case:
    work: str
    """``memory``, ``scores`` or ``raw``: where batches come from."""
    size: str
    """Name in the table of `train_job.py`."""
    way: str
    """Name of a competitor."""
    rounds: int = 1
    """How often it runs."""

    @property
    def key(self) -> str:
        return f"{self.work}/{self.size}/{self.way}"

    def job(self, data: Data, out: Path, steps: int) -> Training:
        """Return the job of one run."""
        raw = self.work == "raw"
        return Training(
            way=self.way,
            source=str(data.raw if raw else source(data)),
            recipe=str(data.recipe) if raw else "",
            size=self.size,
            out=str(out),
            steps=steps or (SIZES[self.size].long if self.way in KEEPS else 0),
            ranks=RANKS.get(self.way, 1),
        )


def cases(works: list[str], sizes: list[str] | None, only: list[str] | None) -> list[Case]:
    """Return what is to run, in order; ``only`` (ways) narrows it, the ceilings stay."""
    found = []
    for size in sizes or DEFAULT:
        for work in ("memory", *(work for work in FROM if work in works and work != "memory")):
            for way in FROM[work]:
                if SIZES[size].batch % RANKS.get(way, 1) == 0 and (only is None or way in only or work == "memory"):
                    ours = way.startswith(("ceiling", "tilespec")) and way != "tilespec-forgets"
                    found.append(Case(work=work, size=size, way=way, rounds=ROUNDS if ours else 1))
    return found
