"""Ensemble: one model, or several of the same task, whose mean is predicted; they may differ in recipe and net."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, final

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis, TileClass
from tilespec.models.model import Model
from tilespec.models.nets import tile_class_of
from tilespec.models.nets.norms import spatial_norms
from tilespec.models.probe.receptive_field import measured_class
from tilespec.storage.backends.paths import absolute

KINDS: Final = ("pixelwise", "exact", "approximate")
"""The kinds of tile classes; several nets together have the last of theirs."""
SAME: Final = ("task", "classes", "spectral_out")
"""What the members of an ensemble must have in common."""


@final
@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Models and their folders; of a single one all properties are its own."""

    members: tuple[Model, ...]
    """The models, at least one."""
    folders: tuple[str, ...]
    """The folder of each model, from which workers load it."""

    def __post_init__(self) -> None:
        for model, folder in zip(self.members, self.folders, strict=True):
            for name in SAME:
                if getattr(model, name) != getattr(self.first, name):
                    raise UserError(
                        f"{folder}/model.json: {name}",
                        found=str(getattr(model, name))[:120],
                        expected=f"{str(getattr(self.first, name))[:120]}, as in {self.folders[0]}",
                        do="Average models of one task, with the same classes or quantities.",
                    )

    @classmethod
    def load(cls, folders: Sequence[str]) -> "Ensemble":
        """Return the models of some folders, in an order that depends on nothing but the models.

        Raises:
            UserError: a folder is no whole model, is there twice, or predicts something else than the first.
        """
        pairs = sorted(((Model.load(folder), absolute(folder)) for folder in folders), key=_digest)
        if len({model.digest for model, _ in pairs}) < len(pairs):
            raise UserError(
                ", ".join(folders), found="the same model twice", expected="different models", do="Name each once."
            )
        return cls(members=tuple(model for model, _ in pairs), folders=tuple(folder for _, folder in pairs))

    @property
    def first(self) -> Model:
        """The first model."""
        return self.members[0]

    @property
    def task(self) -> dict[str, Any]:
        """The task of all models."""
        return self.first.task

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of all models."""
        return self.first.classes

    @property
    def spectral_out(self) -> SpectralAxis | None:
        """The spectral axis of the channels of all models."""
        return self.first.spectral_out

    @property
    def recipes(self) -> dict[str, slice]:
        """The channels of each different recipe, by its digest, where all are joined in the order of the models."""
        places: dict[str, slice] = {}
        stop = 0
        for model in self.members:
            if model.recipe.digest not in places:
                start, stop = stop, stop + model.recipe.bands_out
                places[model.recipe.digest] = slice(start, stop)
        return places

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of all recipes together, and of the answer; of a single model those of its net."""
        if len(self.members) == 1:
            return self.first.channels
        return sum(part.stop - part.start for part in self.recipes.values()), self.first.channels[1]

    @property
    def tile(self) -> int | None:
        """The smallest tile that a model was trained on; None if none of them was trained on patches."""
        return min((model.tile for model in self.members if model.tile is not None), default=None)

    @property
    def norms(self) -> tuple[str, ...]:
        """The names of norms over space in any net."""
        return tuple(dict.fromkeys(name for model in self.members for name in spatial_norms(model.outline)))

    @property
    def tile_class(self) -> TileClass:
        """The tile class of all nets together: declared ones, else as measured."""
        each = [tile_class_of(m.outline) or measured_class(m.module(), m.channels[0]) for m in self.members]
        if len({(one.remainder, one.margin) for one in each}) > 1:
            raise UserError(
                ", ".join(self.folders),
                found="nets with and without output at the edge of a tile",
                expected="nets whose tiles have the same sizes",
                do="Average nets of the same depth, or all with padding.",
            )
        return replace(
            each[0],
            kind=max((one.kind for one in each), key=KINDS.index),
            halo=max(one.halo for one in each),
            align=math.lcm(*(one.align for one in each)),
        )

    @cached_property
    def digest(self) -> str:
        """The hash of everything that decides predictions; of a single model its own."""
        if len(self.members) == 1:
            return self.first.digest
        return hashlib.blake2b("".join(m.digest for m in self.members).encode(), digest_size=16).hexdigest()

    @property
    def method(self) -> str:
        """What made the prediction, in words."""
        names = [str(model.provenance.get("method", model.net["name"])) for model in self.members]
        return names[0] if len(names) == 1 else f"mean of {len(names)} models: {', '.join(dict.fromkeys(names))}"

    @property
    def train_regions(self) -> list[Any]:
        """The regions on which any model was trained."""
        every = [region for model in self.members for region in model.provenance.get("train_regions", [])]
        return [region for i, region in enumerate(every) if region not in every[:i]]


def _digest(pair: tuple[Model, str]) -> str:
    return pair[0].digest
