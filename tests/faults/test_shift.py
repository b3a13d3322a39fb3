"""The grid of tiles is moved by a few pixels: an exact net does not notice, any other does by a stated amount."""

import shutil

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from untrained_models import APPROXIMATE, UNET, save_model

from tilespec.core.registry import from_user
from tilespec.predict.predict import predict

TILE, OVERLAP, SHAPE = 32, 16, (120, 104)
MARGIN = 32
"""Pixels at the edge of the smaller region that see its reflection instead of the scene."""


LARGEST, MEAN = 0.25, 0.04
"""Of the difference of probabilities, measured 0.15 and 0.020 here."""
NETS = {
    "plain": {"name": from_user("fault_nets:Plain")},
    "strided": {**UNET, "n_down": 2},
    "approximate": {**APPROXIMATE, "n_down": 2},
}
ALIGN = 4
"""Of the nets with strides: moved by less, the net itself sees another scene."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory, make_scene):
    """A scene, nets that are exact, exact on multiples of their strides, and not; what they predict of the whole."""
    folder = tmp_path_factory.mktemp("shift")
    scene = make_scene(folder / "scene", *SHAPE, 6)
    models = {name: save_model(folder / name, scene, net=net, tile=TILE) for name, net in NETS.items()}
    whole = {name: probability(model, scene, folder / f"{name}.out") for name, model in models.items()}
    return folder, scene, models, whole


def probability(model, scene, out, **options):
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(f"{out}.tilespec", ignore_errors=True)
    predict(model, scene, str(out), tile=TILE, overlap=OVERLAP, probabilities=True, **options)
    return zarr.open_group(str(out), mode="r")["probability"][:]


def moved(shared, kind, down, right):
    """Return the largest and the mean difference when the grid begins ``down`` and ``right`` pixels later."""
    folder, scene, models, whole = shared
    region = {"rows": f"{down}:{SHAPE[0]}", "cols": f"{right}:{SHAPE[1]}"}
    shifted = probability(models[kind], scene, folder / "shifted", **region)
    inside = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    difference = np.abs(shifted[inside] - whole[kind][down:, right:][inside])
    return float(difference.max()), float(difference.mean())


@given(down=st.integers(0, TILE - OVERLAP), right=st.integers(0, TILE - OVERLAP))
@settings(max_examples=5)
def test_an_exact_net_does_not_notice_that_its_grid_was_moved(shared, down, right):
    assert moved(shared, "plain", down, right)[0] < 1e-5


@given(down=st.integers(0, 4), right=st.integers(0, 4))
@settings(max_examples=3)
def test_an_exact_net_with_strides_does_not_notice_a_move_by_its_strides(shared, down, right):
    assert moved(shared, "strided", ALIGN * down, ALIGN * right)[0] < 1e-5


@pytest.mark.parametrize(("down", "right"), [(4, 0), (8, 8), (12, 4), (16, 16)])
def test_another_net_changes_by_a_stated_amount_and_by_more_than_an_exact_one(shared, down, right):
    """Instance norms take each tile's own statistics: other tiles, other probabilities. The blend keeps it small."""
    largest, mean = moved(shared, "approximate", down, right)
    if (down, right) == (16, 16):  # a whole step: inside, the same tiles again
        assert largest < 1e-5
    else:
        assert 1e-4 < largest < LARGEST
        assert mean < MEAN
