"""Model: a folder with everything that the prediction of a raw scene needs. It never contains a pickle.

``model.json`` (the card), ``model.safetensors`` (weights), ``recipe/`` (fitted spectral steps).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final
from weakref import WeakValueDictionary

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tilespec.core.errors import UserError
from tilespec.core.shown import Shown
from tilespec.core.types import SpectralAxis
from tilespec.models.nets import NETS, build, limited, outlined
from tilespec.models.tensors import fit, outline, write
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic

FORMAT = 1
LARGEST = 1 << 20
"""The largest side of a tile in pixels that a card may name."""


@final
@dataclass(frozen=True, kw_only=True)
class Model(Shown):
    """A net with weights, the recipe before it, and the task that it predicts."""

    net: dict[str, Any]
    """The net ``{"name": ..., **parameters}`` for `tilespec.models.nets.build`."""
    task: dict[str, Any]
    """The task ``{"name": "segment", **options}`` for `tilespec.models.tasks`."""
    channels: tuple[int, int]
    """Channels of the net: those that the task makes of what the recipe gives, and those that it answers."""
    classes: tuple[str, ...]
    """The names of the classes in their order."""
    recipe: Recipe
    """The fitted spectral steps; without steps the net reads reflectance unchanged."""
    weights: dict[str, torch.Tensor]
    """The state of the module on the CPU."""
    spectral_out: SpectralAxis | None = None
    """The spectral axis of the predicted channels; None if it is unknown, or if they are classes."""
    tile: int | None = None
    """Output pixels of the patches the net was trained on, the default tile; None for pixelwise nets."""
    provenance: dict[str, Any]
    """The provenance: preset, seed, steps, training region (``scene``, ``digest``, ``rows``, ``cols``), versions."""

    @property
    def spectral(self) -> SpectralAxis | None:
        """The spectral axis of the raw scenes that the model takes."""
        return self.recipe.axis_in

    @cached_property
    def outline(self) -> torch.nn.Module:
        """The net without memory for its weights, from which its tile class and its norms are read."""
        return outlined(self._built)

    def _built(self) -> torch.nn.Module:
        params = {key: value for key, value in self.net.items() if key != "name"}
        return build(self.net["name"], *self.channels, **params)

    def check(self) -> None:
        """Compare the weights with those of the net that the card describes; nothing of its size is allocated.

        Raises:
            UserError: the net cannot be built, or its weights differ in names, shapes or types.
        """
        known = self.net.get("name") in NETS  # a net of the user's own may need memory to be built
        try:
            with limited(len(self.weights)):
                net = outlined(self._built, whole=not known)
        except UserError:
            raise
        except (RuntimeError, TypeError, ValueError, ArithmeticError, MemoryError, RecursionError) as error:
            raise UserError(
                f"model.json: net {self.net}",
                found=f"no net: {str(error).splitlines()[0]}",
                expected="the net of the weights in model.safetensors",
                do="Copy the folder again, or train it again.",
            ) from error
        fit("model.safetensors", self.weights, net.state_dict())

    def module(self) -> torch.nn.Module:
        """Return the net with its weights, in evaluation mode.

        Raises:
            UserError: the weights differ from those of the net in names, shapes or types.
        """
        module = self._built()
        fit("model.safetensors", self.weights, module.state_dict())
        module.load_state_dict(self.weights)
        return module.eval()

    @cached_property
    def digest(self) -> str:
        """The hash of everything that decides predictions: net, task, weights, recipe, and the axis of the channels.

        It is computed once: the weights of a model are never changed.
        """
        state = hashlib.blake2b(digest_size=16)
        content: list[Any] = [self.net, self.task, self.channels, self.recipe.digest]
        content += [] if self.spectral_out is None else [self.spectral_out.to_json()]
        state.update(json.dumps(content, sort_keys=True).encode())
        for name in sorted(self.weights):
            state.update(name.encode())
            state.update(self.weights[name].contiguous().numpy().tobytes())
        digest = state.hexdigest()
        _models[digest] = self
        return digest

    def save(self, folder: str) -> None:
        """Write the folder; the card is written last, so a folder with a card is complete."""
        path = store_path(folder)
        path.mkdir(parents=True, exist_ok=True)
        write(path / "model.safetensors", {k: v.contiguous() for k, v in self.weights.items()})
        self.recipe.save(f"{folder}/recipe")
        card = {
            "format": FORMAT,
            "net": self.net,
            "task": self.task,
            "channels": list(self.channels),
            "classes": list(self.classes),
            "spectral": None if self.spectral is None else self.spectral.to_json(),
            "spectral_out": None if self.spectral_out is None else self.spectral_out.to_json(),
            "tile": self.tile,
            "digest": self.digest,
            "provenance": self.provenance,
        }
        write_atomic(path / "model.json", json.dumps(card, indent=1) + "\n")

    @classmethod
    def of(cls, folder: str, digest: str) -> "Model":
        """Return the model with this digest: from this process's memory, else from ``folder``.

        Raises:
            UserError: the folder holds another model.
        """
        model = _models.get(digest) or cls.load(folder)
        if model.digest != digest:
            raise UserError(folder, found="another model than the plan's", expected=digest, do="Run the command again.")
        return model

    @classmethod
    def load(cls, folder: str) -> "Model":
        """Read a model folder; nothing in it is executed."""
        path = store_path(folder) / "model.json"
        if not path.exists():
            raise UserError(
                folder,
                found="no model.json",
                expected="a model folder that `tilespec train` or `tilespec baseline` wrote",
                do="Check the path; an interrupted training resumes with the same command.",
            )
        try:
            with (path.parent / "model.safetensors").local_copy() as weights:
                return cls._read(folder, json.loads(path.read_text()), weights)
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                folder, found=f"a damaged model ({error})", expected="a whole model folder", do="Train it again."
            ) from error

    @classmethod
    def _read(cls, folder: str, card: dict[str, Any], weights: Path) -> "Model":
        """Return the model from a card, the recipe beside it, and the file of its weights on this machine."""
        if card.get("format") != FORMAT:
            raise UserError(folder, found=f"format {card.get('format')}", expected=str(FORMAT), do="Train it again.")
        _check_card(folder, card)
        channels = card.get("spectral_out")  # old cards have no axis
        described = cls(
            net=card["net"],
            task=card["task"],
            channels=tuple(card["channels"]),
            classes=tuple(card["classes"]),
            recipe=Recipe.load(f"{folder}/recipe"),
            weights=outline(weights),
            spectral_out=None if channels is None else SpectralAxis.from_json(channels),
            tile=card["tile"],
            provenance=card["provenance"],
        )
        described.check()
        model = replace(described, weights=load_file(weights))
        if model.digest != card["digest"]:
            raise UserError(
                folder,
                found=f"a damaged model: card, recipe and weights have the digest {model.digest}",
                expected=f"{card['digest']}, as model.json says",
                do="Copy the folder again, or train it again.",
            )
        return model


def _check_card(folder: str, card: Mapping[str, Any]) -> None:
    """Refuse a card whose entries are of other types, or absurd."""
    tile, channels, net, task = (card[key] for key in ("tile", "channels", "net", "task"))
    valid = {
        "tile": tile is None or (isinstance(tile, int) and 0 < tile <= LARGEST),
        "channels": isinstance(channels, list) and len(channels) == 2 and all(_counts(each) for each in channels),
        "net": isinstance(net, dict) and isinstance(net.get("name"), str),
        "task": isinstance(task, dict) and isinstance(task.get("name"), str),
        "classes": isinstance(card["classes"], list) and all(isinstance(each, str) for each in card["classes"]),
        "provenance": isinstance(card["provenance"], dict),
    }
    for key, good in valid.items():
        if not good:
            raise UserError(
                f"{folder}/model.json: {key}",
                found=str(card[key])[:80],
                expected="what tilespec wrote",
                do="Copy the folder again, or train it again.",
            )


def _counts(value: Any) -> bool:
    """Return whether a value is a positive whole number."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_models: WeakValueDictionary[str, Model] = WeakValueDictionary()
"""Models that something in this process refers to, by digest."""
