"""Log: the figures of a training, in ``log.jsonl`` and, on request, as events for TensorBoard."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import local, store_path
from tilespec.storage.files import write_atomic

NOT_LOSSES = ("step", "rate", "seconds", "norms", "speed", "validation")
"""The keys of a line that are not losses."""


@final
class TrainingLog:
    """The log of a training: a line, a flat table of figures, for each logged step.

    On a disk a line is appended at once. Elsewhere, where nothing can be appended, the log is put with each checkpoint
    and at the end; a killed run loses only lines of steps that run again.
    """

    def __init__(self, folder: Path | StorePath, start: int, *, events: bool = False) -> None:
        """Continue at step ``start``; lines about this and later steps are deleted, because the steps run again.

        Args:
            folder: The folder of the training.
            start: The number of steps done.
            events: Whether to write events for TensorBoard into ``folder/tensorboard`` too.

        Raises:
            UserError: events are requested, and TensorBoard is not installed, or the folder is none of this machine.
        """
        folder = store_path(folder)
        self._path = path = folder / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        before = [line for line in lines if _step(line) < start]
        if len(before) < len(lines):
            write_atomic(path, "".join(line + "\n" for line in before))
        last = json.loads(before[-1]) if before else {}
        self.losses: dict[str, float] = {
            key: value for key, value in last.items() if key not in NOT_LOSSES and value is not None
        }
        """The losses of the last logged step."""
        self._events = _writer(local(folder / "tensorboard", "events (train.tensorboard)"), start) if events else None
        self._file = None if path.on_disk is None else path.on_disk.open("a", buffering=1)  # a line when it ends
        self._lines = before

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line: ``step``, and figures or tables of figures by name."""
        text = json.dumps(dict(line))
        if self._file is not None:
            self._file.write(text + "\n")
        else:
            self._lines.append(text)
        if self._events is not None:
            for name, value in _flat(line):
                self._events.add_scalar(name, value, line["step"])

    def flush(self) -> None:
        """Put the lines so far, where they are not appended to a file."""
        if self._file is None:
            write_atomic(self._path, "".join(line + "\n" for line in self._lines))


def _step(line: str) -> float:
    """Return the step of a line; an incomplete line has none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _flat(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the name and the value of each figure; tables become folders of names, losses one of their own."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key}", figure) for key, figure in value.items() if figure is not None)
        elif name != "step" and value is not None:
            yield (name if name in NOT_LOSSES else f"losses/{name}"), value


def _writer(folder: Path, start: int) -> Any:
    """Return TensorBoard's writer, whose events replace those of ``start`` and later."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "train.tensorboard",
            found=f"no TensorBoard ({error})",
            expected="the package tensorboard",
            do="pip install 'tilespec[tensorboard]', or leave train.tensorboard out: log.jsonl says the same.",
        ) from error
    return SummaryWriter(str(folder), purge_step=start)
