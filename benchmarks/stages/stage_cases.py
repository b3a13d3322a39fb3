"""What is run of the stages before the network: works, sizes, competitors, rounds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from stage_data import Data
from stage_job import Stage
from stage_ways import STAGES

CAP = 16 << 30
"""Address space of what is expected to want more than there is."""
ROUNDS = {"floor": 3, "tilespec": 3}
"""Repeats at size F; everything else runs once."""
LONG = {"fit": {"floor": 0, "tilespec": 0, "sklearn-ram": CAP}}
"""What runs on the long scene, and its address space; other works: floor and tilespec."""
CAPPED = {"spy": CAP}
"""What wants more memory than there is on the full scene already."""
CHECKS = {"fit": "angle", "ingest": "reflectance"}
"""What is measured on the products of a work."""
PATCHES = {"patches": 256, "patches-scores": 4096}
"""Patches that are read."""
STEPS = {"fit": "vsn,pca=4", "preprocess": "crop=#10:#175,mean,scale"}
"""What tilespec is asked for."""
SIZES = {"ingest": ("F", "L"), "fit": ("F", "L"), "transform": ("F", "L")}
"""Sizes of the full run; other works: F."""
UNCHECKED = ("ingest/floor", "fit/floor", "fit/reference", "fit/tensorstore")
"""What makes no product; nor is anything checked on the long scene, which is the other one four times."""


@final
@dataclass(frozen=True, kw_only=True)
class Case:
    work: str
    """Name in the table of `stage_ways.py`."""
    size: str
    """S, F or L."""
    way: str
    """Name of a competitor."""
    rounds: int = 1
    """How often it runs."""
    address_space: int = 0
    """Bytes of address space; 0: no limit."""

    @property
    def key(self) -> str:
        return f"{self.work}/{self.size}/{self.way}"

    def job(self, data: Data, out: str) -> Stage:
        """Return the job of one run."""
        return Stage(
            work=self.work,
            way=self.way,
            out=out,
            steps=STEPS.get(self.work, ""),
            patches=PATCHES.get(self.work, 0),
            workers=STAGES[self.work][self.way].workers,
            address_space=self.address_space,
            check="" if self.size == "L" or f"{self.work}/{self.way}" in UNCHECKED else CHECKS.get(self.work, ""),
            **data.inputs(self.work, self.size),
        )


def cases(works: list[str], sizes: list[str] | None, only: list[str] | None) -> list[Case]:
    """Return what is to run, in order; ``sizes`` and ``only`` (ways) narrow it, what they are measured by stays."""
    measures = ("floor", "reference")
    found = (case for work in works for size in sizes or SIZES.get(work, ("F",)) for case in _cases(work, size))
    return [case for case in found if only is None or case.way in (*only, *measures)]


def _cases(work: str, size: str) -> Iterator[Case]:
    """Yield the cases of one work at one size."""
    if size == "L":
        for way, space in LONG.get(work, {"floor": 0, "tilespec": 0}).items():
            yield Case(work=work, size=size, way=way, address_space=space)
        return
    for way in STAGES[work]:
        space = CAPPED.get(way, 0) if size == "F" and work == "fit" else 0
        rounds = ROUNDS.get(way, 1) if size == "F" else 1
        yield Case(work=work, size=size, way=way, rounds=rounds, address_space=space)
