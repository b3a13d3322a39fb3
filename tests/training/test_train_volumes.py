"""Nets of spectra, images and volumes train and predict scenes: tiles of any size give the same answer."""

import numpy as np
import pytest
from untrained_models import stored

from tilespec.predict.predict import predict
from tilespec.training.train import train

SMALL = {"base_width": 2, "levels": 1, "residual": False}
NETS = {
    "spectra": {"name": "resunet", "dimensions": 1, **SMALL},
    "tokens": {"name": "spectralformer", "dim": 4, "depth": 3, "heads": 2},
    "images": {"name": "resunet", "dimensions": 2, **SMALL},
    "volumes": {"name": "resunet", "dimensions": 3, **SMALL},
    "dilated": {"name": "resnet", "dimensions": 3, "base_width": 2, "stages": 1},
    "windows": {"name": "hybridsn", "window": 7, "widths": [2], "depths": [3], "plane": 2, "dense": [4]},
}
"""Small nets that are exact or pixelwise."""


def trained(scene, out, net):
    """Train a net for two steps on patches of a scene and return the folder of its model."""
    settings = {
        "data": {"scene": scene, "patch": 8, "patches": 4},
        "net": net,
        "objective": {"name": "supervised"},
        "train": {"steps": 2, "batch": 2},
    }
    train(settings, str(out))
    return str(out)


@pytest.mark.parametrize("name", NETS)
def test_a_trained_net_predicts_the_same_in_tiles_of_any_size(make_scene, tmp_path, name):
    scene = make_scene(tmp_path / "scene", 30, 26, 7)
    model = trained(scene, tmp_path / "model", NETS[name])
    maps = []
    for tile in (6, 32):
        predict(model, scene, str(tmp_path / f"out{tile}"), tile=tile, probabilities=True)
        maps.append(stored(tmp_path / f"out{tile}", "probability"))
    assert np.ptp(maps[0]) > 0
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-5, atol=1e-6)
