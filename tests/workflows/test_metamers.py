"""What context tells and a pixel does not: materials of one colour, of two textures (Alvarez-Gila et al. 2017)."""

import numpy as np
import pytest
from cube_scenes import AXIS, FILTERS, metamers, values, write

from tilespec.baselines.baseline import baseline
from tilespec.evaluate.evaluate import evaluate
from tilespec.predict.predict import predict
from tilespec.training.train import train

TEST = slice(96, 144)
REGRESSIONS = ("linear", "polynomial", "rbf")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """An image and its spectra."""
    folder = tmp_path_factory.mktemp("metamers")
    cube, rgb, _ = metamers(144, 128)
    return write(folder / "rgb", rgb), write(folder / "spectra", cube, AXIS)


@pytest.fixture(scope="module")
def products(pair, tmp_path_factory):
    """Predictions by nets of one branch and of two, and by regressions, all of them learned on the upper rows."""
    folder = tmp_path_factory.mktemp("products")
    for name in REGRESSIONS:
        baseline(name, pair[0], str(folder / name), target=pair[1], rows="0:96", samples=4000)
    for n_branches in (1, 2):
        learned(pair, folder, n_branches)
    return folder


def error(pair, out):
    """Return the root mean square error on the test rows."""
    return float(np.sqrt(np.square(values(out) - values(pair[1]))[TEST].mean()))


def learned(pair, folder, n_branches):
    settings = {
        "data": {"scene": pair[0], "target": pair[1], "rows": "0:96", "patch": 32, "augment": False},
        "recipe": {"steps": "span=0:1"},
        "task": {"name": "reconstruct"},
        "net": {
            "name": "branched",
            "n_branches": n_branches,
            "base_width": 16,
            "middle": 32,
            "dropout": 0.0,
            "head": "linear",
        },
        "objective": {"name": "supervised", "loss": "mse"},
        "train": {"steps": 200, "batch": 8, "rate": 2e-2, "warmup": 10, "checkpoint_every": 1000},
    }
    train(settings, str(folder / f"m{n_branches}"))
    predict(str(folder / f"m{n_branches}"), pair[0], str(folder / f"branches{n_branches}"))


def test_the_materials_are_metamers_and_their_pixels_are_of_one_kind():
    cube, rgb, second = metamers(144, 128)
    np.testing.assert_allclose(cube @ FILTERS.T, rgb, atol=1e-6)
    one, other = rgb[second][:, 0], rgb[~second][:, 0]
    assert abs(one.mean() - other.mean()) < 0.05
    assert abs(cube[second].mean(axis=0) - cube[~second].mean(axis=0)).max() > 0.25


@pytest.mark.slow
def test_texture_separates_metamers_that_no_pixel_tells_apart(pair, products):
    cube, _, second = metamers(144, 128)
    unseen = np.sqrt(np.square((cube[second].mean(axis=0) - cube[~second].mean(axis=0)) / 2).mean())
    alone = [error(pair, products / name) for name in ("branches1", *REGRESSIONS)]
    assert min(alone) > 0.9 * unseen
    assert error(pair, products / "branches2") < 0.75 * min(alone)


@pytest.mark.slow
def test_regressions_are_judged_by_the_same_figures_as_nets(pair, products):
    found = {
        name: evaluate(str(products / name), pair[1], rows="96:144", patches=1, patch_size=48)
        for name in ("branches2", *REGRESSIONS)
    }
    for name, scores in found.items():
        assert set(scores) == set(found["branches2"]), name
        assert scores["rmse"] == pytest.approx(error(pair, products / name), rel=1e-5)
        assert 0.9 < scores["gfc"] < 1
    assert found["branches2"]["rmse_pixel"] < min(found[name]["rmse_pixel"] for name in REGRESSIONS)
