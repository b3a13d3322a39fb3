"""What the benchmark runs on: scenes of three lengths, their scores, and model folders with seeded weights."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import zarr

from tilespec.core.fingerprint import fingerprint
from tilespec.core.progress import Lines
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.simulate.simulate import simulate
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.transform import transform
from tilespec.storage.group import open_group
from tilespec.storage.layout import COMPLETE, constants
from tilespec.storage.ledger import sidecar
from tilespec.storage.product import publish
from tilespec.storage.scene import Scene

ROWS, COLS, BANDS = 3000, 2796, 186
STEPS = "vsn,pca=4,scale"
SIDE = 1024
"""Rows and columns of size S."""
LONGER = 4
"""Size L is this many times as long as F."""
CLASSES = 2
OWN = ("null", "phase", "planes")
"""Modules of the nets and the task that are the benchmark's own; tilespec imports those that it is told to trust."""

UNET = {"name": "unet", "base_width": 32, "n_down": 8, "norm": "batch", "dropout": 0.5, "init": "kaiming"}
"""The generator of the preset mishra2021 at width 32, with batch norm frozen: a tile's answer is its own."""


@final
@dataclass(frozen=True, kw_only=True)
class Data:
    """Where everything is."""

    scratch: Path
    """Folder of everything that is made."""
    raw: Path
    """The scene of size F."""
    recipe: Path
    """Fitted on it."""

    def scene(self, data: str, size: str) -> Path:
        """Return the raw cube or its scores in one of the sizes; made when it is not there."""
        source = self.raw if data == "raw" else self._scores()
        if size == "F":
            return source
        rows, cols = Scene.open(str(source)).shape[:2]
        shape = {"S": (min(SIDE, rows), min(SIDE, cols)), "L": (LONGER * rows, cols)}[size]
        out = self.scratch / f"{data}-{size}.zarr"
        return out if whole(out) else linked(source, out, shape)

    def model(self, name: str) -> Path:
        """Return a model folder; made when it is not there."""
        out = self.scratch / "models" / name
        if not (out / "model.json").exists():
            save_model(name, out, self)
        return out

    def _scores(self) -> Path:
        out = self.scratch / "scores-F.zarr"
        if not whole(out):
            transform(str(self.recipe), str(self.raw), str(out), progress=Lines())
        return out


def whole(store: Path) -> bool:
    """Return whether a store is there, complete."""
    return (store / "zarr.json").exists() and open_group(str(store)).attrs.get("tilespec_status") == COMPLETE


def prepare(scratch: Path, scene: Path | None, recipe: Path | None) -> Data:
    """Simulate the scene and fit the recipe, unless they are given or there already."""
    scratch.mkdir(parents=True, exist_ok=True)
    raw = scene or scratch / "raw-F.zarr"
    if scene is None and not whole(raw):
        simulate(str(raw), rows=ROWS, cols=COLS, bands=BANDS, progress=Lines())
    fitted = recipe or scratch / "recipe"
    if not (fitted / "recipe.json").exists():
        fit(str(raw), str(fitted), steps=STEPS, progress=Lines())
    return Data(scratch=scratch, raw=raw, recipe=fitted)


def linked(source: Path, out: Path, shape: tuple[int, int]) -> Path:
    """Return a scene of another size out of hard links to the objects of ``source``, its whole rows over and over.

    An object is always stored whole, so the last row of objects may be any whole one. It takes no space on disk, and
    none more in the page cache.
    """
    scene = Scene.open(str(source))
    chunk, across = scene.chunks, -(-shape[1] // scene.chunks[1])
    rows = max(1, scene.shape[0] // chunk[0])
    shutil.rmtree(out, ignore_errors=True)
    group = zarr.create_group(str(out))
    stored = scene.array.metadata.to_dict() | {"shape": (*shape, scene.shape[2])}
    for name, (dims, values, attrs) in constants(scene.spectral).items():
        array = group.create_array(name, data=values, dimension_names=dims)
        array.attrs.update(attrs)
    (out / "cube").mkdir()
    (out / "cube" / "zarr.json").write_text(_json(stored))
    for row in range(-(-shape[0] // chunk[0])):
        for column in range(across):
            target = out / "cube" / "c" / str(row) / str(column) / "0"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source / "cube" / "c" / str(row % rows) / str(column) / "0", target)
    kept = {key: value for key, value in scene.attrs.items() if not key.startswith("tilespec_")}
    sidecar(str(out)).mkdir(exist_ok=True)
    digest = fingerprint([scene.digest or scene.content_digest(), shape])
    publish(str(out), {**kept, "tilespec_cube": digest, "tilespec_status": COMPLETE})
    return out


def _json(metadata: dict[str, Any]) -> str:
    return json.dumps(metadata, indent=1, default=list)


def save_model(name: str, out: Path, data: Data) -> None:
    """Write a model with seeded, untrained weights."""
    recipe, scene = Recipe.load(str(data.recipe)), Scene.open(str(data.raw))
    scores, bands = recipe.bands_out, scene.shape[2]
    plain = Recipe.empty(bands, scene.spectral)
    nets: dict[str, tuple[dict[str, Any], int, int, Recipe]] = {
        "unet": (UNET, scores, CLASSES, recipe),
        "phase": ({"name": "phase:Phase"}, scores, CLASSES, recipe),
        "identity": ({"name": "identity"}, scores, scores, recipe),
        "constant": ({"name": "null:Null"}, scores, CLASSES, recipe),
        "null-scores-2": ({"name": "null:Null"}, scores, 2, recipe),
        "null-2": ({"name": "null:Null"}, bands, 2, plain),
        "null-4": ({"name": "null:Null"}, bands, 4, plain),
        "null-20": ({"name": "null:Null"}, bands, 20, plain),
        "null-all": ({"name": "null:Null"}, bands, bands, plain),
    }
    net, channels_in, channels_out, before = nets[name]
    torch.manual_seed(0)
    params = {key: value for key, value in net.items() if key != "name"}
    weights = build(net["name"], channels_in, channels_out, **params).state_dict()
    if name == "constant":
        weights["affine.weight"].zero_()
    segment = {"name": "segment", "classes": CLASSES, "head": "logits"}
    Model(
        net=net,
        task=segment if name == "unet" else {"name": "planes:Planes", "channels": channels_out},
        channels=(channels_in, channels_out),
        classes=("background", "plant") if name == "unet" else (),
        recipe=before,
        weights=weights,
        tile=None,
        provenance={"method": "untrained", "train_regions": []},
    ).save(str(out))
