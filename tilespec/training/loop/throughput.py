"""Throughput: how fast a training goes, and what it waits for."""

import time
from collections.abc import Generator
from typing import Any, Protocol, final, runtime_checkable

from tilespec.training.objectives.base import Batch


@runtime_checkable
class Batches(Protocol):
    """Where batches come from."""

    waited: float
    """Seconds that the loop waited for them."""

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Yield the batches of the steps ``start`` to ``stop``."""
        ...


@runtime_checkable
class Reader(Protocol):
    """What reads the scenes, and counts pixels."""

    decoded: int
    """Read and run through the recipe."""
    used: int
    """Handed out."""


@final
class Pace:
    """Steps per second, starvation (share of the time that the nets wait) and read amplification of one run."""

    def __init__(self, loader: Batches, reader: Reader) -> None:
        self._loader, self._reader = loader, reader
        self._began = self._looked = time.monotonic()
        self._steps, self._waited = 0, loader.waited

    def now(self, steps: int) -> dict[str, Any]:
        """Return the ``seconds`` so far and the ``speed`` since the last look, ``steps`` after the beginning."""
        now, waited = time.monotonic(), self._loader.waited
        spent = max(now - self._looked, 1e-9)
        speed = {
            "steps_per_second": (steps - self._steps) / spent,
            "starvation": (waited - self._waited) / spent,
            "read_amplification": self._amplification(),
        }
        self._looked, self._steps, self._waited = now, steps, waited
        return {"seconds": now - self._began, "speed": speed}

    def total(self, steps: int) -> dict[str, float]:
        """Return what the whole run of so many ``steps`` came to."""
        spent = max(time.monotonic() - self._began, 1e-9)
        return {
            "seconds": spent,
            "steps_per_second": steps / spent,
            "starvation": self._loader.waited / spent,
            "read_amplification": self._amplification(),
        }

    def _amplification(self) -> float:
        """Return how many pixels were decoded for each that was handed out."""
        return self._reader.decoded / max(self._reader.used, 1)
