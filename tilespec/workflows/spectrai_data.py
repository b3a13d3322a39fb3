"""Spectrai data: where the arrays of a configuration of spectrai become stores, and the commands that do it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, Final, final

import numpy as np

ASSUMED: Final = 1000
"""The number of samples where nobody knows it."""
PLACEHOLDER: Final = "NAME"
"""What stands for the name of a file that cannot be seen."""


@final
@dataclass(frozen=True, kw_only=True)
class Part:
    """How a store of a training comes from the data of a configuration of spectrai."""

    of: str
    """The data that become its cube: ``input`` or ``target``."""
    options: str = ""
    """Further options of `ingest`."""


PARTS: Final = {
    "calibrate": {"scene": Part(of="input"), "target": Part(of="target")},
    "denoise": {"scene": Part(of="input"), "target": Part(of="target")},
    "superres": {"scene": Part(of="target", options=" --bin {scale}"), "target": Part(of="target")},
    "segment": {"scene": Part(of="input", options=" --labels {labels} --ignore-label 0")},
    "classify": {"scene": Part(of="input")},
}
"""The stores of each task, by their keys in ``[data]``."""
INGEST: Final = "tilespec ingest {source} {store}{options}"
"""The command that brings one store in."""
PREPARE: Final = (
    "tilespec ingest {source} {store}.raw.zarr{options} && tilespec fit {store}.raw.zarr {store}.recipe"
    " --steps {steps} && tilespec transform {store}.recipe {store}.raw.zarr {store}"
)
"""The commands that bring in spectra as a target, prepared by the steps of the recipe, which the inputs have."""
EACH: Final = "for f in {source}/{pattern}; do n=${{f#{source}/}}; n=${{n%.*}}; n=${{n//\\//_}}; {command}; done"
"""The commands of a shell that do so for each file of a folder."""


@final
@dataclass(frozen=True, kw_only=True)
class OldData:
    """The data of a configuration of spectrai."""

    values: Mapping[str, Any]
    """The values of its fields."""
    root: Path
    """The folder of the data."""
    scale: int = 1
    """The number of fine pixels along the side of a coarse one."""
    steps: str = ""
    """The steps by which spectra are prepared as targets; empty: they are learned as they are."""

    @property
    def table(self) -> bool:
        """Whether the data are spectra without places."""
        return str(self.values["data_format"]) == "spectrum,band"

    @property
    def parts(self) -> Mapping[str, Part]:
        """The stores of the task."""
        return PARTS[self.values["task"].name]

    @property
    def pattern(self) -> str:
        """The files of a folder: of a classification they lie in a folder for each class."""
        return "*/*" if self.values["task"].name == "classify" else "*"

    @property
    def each(self) -> bool:
        """Whether a folder has a file for each scene."""
        return bool(self.values["data_directory"]) and not self.table

    def path(self, role: str, of: str) -> str | None:
        """Return the path of some data; where there are none of the kind, of the other kind that spectrai takes."""
        path = self.values[f"{role}_{of}_data"]
        if path is None and self.values["task"].name == "superres":
            path = self.values[f"{role}_input_data"]
        return None if path is None else path.rstrip("/\\") or path

    def stores(self, role: str) -> dict[str, list[str]]:
        """Return the stores of ``train``, ``val`` or ``test`` by their keys in ``[data]``; empty without data."""
        if any(self.path(role, part.of) is None for part in self.parts.values()):
            return {}
        return {key: self._stores(role, key, part) for key, part in self.parts.items()}

    def _stores(self, role: str, key: str, part: Part) -> list[str]:
        if not self.each:
            return [f"{role}_{key}.zarr"]
        names = [self._name(file, part, role) for file in self.files(role, part.of)]
        return [f"{role}_{key}/{name}.zarr" for name in names or [PLACEHOLDER]]

    def _name(self, file: Path, part: Part, role: str) -> str:
        """Return the name of a file's store: its path in the folder without its ending."""
        folder = self.root / str(self.path(role, part.of))
        return file.relative_to(folder).with_suffix("").as_posix().replace("/", "_")

    def files(self, role: str, of: str) -> list[Path]:
        """Return the files of a folder in the order of their names; none where it cannot be seen."""
        path = self.path(role, of)
        folder = self.root / path if path and self.values["data_directory"] else None
        if folder is None or not folder.is_dir():
            return []
        return sorted(file for file in folder.glob(self.pattern) if file.is_file() and not file.name.startswith("."))

    def commands(self) -> Iterator[str]:
        """Yield the commands that bring all data in."""
        for role in ("train", "val", "test"):
            for key in self.stores(role):
                yield self._command(role, key, self.parts[key])

    def _command(self, role: str, key: str, part: Part) -> str:
        """Return the command, or the loop of commands, that brings one key in."""
        source, masks = str(self.path(role, part.of)), self.values[f"{role}_target_data"] or "MASKS"
        if self.each:
            of, store, labels = '"$f"', f'{role}_{key}/"$n".zarr', f'{quote(masks.rstrip("/"))}/"$n".*'
        else:
            of, store, labels = quote(source), f"{role}_{key}.zarr", quote(masks)
        axes = "" if self.table and self.values["data_directory"] else f" --axes {self.values['data_format']}"
        options = (axes + part.options).format(scale=self.scale, labels=labels)
        form = PREPARE if self.steps and key == "target" else INGEST
        command = form.format(source=of, store=store, options=options, steps=quote(self.steps))
        if not self.each:
            return command
        return EACH.format(source=quote(source), pattern=self.pattern, command=command)

    @cached_property
    def count(self) -> int | None:
        """The number of samples for training; None where the data cannot be seen."""
        of = self.parts["scene"].of
        files, path = self.files("train", of), self.path("train", of)
        if files or path is None or self.values["data_directory"]:
            return len(files) or None
        return _length(self.root / path) if self.table else 1


def _length(path: Path) -> int | None:
    """Return the number of spectra of a NumPy file; None where it cannot be read, or is of another kind."""
    try:
        return int(np.load(path, mmap_mode="r").shape[0]) if path.suffix == ".npy" else None
    except (OSError, ValueError, IndexError, AttributeError):
        return None
