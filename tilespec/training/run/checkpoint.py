"""Checkpoint: the complete state from which a training resumes, written completely or not at all.

``step-000100/`` holds ``state.safetensors`` (nets with their buffers, optimisers, the average of weights) and
``state.json`` (the step, the validations so far, the digest of the tensors). The folder gets its name when it is
complete; ``LATEST`` is updated last. Nothing is unpickled, and tensors that do not belong to the configuration are
refused.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tilespec.models.tensors import fit, plain, read, write
from tilespec.storage.files import write_atomic
from tilespec.training.player import Player

FORMAT = 1
KEEP = 2
"""The number of checkpoints that are not deleted: the newest, and one before it."""
Named = Mapping[str, Tensor]


def state(players: Mapping[str, Player], average: Named | None = None) -> dict[str, Tensor]:
    """Return all tensors of all players under flat names: ``net/...``, ``optimiser/...``, and ``average/...``."""
    tensors = _nets(players, average or {})
    for name, player in players.items():
        for index, slots in player.optimiser.state_dict()["state"].items():
            for slot, value in slots.items():
                tensors[f"optimiser/{name}/{index}/{slot}"] = torch.as_tensor(value)
    return plain(tensors)


def restore(
    players: Mapping[str, Player], tensors: Named, average: Named | None = None, *, where: object = "checkpoint"
) -> None:
    """Copy the tensors of `state` into players with the same configuration, and into their average.

    Without ``average`` a stored average is ignored, because another rank has it.

    Raises:
        UserError: names, shapes or types of tensors differ from those of the players; then no tensor is changed.
    """
    states, moments = _split(tensors)
    if average is None:
        states = {key: value for key, value in states.items() if not key.startswith("average/")}
    fit(where, states, _nets(players, average or {}))
    slots = {name: _slots(name, player, moments) for name, player in players.items()}
    fit(where, moments, {key: value for own in slots.values() for key, value in own.items()})
    for name, player in players.items():
        prefix = f"net/{name}/"
        player.module.load_state_dict({key: states[prefix + key] for key in player.module.state_dict()})
        _restore_optimiser(name, player, moments)
    for key, value in (average or {}).items():
        value.copy_(states[f"average/{key}"])  # in the same memory layout, so that it rounds equally


def _nets(players: Mapping[str, Player], average: Named) -> dict[str, Tensor]:
    """Return the tensors of nets and of an average under their flat names."""
    nets = {f"net/{name}/{key}": v for name, p in players.items() for key, v in p.module.state_dict().items()}
    return nets | {f"average/{key}": value for key, value in average.items()}


def _split(tensors: Named) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of nets and averages, and those of optimisers."""
    states = {key: value for key, value in tensors.items() if not key.startswith("optimiser/")}
    return states, {key: value for key, value in tensors.items() if key not in states}


def _slots(name: str, player: Player, moments: Named) -> dict[str, Tensor]:
    """Return the expected form of an optimiser's tensors: counts are one number, others are like their parameter."""
    expected = {}
    for index, parameter in enumerate(player.parameters):
        prefix = f"optimiser/{name}/{index}/"
        for key in moments:
            if key.startswith(prefix):
                expected[key] = torch.zeros(()) if key == f"{prefix}step" else parameter
    return expected


def _restore_optimiser(name: str, player: Player, moments: Named) -> None:
    """Copy an optimiser's tensors back."""
    prefix, parameters = f"optimiser/{name}/", player.parameters
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        if key.startswith(prefix):
            index, slot = key.removeprefix(prefix).split("/")
            slots.setdefault(int(index), {})[slot] = _laid_out(value, parameters[int(index)])
    player.optimiser.load_state_dict({**player.optimiser.state_dict(), "state": slots})


def save(folder: Path, step: int, tensors: Named, validations: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write the checkpoint of ``step`` and return its folder; files of killed runs are deleted if possible."""
    final = folder / f"step-{step:06d}"
    partial = folder / f"{final.name}.partial"
    sweep(folder)
    partial.mkdir(parents=True)
    write(partial / "state.safetensors", tensors)
    _flush(partial / "state.safetensors")
    digest = _digest(partial / "state.safetensors")
    card = {"format": FORMAT, "step": step, "digest": digest, "validations": [dict(line) for line in validations]}
    write_atomic(partial / "state.json", json.dumps(card, indent=1) + "\n")
    shutil.rmtree(final, ignore_errors=True)  # an unreadable checkpoint
    partial.rename(final)
    _flush(folder)
    write_atomic(folder / "LATEST", final.name + "\n")
    for old in _steps(folder)[KEEP:]:
        shutil.rmtree(folder / f"step-{old:06d}", ignore_errors=True)
    return final


def newest(folder: Path) -> int:
    """Return the step of the newest complete checkpoint, 0 without any; warn of incomplete ones."""
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
    """Return the tensors of a checkpoint that `newest` found complete."""
    return read(folder / f"step-{step:06d}" / "state.safetensors")


def validations(folder: Path, step: int) -> list[dict[str, Any]]:
    """Return the validations before a checkpoint."""
    card = json.loads((folder / f"step-{step:06d}" / "state.json").read_text())
    return list(card.get("validations", []))


def sweep(folder: Path) -> None:
    """Delete files that a killed run left under temporary names."""
    for path in folder.glob("*.partial"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _steps(folder: Path) -> list[int]:
    """Return the steps that have a folder, the newest first."""
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def _fault(path: Path) -> str | None:
    """Return the fault of a checkpoint, or None."""
    try:
        card = json.loads((path / "state.json").read_text())
        if card["format"] != FORMAT:
            return f"format {card['format']}, not {FORMAT}"
        if card["digest"] != _digest(path / "state.safetensors"):
            return "its tensors are not those that were written"
        with safe_open(path / "state.safetensors", framework="pt"):
            pass  # a pickle, for example, has no such header
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _digest(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor of the optimiser in the memory layout of its parameter, so that a resumed run rounds equally."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value).detach()


def _flush(path: Path) -> None:
    """Flush a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
