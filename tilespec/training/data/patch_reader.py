"""Patch reader: patches are read and combined to batches."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch

from tilespec.models.tasks.base import Geometry, Task
from tilespec.training.data.patches import Patch, PatchStream, turned, undone
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.objectives.base import Batch


@final
class PatchReader:
    """The batches of patches of one size."""

    def __init__(self, stream: PatchStream, blocks: ScoreCache, task: Task, *, pin: bool = False) -> None:
        self._stream, self._blocks, self._task, self._pin = stream, blocks, task, pin
        blank = tuple(np.zeros_like(plane) for plane in blocks.empty((stream.side, stream.side)))
        self._forms = tuple((plane.shape, plane.dtype) for plane in (*blank, *task.pair(*blank)))

    def __call__(self, ids: tuple[int, ...], step: int) -> Batch:
        """Return the patches at ``ids`` of the stream."""
        *_, inputs, answer = self._forms
        x, y = (self._memory((len(ids), *shape), dtype) for shape, dtype in (inputs, answer))
        patches = [self._stream.patch(index) for index in ids]
        if self._stream.side == 1 and self._task.geometry == Geometry():
            self._fill_pixels(patches, x.numpy(), y.numpy())
        else:
            for patch, *pair in zip(patches, x.numpy(), y.numpy(), strict=True):
                self._fill(patch, *pair)
        x, y = (planes.permute(0, 3, 1, 2) if planes.ndim == 4 else planes for planes in (x, y))
        return Batch(x=x, y=y, ids=ids, step=step)

    def _memory(self, shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
        """Return memory for patches ``y, x, ...``; with a channel behind it is torch's channels_last."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=self._pin)

    def _fill_pixels(self, patches: Sequence[Patch], x: np.ndarray, y: np.ndarray) -> None:
        """Write the net's inputs and targets on patches of one pixel, which a turn does not change."""
        scenes, rows, columns, _ = np.array(patches, np.int64).T
        for scene in np.unique(scenes):
            own = np.flatnonzero(scenes == scene)
            scores, truth = self._blocks.pixels(int(scene), rows[own], columns[own])
            for k, i in enumerate(own):
                x[i], y[i] = self._task.pair(scores[:, k : k + 1], truth[:, k : k + 1])

    def _fill(self, patch: Patch, x: np.ndarray, y: np.ndarray) -> None:
        """Write the net's input and target on a patch into their memory, turned during the copy."""
        scores, truth = (
            plane if (plane.shape, plane.dtype) == form else np.empty(*form)
            for plane, form in zip((x, y), self._forms, strict=False)
        )
        back = undone(patch.turn)
        self._blocks.read(patch.scene, self._stream.roi(patch), (turned(scores, back), turned(truth, back)))
        for plane, values in zip((x, y), self._task.pair(scores, truth), strict=True):
            if values is not plane:  # a task without changes returns its argument
                plane[...] = values
