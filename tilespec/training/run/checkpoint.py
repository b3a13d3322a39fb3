"""Checkpoint: the complete state from which a training resumes, written completely or not at all.

``step-000100/`` holds ``state.safetensors`` (nets with their buffers, optimisers, the average of weights) and
``state.json`` (the step, the validations so far, the digest of the tensors). The tensors are put first, then the card;
without a card nothing there counts. ``LATEST`` is put last, under the condition that no other run has done so
meanwhile. So it needs no rename, and is the same in a folder and in a bucket. Nothing is unpickled, and tensors that do
not belong to the configuration are refused.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.models.tensors import fit, plain, read, write
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.training.player import Player

FORMAT = 1
KEEP = 2
"""The number of checkpoints that are not deleted: the newest, and one before it."""
TENSORS, CARD, LATEST = "state.safetensors", "state.json", "LATEST"
"""The names of a checkpoint's tensors and card, and of the file that names the newest checkpoint."""
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


def save(
    folder: Path | StorePath, step: int, tensors: Named, validations: Sequence[Mapping[str, Any]] = ()
) -> StorePath:
    """Write the checkpoint of ``step`` and return its place; files of killed runs are deleted if possible.

    Raises:
        UserError: another run has written a checkpoint meanwhile.
    """
    folder = store_path(folder)
    final, latest = folder / f"step-{step:06d}", folder / LATEST
    before = latest.tag()
    sweep(folder)
    final.mkdir(parents=True, exist_ok=True)
    with (final / TENSORS).staged() as file:
        write(file, tensors)
        digest = _digest(file)
    card = {"format": FORMAT, "step": step, "digest": digest, "validations": [dict(line) for line in validations]}
    write_atomic(final / CARD, json.dumps(card, indent=1) + "\n")
    for place in (final, folder):
        _flush(place)
    _record(latest, final.name, before)
    for old in steps(folder)[KEEP:]:
        with suppress(OSError):
            _remove(folder / f"step-{old:06d}")
    return final


def newest(folder: Path | StorePath) -> int:
    """Return the step of the newest complete checkpoint, 0 without any; warn of damaged ones."""
    folder = store_path(folder)
    latest = folder / LATEST
    named = latest.read_text().strip().removeprefix("step-") if latest.exists() else ""
    known = {*steps(folder)} | ({int(named)} if named.isdigit() else set())
    for step in sorted(known, key=lambda step: (f"{step:06d}" == named, step), reverse=True):
        path = folder / f"step-{step:06d}"
        fault = _fault(path)
        if fault is None:
            return step
        warnings.warn(f"{path} cannot be used ({fault}): falling back to the checkpoint before", stacklevel=2)
    return 0


def load(folder: Path | StorePath, step: int) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that `newest` found complete."""
    return read(store_path(folder) / f"step-{step:06d}" / TENSORS)


def validations(folder: Path | StorePath, step: int) -> list[dict[str, Any]]:
    """Return the validations before a checkpoint."""
    card = json.loads((store_path(folder) / f"step-{step:06d}" / CARD).read_text())
    return list(card.get("validations", []))


def steps(folder: StorePath) -> list[int]:
    """Return the steps that have a checkpoint with a card, the newest first."""
    return sorted((int(top[5:]) for top in _cards(folder.sizes()) if top[5:].isdigit()), reverse=True)


def sweep(folder: Path | StorePath) -> None:
    """Delete files that a killed run left under temporary names, or without the card that would have come last."""
    folder = store_path(folder)
    sizes = folder.sizes()
    tops, done = {key.partition("/")[0] for key in sizes}, _cards(sizes)
    for top in tops:
        if top.endswith(".partial") or (top.startswith("step-") and top not in done):
            with suppress(OSError):
                _remove(folder / top)


def _cards(names: Mapping[str, int]) -> set[str]:
    """Return the names of the checkpoints with a card, among the names of all objects."""
    return {top for top, _, name in (key.partition("/") for key in names) if top.startswith("step-") and name == CARD}


def _remove(path: StorePath) -> None:
    """Delete a checkpoint, the card first, or a file."""
    (path / CARD).unlink(missing_ok=True) if path.is_dir() else path.unlink(missing_ok=True)
    if path.is_dir():
        path.clear()
        path.rmdir()


def _record(latest: StorePath, name: str, before: str | None) -> None:
    """Name the newest checkpoint, unless another run has done so since the tag was ``before``."""
    data = f"{name}\n".encode()
    won = latest.claim(data) if before is None else latest.swap(data, before)
    if not won and latest.read_bytes() != data:  # ours, where only the answer was lost
        raise UserError(
            latest,
            found="a checkpoint that another run has written meanwhile",
            expected="one run at a time",
            do="End the other run, or wait for it; the same command resumes.",
        )


def _fault(path: StorePath) -> str | None:
    """Return the fault of a checkpoint, or None."""
    try:
        card = json.loads((path / CARD).read_text())
        if card["format"] != FORMAT:
            return f"format {card['format']}, not {FORMAT}"
        with (path / TENSORS).local_copy() as file:
            if card["digest"] != _digest(file):
                return "its tensors are not those that were written"
            with safe_open(file, framework="pt"):
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


def _flush(path: StorePath) -> None:
    """Wait until the names in a folder survive a power cut."""
    path.flush()
