"""Throughput: the speed of a training, and its waiting times."""

import time
from collections.abc import Generator
from typing import Any, Protocol, final, runtime_checkable

from tilespec.training.objectives.base import Items


@runtime_checkable
class Batches(Protocol):
    """The source of batches."""

    waited: float
    """The seconds that the loop has waited for batches."""

    def batches(self, start: int, stop: int) -> Generator[Items, None, None]:
        """Yield the batches of the steps ``start`` to ``stop``."""
        ...


@runtime_checkable
class Reader(Protocol):
    """The reader of scenes, which counts pixels."""

    decoded: int
    """The number of pixels that were read and transformed by the recipe."""
    used: int
    """The number of pixels that were returned."""


@final
class Throughput:
    """Steps per second, starvation (share of the time that nets wait for data) and read amplification of one run."""

    def __init__(self, loader: Batches, reader: Reader) -> None:
        self._loader, self._reader = loader, reader
        self._began = self._looked = time.monotonic()
        self._steps, self._waited = 0, loader.waited

    def now(self, steps: int) -> dict[str, Any]:
        """Return the ``seconds`` so far and the ``speed`` since the previous call, ``steps`` after the beginning."""
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
        """Return the throughput of the whole run of ``steps`` steps."""
        spent = max(time.monotonic() - self._began, 1e-9)
        return {
            "seconds": spent,
            "steps_per_second": steps / spent,
            "starvation": self._loader.waited / spent,
            "read_amplification": self._amplification(),
        }

    def _amplification(self) -> float:
        """Return the number of decoded pixels per returned pixel."""
        return self._reader.decoded / max(self._reader.used, 1)
