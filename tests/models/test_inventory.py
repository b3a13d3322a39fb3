"""The inventory of nets: each net learns and predicts each quantity that it is for, and refuses what it is not for."""

from importlib.util import find_spec

import numpy as np
import pytest
from untrained_models import stored

from tilespec.core.errors import UserError
from tilespec.predict.predict import predict
from tilespec.training.train import train

SIDE, BANDS, CELL, SCALE = 16, 6, 8, 2

UNET = {"name": "resunet", "base_width": 2, "levels": 1, "residual": False}
RESUNET = {**UNET, "residual": True}
RESNET = {"name": "resnet", "base_width": 2, "stages": 1}
DENSENET = {"name": "densenet", "growth": 1, "stages": 1}
TOKENS = {"name": "spectralformer", "dim": 4, "depth": 1, "heads": 2}
EFFICIENTNET = {"name": "efficientnet", "base_width": 8, "stages": 1}
SEGNET = {"name": "segnet", "base_width": 2, "stages": 1}
RCAN = {"name": "rcan", "width": 2, "reduction": 1, "groups": 1, "blocks": 1}
BANDS_EACH = {"answer": "bands"}

SPECTRA, VOLUMES = {"dimensions": 1}, {"dimensions": 3}
"""Parameters of nets of spectra and of volumes; nets are of images without them."""


def cells(net):
    return {"name": "cells", "cell": CELL, "inner": net}


def enlarged(net):
    return {"name": "enlarged", "scale": SCALE, "inner": net}


def residual(net):
    return {"name": "residual", "inner": net}


FILLED = {
    **{
        f"{task} {name}": (task, net)
        for name, unet in (("unet", UNET), ("resunet", RESUNET))
        for task, net in (
            ("calibrate", {**unet, **SPECTRA, **BANDS_EACH}),
            ("denoise", {**unet, **SPECTRA, **BANDS_EACH}),
            ("spectra", {**unet, **SPECTRA}),
        )
    },
    "calibrate images": ("calibrate", UNET),
    "denoise images": ("denoise", RESUNET),
    "denoise volumes": ("denoise", {**RESUNET, **VOLUMES, **BANDS_EACH}),
    "denoise qrnn3d": ("denoise", {"name": "qrnn3d", "base_width": 2, "levels": 1}),
    "segment images": ("segment", UNET),
    "segment volumes": ("segment", {**RESUNET, **VOLUMES}),
    "segment segnet images": ("segment", SEGNET),
    "segment segnet volumes": ("segment", {**SEGNET, **VOLUMES}),
    "segment smp": ("segment", {"name": "smp", "architecture": "PSPNet", "encoder": "mobilenet_v2"}),
    "superres unet": ("superres", enlarged(UNET)),
    "superres resunet": ("superres", enlarged(RESUNET)),
    "superres rcan": ("superres", {**RCAN, "scale": SCALE}),
    "superres residual": ("superres", residual({**RCAN, "scale": SCALE})),
    "denoise residual": ("denoise", residual({**RESUNET, **SPECTRA, **BANDS_EACH})),
    "images unet": ("images", cells(UNET)),
    "images unet volumes": ("images", cells({**UNET, **VOLUMES})),
    **{
        f"{net['name']} of {form}": (task, make({**net, **own}))
        for net in (RESNET, DENSENET)
        for form, task, own, make in (
            ("spectra", "spectra", SPECTRA, dict),
            ("images", "images", {}, cells),
            ("volumes", "images", VOLUMES, cells),
        )
    },
    "images efficientnet": ("images", cells(EFFICIENTNET)),
    "spectra spectralformer": ("spectra", TOKENS),
    "windows spectralformer": ("spectra", {**TOKENS, "window": 3}),
    "windows hybridsn": ("spectra", {"name": "hybridsn", "window": 5, "widths": [2], "depths": [3], "dense": [4]}),
}
"""For each name the task in `TASKS` and a net that is for it."""

EMPTY = {
    "segnet spectra": ("segment", {**SEGNET, **SPECTRA}, "net.dimensions"),
    "efficientnet spectra": ("spectra", {**EFFICIENTNET, **SPECTRA}, "net.dimensions"),
    "efficientnet volumes": ("images", cells({**EFFICIENTNET, **VOLUMES}), "net.inner.dimensions"),
    "rcan spectra": ("superres", {**RCAN, **SPECTRA}, "net.dimensions"),
    "rcan volumes": ("superres", {**RCAN, **VOLUMES}, "net.dimensions"),
    "segment rcan": ("segment", RCAN, "answers of 16 x 16 pixels"),
    "superres unet": ("superres", UNET, "answers of 8 x 8 pixels"),
    "superres segnet": ("superres", SEGNET, "answers of 8 x 8 pixels"),
    "superres resnet": ("superres", RESNET, "answers of 8 x 8 pixels"),
    "superres residual": ("superres", residual(UNET), "answers of 8 x 8 pixels"),
    "calibrate residual": ("fewer", residual({**RESUNET, **SPECTRA}), "net.inner: channels"),
    "images resnet": ("images", RESNET, "answers of 8 x 8 pixels"),
    "segment cells": ("segment", cells(UNET), "answers of 1 x 1 pixels"),
    "calibrate qrnn3d": ("fewer", {"name": "qrnn3d"}, "net.channels"),
    "cells of what is no net": ("images", cells({"nme": "resnet"}), "net.inner"),
}
"""For each name a task, a net that is not for it, and the beginning of what is said."""

TASKS = {
    "spectra": ({"name": "classify"}, None, (SIDE, SIDE)),
    "images": ({"name": "classify", "cell": CELL}, None, (SIDE // CELL, SIDE // CELL)),
    "segment": ({"name": "segment"}, None, (SIDE, SIDE)),
    "denoise": ({"name": "denoise"}, (1, BANDS), (SIDE, SIDE, BANDS)),
    "calibrate": ({"name": "calibrate"}, (1, BANDS), (SIDE, SIDE, BANDS)),
    "fewer": ({"name": "calibrate"}, (1, BANDS - 2), (SIDE, SIDE, BANDS - 2)),
    "superres": ({"name": "superres", "scale": SCALE}, (SCALE, BANDS), (SCALE * SIDE, SCALE * SIDE, BANDS)),
}
"""For each name the settings of the task, scale and bands of its target, and the shape of a prediction."""


@pytest.fixture(scope="module")
def learned(make_scene, tmp_path_factory):
    """Return the function that trains a net for one step: it returns the folder of the model and the scene."""
    at = tmp_path_factory.mktemp("inventory")
    scene = make_scene(at / "scene", SIDE, SIDE, BANDS)
    targets = {
        (scale, bands): make_scene(at / f"target{scale}{bands}", scale * SIDE, scale * SIDE, bands)
        for _, target, _ in TASKS.values()
        if target
        for scale, bands in [target]
    }

    def learn(task, net, out):
        options, target, _ = TASKS[task]
        settings = {
            "data": {"scene": scene, "patch": CELL, "patches": 2, "augment": False},
            "task": options,
            "net": net,
            "recipe": {"steps": ""},
            "objective": {"name": "supervised"},
            "train": {"steps": 1, "batch": 2, "warmup": 1, "loaders": 0},
        }
        if target:
            settings["data"]["target"] = targets[target]
            settings["objective"]["loss"] = "l1"
        train(settings, str(out))
        return str(out), scene

    return learn


@pytest.mark.parametrize("cell", FILLED)
def test_a_net_learns_one_step_and_predicts_the_shape_of_the_task(learned, tmp_path, cell):
    task, net = FILLED[cell]
    if net["name"] == "smp" and find_spec("segmentation_models_pytorch") is None:
        pytest.skip("needs the extra [encoders]")
    model, scene = learned(task, net, tmp_path / "model")
    predict(model, scene, str(tmp_path / "out"))
    predicted = stored(tmp_path / "out")
    assert predicted.shape == TASKS[task][2]
    assert np.isfinite(predicted).all()


@pytest.mark.parametrize("cell", EMPTY)
def test_a_net_refuses_what_it_is_not_for(learned, tmp_path, cell):
    task, net, text = EMPTY[cell]
    with pytest.raises(UserError, match=text):
        learned(task, net, tmp_path / "model")
