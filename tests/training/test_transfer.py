"""A training that begins with another model's weights: what agrees is taken bit for bit, and all else is said."""

import shutil

import pytest
import torch
from short_trainings import config

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.training.transfer import agreeing, begin

NET = {"name": "unet", "base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming"}
SPECTRAL = {"name": "resunet", "dimensions": 1, "base_width": 2, "levels": 1}


def settings(scene, **tables):
    """Return a training of two steps."""
    plain = {"objective": {"name": "supervised"}, "net": {"norm": "channel"}, "train": {"steps": 2, "batch": 2}}
    given = config(scene, **{name: plain.get(name, {}) | tables.get(name, {}) for name in {*plain, *tables}})
    return given | {"objective": {"name": "supervised"}}


@pytest.fixture(scope="module")
def before(make_scene, tmp_path_factory):
    """Train on three classes; return the folder."""
    at = tmp_path_factory.mktemp("before")
    scene = make_scene(at / "scene", 40, 40, 6, classes=3)
    api.train(settings(scene), str(at / "model"))
    return at / "model"


def built(net, bands, classes):
    torch.manual_seed(7)
    return build(net["name"], bands, classes, **{key: value for key, value in net.items() if key != "name"})


def test_other_classes_keep_the_body_and_have_a_last_layer_of_their_own(before):
    net, old = built(NET, 3, 5), Model.load(str(before))
    begin(net, NET, str(before))
    state = net.state_dict()
    left = [name for name in state if not name.startswith("out.")]
    assert set(agreeing(old, NET, state)) == set(left)
    assert all(torch.equal(state[name], old.weights[name]) for name in left)
    assert torch.equal(state["out.weight"], built(NET, 3, 5).state_dict()["out.weight"])


def test_other_bands_keep_all_but_the_first_layer_or_all_that_moves_along_them(before):
    taken = agreeing(Model.load(str(before)), NET, built(NET, 4, 3).state_dict())
    assert {name for name in built(NET, 4, 3).state_dict() if name not in taken} == {"downs.0.0.weight"}
    spectra, others = built(SPECTRAL, 20, 3), built(SPECTRAL, 31, 3)
    agree = {k for k, v in spectra.state_dict().items() if others.state_dict()[k].shape == v.shape}
    assert {name for name in spectra.state_dict() if name not in agree} == {"body.1.2.linear.weight"}


def test_a_training_begins_there_says_so_and_knows_the_model_by_its_content(make_scene, before, tmp_path):
    scene = make_scene(tmp_path / "two", 40, 40, 6, classes=2)
    copy = shutil.copytree(before, tmp_path / "copy")
    frozen = {"rate": 1e-30, "decay": 0.0}
    found = api.train(settings(scene, train={"start": str(before), **frozen}), str(tmp_path / "after"))
    assert any("begins with" in note and "out.weight" in note for note in found["notes"])
    old, new = Model.load(str(before)), Model.load(str(tmp_path / "after"))
    assert torch.equal(new.weights["downs.1.0.weight"], old.weights["downs.1.0.weight"])
    again = api.train(settings(scene, train={"start": str(copy), **frozen}), str(tmp_path / "after"))
    assert again["steps"] == found["steps"]
    with pytest.raises(UserError, match="start"):
        api.train(settings(scene, train={"start": None, **frozen}), str(tmp_path / "after"))


@pytest.mark.parametrize("net", [{"base_width": 8}, {"name": "mlp", "hidden": [4]}])
def test_a_model_of_another_net_is_refused_before_anything_is_written(make_scene, before, tmp_path, net):
    scene = make_scene(tmp_path / "scene", 40, 40, 6, classes=3)
    given = settings(scene, train={"start": str(before)})
    given["net"] = {**NET, **net} if "base_width" in net else net
    with pytest.raises(UserError, match=r"train\.start"):
        api.train(given, str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()
