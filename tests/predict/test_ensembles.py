"""Several models of one task: their mean, and their spread, whatever their recipes and nets, in whatever order."""

import numpy as np
import pytest
from command_line import tilespec
from numpy.testing import assert_allclose
from untrained_models import APPROXIMATE, UNET, objects, save_model, stored

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_scene):
    """A scene, a target on it, and three models of both kinds of tasks with different recipes."""
    at = tmp_path_factory.mktemp("ensembles")
    make_scene(at / "scene", 90, 70, 6)
    for name, options in {"a": {"ridge": 0.0}, "b": {"recipe": "snv"}, "c": {"recipe": "sg=5:2"}}.items():
        api.baseline("linear", at / "scene", at / name, target=at / "scene", samples=500, **options)
    for i, net in enumerate((UNET, APPROXIMATE, {**UNET, "n_down": 2})):
        save_model(at / f"net{i}", str(at / "scene"), net=net, spoil=None)
    return at


def folders(at, *names):
    return [str(at / name) for name in names]


VALUES = ("a.model", "b.model", "c.model")


def test_the_mean_and_the_spread_are_those_of_the_models(world):
    out = world / "mean"
    api.predict(folders(world, *VALUES), world / "scene", out, disagreement=True)
    each = np.stack([stored(world / name) for name in "abc"]).astype(np.float64)
    assert_allclose(stored(out), each.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert_allclose(stored(out, "disagreement"), np.sqrt(each.var(axis=0).mean(axis=2)), rtol=1e-3, atol=1e-6)


def test_classes_are_those_of_the_mean_probabilities(world):
    nets, options = folders(world, "net0", "net2"), {"probabilities": True, "tile": 32, "overlap": 16}
    for i, net in enumerate(nets):
        api.predict(net, world / "scene", world / f"alone{i}", **options)
    api.predict(nets, world / "scene", world / "voted", **options)
    mean = np.mean([stored(world / f"alone{i}", "probability") for i in range(2)], axis=0)
    assert_allclose(stored(world / "voted", "probability"), mean, rtol=1e-5, atol=1e-6)
    sure = np.abs(mean[..., 0] - mean[..., 1]) > 1e-5
    assert (stored(world / "voted") == mean.argmax(axis=2))[sure].all()
    assert len(np.unique(stored(world / "voted"))) == 2


def test_nets_of_different_tile_classes_are_averaged_too(world):
    api.predict(folders(world, "net0", "net1"), world / "scene", world / "mixed", tile=32)
    assert len(np.unique(stored(world / "mixed"))) == 2


def test_neither_the_order_of_the_models_nor_the_workers_change_a_byte(world):
    runs = {"forth": (VALUES, 0), "back": (VALUES[::-1], 0), "workers": (VALUES, 2)}
    for name, (models, workers) in runs.items():
        api.predict(folders(world, *models), world / "scene", world / name, workers=workers, tile=32)
    first, *others = (objects(world / name) for name in runs)
    assert all(other == first for other in others)


def test_a_damaged_mean_is_repaired(world):
    out = world / "torn"
    api.predict(folders(world, *VALUES[:2]), world / "scene", out)
    whole = objects(out)
    victim = next(path for path in sorted(out.rglob("*")) if path.is_file() and "/c/" in path.as_posix())
    victim.write_bytes(victim.read_bytes()[:-7])
    api.repair(out)
    assert objects(out) == whole


def test_the_mean_says_what_it_is_made_of(world):
    out = world / "attributes"
    api.predict(folders(world, *VALUES[:2]), world / "scene", out)
    attrs = Scene.open(str(out)).attrs
    assert attrs["method"] == "mean of 2 models: linear"
    assert len(attrs["train_regions"]) == 1


def test_models_of_different_tasks_or_the_same_model_twice_are_refused(world):
    for models, says in (
        (folders(world, "a.model", "net0"), "Average models of one task"),
        (folders(world, "a.model", "a.model"), "the same model twice"),
    ):
        with pytest.raises(UserError, match=says):
            api.predict(models, world / "scene", world / "never")
    with pytest.raises(UserError, match="--norm"):
        api.predict(folders(world, "net0", "net1"), world / "scene", world / "never", norm="frozen")
    assert not (world / "never").exists()


def test_the_command_line_takes_models_then_scenes(world):
    models = folders(world, *VALUES[:2])
    assert tilespec("predict", *models, world / "scene", world / "line").returncode == 0
    assert tilespec("predict", *models, world / "scene", world / "a", world / "several").returncode == 0
    assert (world / "several" / "a").exists()
    ended = tilespec("predict", *models, world / "line")
    assert ended.returncode == 2
    assert "expected MODEL... SCENE... OUT" in ended.stderr
