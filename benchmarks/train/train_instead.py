"""The loop of `tilespec train` with batches from elsewhere: the same steps, log and checkpoint for everyone."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from train_job import Size

import tilespec.training.train
from tilespec.training.objectives.base import Batch


class Source(ABC):
    """Stands where the loader of `tilespec.training.train` stands, and counts what it counts."""

    def __init__(self, size: Size, channels: int, blocks: Any, share: range) -> None:
        self.size, self.channels, self.blocks, self.share = size, channels, blocks, share
        self.waited = 0.0

    @abstractmethod
    def ready(self, start: int, stop: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield images ``batch, band, y, x`` and labels ``batch, y, x`` of the steps."""

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Yield the batches of the steps ``start`` to ``stop``, timed."""
        pairs = self.ready(start, stop)
        for step in range(start, stop):
            began = time.monotonic()
            x, y = next(pairs)
            self.waited += time.monotonic() - began
            yield Batch(x=x, y=y, ids=tuple(step * self.size.batch + i for i in self.share))


@contextmanager
def instead(source: Callable[[Any, range], Source]) -> Iterator[None]:
    """Let `tilespec.training.train` take its batches from ``source(blocks, share)``."""

    def loader(_law: Any, blocks: Any, *_: Any, share: range, **__: Any) -> Source:
        return source(blocks, share)

    ours = tilespec.training.train.Loader
    tilespec.training.train.Loader = loader
    try:
        yield
    finally:
        tilespec.training.train.Loader = ours


class Made(Source):
    """Random tensors, made once: the ceiling, for nobody has to wait for a batch."""

    KEPT = 4
    """Different ones, which take turns."""

    def ready(self, start: int, stop: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        draw, shape = torch.Generator().manual_seed(0), (len(self.share), self.size.patch, self.size.patch)
        kept = []
        for _ in range(self.KEPT):
            x = torch.randn((*shape, self.channels), generator=draw).permute(0, 3, 1, 2)
            kept.append((x, torch.randint(0, 2, shape, dtype=torch.uint8, generator=draw)))
        for step in range(start, stop):
            yield kept[step % self.KEPT]
