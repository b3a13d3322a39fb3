"""The examples of docs/extending.md run: each is a module outside the package, and tilespec takes it by name."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS
from tilespec.models.model import Model
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene
from tilespec.training.objectives import OBJECTIVES
from tilespec.training.validation import history

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
EXAMPLES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), flags=re.DOTALL))
TRAINING = {
    "recipe": {"steps": "pca=2"},
    "net": {"name": "unet", "base_width": 4, "n_down": 1, "norm": "channel", "init": "kaiming"},
    "objective": {"name": "supervised"},
    "train": {"steps": 4, "batch": 2, "warmup": 1},
}


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("extending") / "scene", 40, 40, 6)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Return a function that puts a module of the page where Python finds it, and names it as the user would."""
    monkeypatch.syspath_prepend(tmp_path)

    def named(name):
        (tmp_path / f"{name}.py").write_text(EXAMPLES[name])
        monkeypatch.setenv(PLUGINS, name)
        return name

    yield named
    for name in EXAMPLES:
        sys.modules.pop(name, None)


def trained(scene, out, **tables):
    """Train for a few steps with a table changed; return the lines of the log."""
    settings = TRAINING | {"data": {"scene": scene, "patch": 16, "patches": 6}} | tables
    api.train(settings, str(out))
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_every_example_is_short():
    assert len(EXAMPLES) == 11
    assert {name: text.count("\n") for name, text in EXAMPLES.items() if text.count("\n") > 40} == {}


def test_without_its_module_a_name_is_refused_and_the_message_says_how_to_name_it(scene, tmp_path):
    with pytest.raises(UserError, match=PLUGINS):
        api.fit(scene, str(tmp_path / "r"), steps="ratio=3")


def test_a_format(example, tmp_path):
    example("flat_reader")
    cube = np.random.default_rng(0).random((150, 7, 3)).astype("<f4")
    (tmp_path / "scene.flat").write_bytes(b"150 7 3\n" + cube.tobytes())
    api.ingest(str(tmp_path / "scene.flat"), str(tmp_path / "scene"), reader="flat")
    assert np.array_equal(Scene.open(str(tmp_path / "scene")).array[:], cube)


def test_a_step_is_fitted_stored_and_applied(example, scene, tmp_path):
    example("ratio_step")
    api.fit(scene, str(tmp_path / "recipe"), steps="ratio=3,pca=2")
    api.transform(str(tmp_path / "recipe"), scene, str(tmp_path / "scores"))
    api.fit(scene, str(tmp_path / "ratio"), steps="ratio=3")
    spectra = Scene.open(scene).array[:2].reshape(-1, 6)
    assert np.allclose(Recipe.load(str(tmp_path / "ratio")).apply(spectra.copy()), spectra / spectra[:, 3:4])


def test_a_net_learns_and_predicts(example, scene, tmp_path):
    name = example("small_net")
    trained(scene, tmp_path / "model", net={"name": "small", "width": 4})
    assert api.predict(str(tmp_path / "model"), scene, str(tmp_path / "map"))["status"] == "complete"
    trained(scene, tmp_path / "dotted", net={"name": f"{name}:Small"})
    assert Model.load(str(tmp_path / "dotted")).net == {"name": "small_net:Small", "width": 8}


PLAIN = """
import torch

class Net(torch.nn.Module):
    def __init__(self, channels_in, channels_out):
        super().__init__()
        width = int(torch.ones(4).sum().item())
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(channels_in, width, 3, padding=1), torch.nn.Conv2d(width, channels_out, 1)
        )

    def forward(self, x):
        return self.layers(x)
"""


def test_a_plain_torch_module_that_declares_nothing_learns_is_validated_and_predicts(scene, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PLUGINS, "")
    (tmp_path / "plain_net.py").write_text(PLAIN)
    data = {"scene": scene, "patch": 15, "patches": 6, "rows": "0:24"}
    trained(scene, tmp_path / "m", net={"name": "plain_net:Net"}, data=data, validate={"rows": "25:40", "every": 4})
    assert len(history.read(tmp_path / "m")) == 1
    plan = api.predict(str(tmp_path / "m"), scene, str(tmp_path / "map"), tile=16, dry_run=True)
    assert plan["tile_class"] == "exact", "measured"
    whole = api.predict(str(tmp_path / "m"), scene, str(tmp_path / "whole"), tile=40, probabilities=True)["out"]
    tiles = api.predict(str(tmp_path / "m"), scene, str(tmp_path / "map"), tile=16, probabilities=True)["out"]
    values = [zarr.open_group(out, mode="r")["probability"][:] for out in (whole, tiles)]
    np.testing.assert_allclose(*values, atol=1e-5)


def test_a_task_with_a_metric_that_leads(example, scene, tmp_path):
    example("fair_task")
    data = {"scene": scene, "patch": 16, "patches": 6, "rows": "0:24"}
    trained(scene, tmp_path / "m", task={"name": "fair"}, data=data, validate={"rows": "25:40", "every": 2})
    lines = history.read(tmp_path / "m")
    assert [*lines[0]][1:3] == ["lowest_recall", "miou"]
    out = api.predict(str(tmp_path / "m"), scene, str(tmp_path / "map"), rows="25:40")["out"]
    told = api.evaluate(out, scene, patches=1, patch_size=4)
    assert told["lowest_recall"] == min(value for value in told["recall"] if value is not None)
    assert told["lowest_recall"] == max(line["lowest_recall"] for line in lines)
    assert told["task"] == "fair"


def test_an_objective_with_three_players(example, scene, tmp_path):
    example("rebuild_objective")
    log = trained(scene, tmp_path / "model", objective={"name": "rebuild"})
    assert set(log[-1]["norms"]) == {"generator", "rebuilder", "critic"}
    assert all(norm > 0 for norm in log[-1]["norms"].values())
    assert "rebuild" not in OBJECTIVES


def test_a_schedule(example, scene, tmp_path):
    example("square_root_schedule")
    log = trained(scene, tmp_path / "model", train={**TRAINING["train"], "schedule": {"name": "square_root"}})
    rates = [line["rate"] for line in log]
    assert rates[2] / rates[1] == pytest.approx((1 + 4 / 3) ** -0.5)


def test_an_augmentation(example, scene, tmp_path):
    example("dust_augmentation")
    plain = trained(scene, tmp_path / "plain")
    dusty = trained(scene, tmp_path / "dusty", augment={"own": {"dust": 0.5}})
    assert plain[0]["cross_entropy"] != dusty[0]["cross_entropy"]


def test_an_export_format(example, scene, tmp_path):
    example("csv_export")
    api.export(scene, str(tmp_path / "scene.pixels"))
    with (tmp_path / "scene.pixels").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1600
    assert [float(value) for value in rows[41][2:]] == pytest.approx(Scene.open(scene).array[1, 1].tolist())


def test_a_type_of_cluster(example, scene, tmp_path):
    example("threads_cluster")
    digests = {
        api.fit(scene, str(tmp_path / str(workers)), steps="pca=2", cluster=cluster, workers=workers)["digest"]
        for cluster, workers in ((None, 0), ("threads", 2))
    }
    assert len(digests) == 1


def test_a_kind_of_store(example, scene, tmp_path, monkeypatch):
    example("laboratory_store")
    monkeypatch.setenv("LAB_SCENES", str(Path(scene).parent))
    there = api.fit("lab://scene", str(tmp_path / "recipe"), steps="pca=2")
    assert there["digest"] == api.fit(scene, str(tmp_path / "same"), steps="pca=2")["digest"]
    monkeypatch.setenv("LAB_SCENES", str(tmp_path))
    api.transform(str(tmp_path / "recipe"), scene, "lab://scores")
    assert api.verify("lab://scores")["whole"]
    assert (tmp_path / "scores" / "zarr.json").exists()


def test_a_section_of_the_report(example, scene, tmp_path):
    example("sizes_section")
    assert "sizes" in api.report([scene], str(tmp_path / "page.html"))["sections"]
    assert "40 x 40 x 6" in (tmp_path / "page.html").read_text()
