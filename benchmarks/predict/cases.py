"""What is run: works, sizes, competitors, rounds, and what each one is measured by."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

from job import Job
from scenes import Data
from ways import WAYS

ROUNDS = {"bare": 3, "recipe": 3, "limit": 2, "tilespec": 3, "tilespec-2": 3}
"""Repeats of the main work; everything else runs once."""
BLENDING = ("tilespec", "monai-ram", "monai-zarr", "patchly", "konfai", "tiatoolbox", "dask")
PEERS = ("monai-ram", "monai-zarr", "patchly", "konfai", "tiatoolbox", "tiatoolbox-disk", "dask", "dask-2")
CHECKED = ("tilespec-planes", "monai-zarr", "konfai", "tiatoolbox", "tiatoolbox-disk")
"""Whose product is compared with its own definition in double precision: those that reflect the scene at its edges."""
BOUNDED = ("konfai", "tiatoolbox-disk")
"""Peers that do not hold the scene or its prediction in memory, as they say."""
CAP = 16 << 30
"""Address space of what is expected to want more than there is."""


@final
@dataclass(frozen=True, kw_only=True)
class Case:
    work: str
    """W5, W6, W9 or W10 (`README.md`)."""
    size: str
    """S, F or L."""
    data: str
    """``raw`` or ``scores``."""
    net: str
    """Name of a model."""
    way: str
    """Name of a competitor."""
    rounds: int = 1
    """How often it runs."""
    product: str = "planes"
    """``classes`` or ``planes``."""
    measure: tuple[tuple[str, str], ...] = ()
    """Ways and data whose seconds of the same round, added up, are the measure."""
    check: str = ""
    """What is measured on the product."""
    address_space: int = 0
    """Bytes of address space; 0: no limit."""
    window: str = field(default="cosine")
    """Blending window of tilespec."""

    @property
    def key(self) -> str:
        return f"{self.work}/{self.size}/{self.data}/{self.net}/{self.way}"

    def measures(self) -> list[str]:
        """Return the keys of the cases that this one is measured by."""
        return [f"{self.work}/{self.size}/{data}/{self.net}/{way}" for way, data in self.measure]

    def job(self, data: Data, out: str) -> Job:
        """Return the job of one run."""
        return Job(
            way=self.way,
            scene=str(data.scene(self.data, self.size)),
            model=str(data.model(self.net)),
            out=out,
            product=self.product,
            workers=WAYS[self.way].workers,
            window=self.window,
            check=self.check,
            address_space=self.address_space,
        )


def w5(size: str) -> Iterator[Case]:
    """The null network: everything but the limit is overhead."""
    for data, net in (("scores", "null-scores-2"), ("raw", "null-2"), ("raw", "null-20"), ("raw", "null-all")):
        peers = PEERS if size == "S" or data == "scores" else ()  # tens of gigabytes, or minutes each, at full size
        for way in ("limit", "tilespec", "tilespec-2", *peers):
            rounds = 2 if size == "F" and way in ROUNDS else 1
            yield Case(work="W5", size=size, data=data, net=net, way=way, rounds=rounds, measure=(("limit", data),))


def w6(size: str) -> Iterator[Case]:
    """The pix2pix generator, from scores and from the raw cube."""
    alone = (("bare", "scores"),)
    both = (("bare", "scores"), ("recipe", "raw"))
    table = [
        ("scores", ("bare", "bare-best", "tilespec", "tilespec-2", "tilespec-planes", *PEERS), alone),
        ("raw", ("recipe", "tilespec", "tilespec-2"), both),
    ]
    for data, ways, measure in table:
        for way in ways:
            product = "planes" if way in ("tilespec-planes", "monai-zarr") else "classes"
            yield Case(
                work="W6",
                size=size,
                data=data,
                net="unet",
                way=way,
                rounds=ROUNDS.get(way, 1),
                product=product,
                measure=() if way == "recipe" else measure,
            )


def w9(size: str) -> Iterator[Case]:
    """Memory, from the raw cube: few channels and many; on the long scene few only, whose product of many is 25 GB."""
    own, nets = "network", ("null-4", "unet", "null-all") if size == "F" else ("null-4", "unet")
    for data, net in (("raw", net) for net in nets):
        for way in (own, "tilespec", *(BOUNDED if net == "null-4" else ())):
            yield Case(work="W9", size=size, data=data, net=net, way=way, measure=((own, data),))
    yield Case(work="W9", size=size, data="raw", net="null-4", way="monai-ram", address_space=CAP)


def w10(size: str) -> Iterator[Case]:
    """Quality: the identity, a constant, the borders of tiles, and the generator against its definition."""
    for net, check in (("identity", "identity"), ("constant", "constant"), ("phase", "seams")):
        for way in BLENDING:
            yield Case(work="W10", size=size, data="scores", net=net, way=way, check=check)
    way = "tilespec-unblended"
    yield Case(work="W10", size=size, data="scores", net="phase", way=way, check="seams", window="none")
    for way in CHECKED:
        yield Case(work="W10", size=size, data="scores", net="unet", way=way, check="reference")


WORKS = {"W5": w5, "W6": w6, "W9": w9, "W10": w10}
SIZES = {"W5": ("S", "F"), "W6": ("F",), "W9": ("F", "L"), "W10": ("S",)}
"""Sizes of the full run."""


def cases(works: list[str], sizes: list[str] | None, only: list[str] | None) -> list[Case]:
    """Return what is to run, in order; ``sizes`` and ``only`` (ways) narrow it down, what they measure by stays."""
    found = [case for work in works for size in sizes or SIZES[work] for case in WORKS[work](size)]
    if only is None:
        return found
    wanted = {case.key for case in found if case.way in only}
    needed = {key for case in found if case.key in wanted for key in case.measures()}
    return [case for case in found if case.key in wanted | needed]
