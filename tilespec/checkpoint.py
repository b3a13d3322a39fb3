"""Checkpoints: everything that a training needs to go on, written whole or not at all.

``step-000100/`` holds ``state.safetensors`` (nets with their buffers, optimisers) and ``state.json`` (the step, the
digest of the tensors). The folder gets its name when it is complete; ``LATEST`` names it last of all.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tilespec.ledger import write_atomic

FORMAT = 1
KEEP = 2
"""Checkpoints that stay: the newest, and one to fall back to."""


@runtime_checkable
class Learner(Protocol):
    """A net and its optimiser."""

    @property
    def module(self) -> nn.Module:
        """The net."""

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What moves it."""


def state(players: Mapping[str, Learner]) -> dict[str, Tensor]:
    """Return all tensors of all players under flat names: ``net/...`` and ``optimiser/...``."""
    tensors = {}
    for name, player in players.items():
        for key, value in player.module.state_dict().items():
            tensors[f"net/{name}/{key}"] = value
        for index, slots in player.optimiser.state_dict()["state"].items():
            for slot, value in slots.items():
                tensors[f"optimiser/{name}/{index}/{slot}"] = torch.as_tensor(value)
    return plain(tensors)


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors takes them: on the CPU, contiguous, each with memory of its own."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def restore(players: Mapping[str, Learner], tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors that `state` returned back into players of the same making."""
    for name, player in players.items():
        prefix = f"net/{name}/"
        player.module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        prefix = f"optimiser/{name}/"
        parameters = [p for group in player.optimiser.param_groups for p in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, slot = key.removeprefix(prefix).split("/")
                slots.setdefault(int(index), {})[slot] = _laid_out(value, parameters[int(index)])
        player.optimiser.load_state_dict({**player.optimiser.state_dict(), "state": slots})


def save(folder: Path, step: int, tensors: Mapping[str, Tensor]) -> Path:
    """Write the checkpoint of ``step`` and return its folder; leftovers of a killed run do not stop it."""
    final = folder / f"step-{step:06d}"
    partial = folder / f"{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(dict(tensors), partial / "state.safetensors")
    _flush(partial / "state.safetensors")
    card = {"format": FORMAT, "step": step, "digest": _digest(partial / "state.safetensors")}
    write_atomic(partial / "state.json", json.dumps(card, indent=1) + "\n")
    shutil.rmtree(final, ignore_errors=True)  # one that could not be read
    partial.rename(final)
    _flush(folder)
    write_atomic(folder / "LATEST", final.name + "\n")
    for old in _steps(folder)[KEEP:]:
        shutil.rmtree(folder / f"step-{old:06d}", ignore_errors=True)
    return final


def newest(folder: Path) -> int:
    """Return the step of the newest checkpoint that is whole, 0 when there is none; warn of any that is not."""
    latest = folder / "LATEST"
    named = latest.read_text().strip().removeprefix("step-") if latest.exists() else ""
    steps = sorted(_steps(folder), key=lambda step: (f"{step:06d}" == named, step), reverse=True)
    for step in steps:
        fault = _fault(folder / f"step-{step:06d}")
        if fault is None:
            return step
        warnings.warn(
            f"{folder / f'step-{step:06d}'} cannot be used ({fault}): falling back to the checkpoint before",
            stacklevel=2,
        )
    return 0


def load(folder: Path, step: int) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that `newest` found whole."""
    return dict(load_file(folder / f"step-{step:06d}" / "state.safetensors"))


def _steps(folder: Path) -> list[int]:
    """Return the steps that have a folder, newest first."""
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def _fault(path: Path) -> str | None:
    """Say what is wrong with a checkpoint, if anything."""
    try:
        card = json.loads((path / "state.json").read_text())
        if card["format"] != FORMAT:
            return f"format {card['format']}, not {FORMAT}"
        if card["digest"] != _digest(path / "state.safetensors"):
            return "its tensors are not those that were written"
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _digest(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor of the optimiser in the memory layout of its parameter, so that a resumed run rounds alike."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value).detach()


def _flush(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
