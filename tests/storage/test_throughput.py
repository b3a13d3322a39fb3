"""Throughput in `status`: of a run that goes on from the times of its records, of one that has ended from its note."""

import os
from pathlib import Path

import pytest
from untrained_models import APPROXIMATE, save_model

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.lock import locked


@pytest.fixture
def product(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 300, 40, 5)
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    out = str(tmp_path / "out")
    return model, scene, out, api.predict(model, scene, out, tile=32)


def test_a_run_that_has_ended_has_the_rates_of_its_note(product):
    _, _, out, result = product
    found = api.status(out)["throughput"]
    assert found["scene_terabytes_per_hour"] == pytest.approx(300 * 40 * 5 * 4 / 1e12 / (result["seconds"] / 3600))
    assert found["tiles_per_second"] == pytest.approx(result["tiles"] / result["seconds"])
    assert len(found["tiles_per_second_by_worker"]) == 1
    assert sum(result["tiles_by"].values()) == result["tiles"]


def test_a_run_that_goes_on_has_the_rate_of_its_records(product):
    _, _, out, _ = product
    records = sorted(Path(f"{out}.tilespec").rglob("row-*.json"))
    assert len(records) == 2
    for second, path in enumerate(records):
        os.utime(path, (1e9 + 3600 * second,) * 2)
    with locked(out):
        found = api.status(out)["throughput"]
    assert found["scene_terabytes_per_hour"] == pytest.approx(300 * 40 * 5 * 4 / 1e12 / 2), "a row, half of it, an hour"


def test_what_is_no_prediction_and_a_note_without_numbers_have_no_rate(product, tmp_path):
    _, scene, _, _ = product
    assert api.status(scene)["throughput"] is None


def test_a_dry_run_says_how_long_it_takes_by_an_earlier_prediction(product, tmp_path):
    model, scene, out, result = product
    given = {"tile": 32, "dry_run": True}
    assert "expected" not in api.predict(model, scene, tmp_path / "new", **given)
    found = api.predict(model, scene, tmp_path / "new", like=out, **given)["expected"]
    assert (found["tiles"], found["tiles_twice"]) == (result["tiles"], 0)
    assert found["seconds"] > 0
    more = api.predict(model, scene, tmp_path / "new", like=out, workers=2, **given)["expected"]
    assert more["parts"] > found["parts"] == 1
    with pytest.raises(UserError, match="no rates of this model"):
        api.predict(model, scene, tmp_path / "new", like=str(tmp_path / "scene"), **given)
