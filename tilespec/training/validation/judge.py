"""Judge: the validations of a training among its ranks: rank 0 validates, and all ranks get the result."""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, final

from torch import Tensor

from tilespec.models.tensors import read
from tilespec.storage.backends.base import StorePath
from tilespec.training.ranks.group import Ranks
from tilespec.training.settings import Config
from tilespec.training.validation import history
from tilespec.training.validation.validation import Validation


@final
class Judge:
    """The validations so far, which drive the schedule, stop the training early, and choose the weights."""

    def __init__(
        self,
        validation: Validation | None,
        config: Config,
        folder: StorePath,
        ranks: Ranks,
        lines: list[dict[str, Any]],
    ) -> None:
        """Continue after ``lines``, the validations of a checkpoint; without ``validation`` there are none.

        A validation after the last step of a shorter training is dropped, unless it was due anyway, so that a prolonged
        training equals one that was longer from the beginning.
        """
        self._validation, self._folder, self._ranks = validation, folder, ranks
        self._patience, self._burn_in = config.validation.patience, config.validation.burn_in
        lines = [line for line in lines if self.due(line["step"])]
        if validation is not None and ranks.rank == 0 and history.read(folder) != lines:
            history.write(folder, lines)
        self._know(lines)

    def _know(self, lines: list[dict[str, Any]]) -> None:
        """Store validations, and update the values that follow from them."""
        self.lines = lines
        """The validations so far."""
        self.scores: tuple[float, ...] = ()
        """The scores of the validations, with larger values better."""
        self.stopped = False
        """Whether there was no improvement for ``patience`` validations."""
        self.best: int | None = None
        """The number of steps before the best validation."""
        if self._validation is not None:
            metric = self._validation.metric
            worths = [history.worth(line, metric) for line in lines]
            self.scores = tuple(-math.inf if worth is None else worth for worth in worths)
            self.stopped = history.stopped(lines, self._patience, metric, self._burn_in)
            self.best = history.best(lines, metric)

    @property
    def chosen(self) -> tuple[int, dict[str, Tensor]] | None:
        """The step and the weights of the best validation, if the model shall have these."""
        return None if self._validation is None else self._validation.chosen()

    def due(self, done: int) -> bool:
        """Return whether a validation follows after ``done`` steps."""
        return self._validation is not None and self._validation.due(done)

    def look(self, done: int, weights: Callable[[], Mapping[str, Tensor]]) -> dict[str, Any]:
        """Validate the ``weights`` after ``done`` steps; return the metrics, of which only rank 0 has all."""
        assert self._validation is not None, "only when it is due"
        line: dict[str, Any] = {}
        name = self._validation.metric.name
        if self._ranks.rank == 0:
            self._validation.run(done, weights())
            line = history.read(self._folder)[-1]
        value = _number(self._ranks.agree(_bits(line.get(name))))
        self._know([*self.lines, {"step": done, name: value, **line}])
        return {key: figure for key, figure in self.lines[-1].items() if key not in ("step", "seconds")}

    def remember(self, done: int, state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Store the ``state`` of the training after ``done`` steps, if that validation is the best so far."""
        assert self._validation is not None, "only after a validation"
        if self._ranks.rank == 0 and self.best == done:
            self._validation.store_state(done, state())

    def best_state(self) -> dict[str, Tensor]:
        """Return the stored state of the best validation."""
        assert self._validation is not None, "only after a validation"
        assert self.best is not None, "only after a validation with a score"
        return read(self._validation.state(self.best))


def _bits(value: float | None) -> int:
    """Return a number, or None, as an integer of 64 bits, which ranks can exchange."""
    return int(struct.unpack("<q", struct.pack("<d", math.nan if value is None else value))[0])


def _number(bits: int) -> float | None:
    """Return the number from the integer of `_bits`."""
    value = float(struct.unpack("<d", struct.pack("<q", bits))[0])
    return None if math.isnan(value) else value
