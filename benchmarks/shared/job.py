"""One run of one competitor: what it is asked to do, and the clock that says what it took."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import final

from ways import WAYS

from tilespec.core.memory import Peak, resident


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    way: str
    """Name in the table of `ways.py`."""
    scene: str
    """Scene store: the raw cube, or its scores."""
    model: str
    """Model folder."""
    out: str
    """Where the product goes; removed by the caller."""
    product: str = "classes"
    """``classes`` (uint8 argmax) or ``planes`` (float32, one plane for each channel)."""
    tile: int = 512
    """Side of a tile."""
    overlap: int = 256
    """Pixels that neighbouring tiles share."""
    batch: int = 1
    """Tiles of one call of the network: what tilespec takes for tiles of 512."""
    threads: int = 2
    """Cores that the process is bound to, and threads in all."""
    workers: int = 0
    """Worker processes of one thread each; 0: everything in one process."""
    window: str = "cosine"
    """Blending window of tilespec."""
    address_space: int = 0
    """Bytes of address space the process may have; 0: no limit."""
    check: str = ""
    """What is measured on the product afterwards: a name in the table of `race.py`."""

    @property
    def run(self) -> str:
        """``module:function`` of the way."""
        return WAYS[self.way].run

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Job":
        return cls(**json.loads(text))


@final
class Clock:
    """Start-up and work apart; memory of the process tree, and processor time of this process, while working."""

    def __init__(self) -> None:
        self.startup = 0.0
        self.seconds = 0.0
        self.before = 0
        self.peak = 0
        self.processor = 0.0

    @contextmanager
    def starting(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.startup += time.monotonic() - began

    @contextmanager
    def working(self) -> Iterator[None]:
        self.before, began = resident(), time.process_time()
        with Peak() as peak:
            yield
        self.seconds, self.peak = peak.seconds, peak.bytes
        self.processor = time.process_time() - began

    def facts(self) -> dict[str, float]:
        memory = {"memory_before": self.before, "peak_memory": self.peak} if self.peak else {}
        return {"seconds": self.seconds, "cpu_seconds": self.processor, "startup_seconds": self.startup, **memory}
