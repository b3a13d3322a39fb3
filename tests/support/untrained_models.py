"""Models with random weights, and the bytes of what they predict."""

from pathlib import Path

import numpy as np
import torch
import zarr

from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene

UNET = {"name": "unet", "base_width": 4, "n_down": 3, "norm": "channel", "dropout": 0.0, "init": "kaiming"}
APPROXIMATE = {**UNET, "norm": "instance"}


def save_model(path, scene, *, net=UNET, classes=2, tile=16, spoil=None):
    """Save an untrained model for a scene: its predictions are arbitrary, and depend on every weight."""
    opened = Scene.open(scene)
    torch.manual_seed(0)
    module = build(net["name"], opened.shape[2], classes, **{k: v for k, v in net.items() if k != "name"})
    model = Model(
        net=net,
        task={"name": "segment", "classes": classes, "head": "logits"},
        channels=(opened.shape[2], classes),
        classes=tuple(f"class_{i}" for i in range(classes)),
        recipe=Recipe.empty(spoil or opened.shape[2], opened.spectral),
        weights=module.state_dict(),
        tile=tile,
        provenance={"method": "untrained", "train_regions": []},
    )
    model.save(str(path))
    return str(path)


def stored(url, name="prediction"):
    return np.asarray(zarr.open_group(str(url), mode="r")[name])


def objects(url):
    """Return every stored object's bytes by key."""
    return {str(p.relative_to(url)): p.read_bytes() for p in Path(url).rglob("*") if p.is_file()}
