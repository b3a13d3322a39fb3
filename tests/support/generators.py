"""Untrained generators of spectra."""

import torch

from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene

CLASSES, LATENT = 3, 5


def generator(folder, scene, steps="minmax=shared", names=None, seed=0):
    """Save an untrained generator for the classes of a scene."""
    fit(scene, str(folder / "recipe"), steps=steps)
    recipe = Recipe.load(str(folder / "recipe"))
    torch.manual_seed(seed)
    net = {"name": "spectrum_mlp", "hidden": [16, 16], "head": "sigmoid"}
    channels = LATENT + CLASSES + 1, recipe.bands_out
    module = build("spectrum_mlp", *channels, hidden=[16, 16], head="sigmoid")
    Model(
        net=net,
        task={"name": "synthesize", "classes": CLASSES, "bands": recipe.bands_out, "latent": LATENT},
        channels=channels,
        classes=names or Scene.open(scene).classes(),
        recipe=recipe,
        weights=module.state_dict(),
        provenance={"method": "untrained", "train_regions": []},
    ).save(str(folder / "gan"))
    return str(folder / "gan")
