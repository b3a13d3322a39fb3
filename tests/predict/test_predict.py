"""A model and a raw scene in, a blended product out: one worker equals two, killed and resumed equals undisturbed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from untrained_models import APPROXIMATE, objects, save_model, stored

from tilespec.core.errors import UserError
from tilespec.models.frozen_norms import _net_of_folder
from tilespec.models.model import Model
from tilespec.models.nets import outlined
from tilespec.predict import predictor
from tilespec.predict.predict import predict
from tilespec.storage.scene import Scene


@pytest.fixture
def scene(make_scene, tmp_path):
    return make_scene(tmp_path / "scene", 150, 70, 5)


def test_predictions_in_this_process_and_on_one_two_and_four_workers_have_the_same_bytes(scene, tmp_path):
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    for workers in (0, 1, 2, 4):
        result = predict(model, scene, str(tmp_path / f"out{workers}"), overlap=8, workers=workers, probabilities=True)
        assert result["tiles"] >= result["tiles_planned"]
    stores = [objects(tmp_path / f"out{workers}") for workers in (0, 1, 2, 4)]
    assert all(store == stores[0] for store in stores)
    assert len(np.unique(stored(tmp_path / "out0"))) == 2


@pytest.mark.parametrize(("options", "nets"), [({}, 1), ({"norm": "frozen"}, 3), ({"probabilities": True}, 1)])
def test_a_model_is_loaded_once_and_its_weights_are_hashed_once(scene, tmp_path, model_work, options, nets):
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    predictor.forget()
    model_work.clear()
    predict(model, [scene], str(tmp_path / "out"), tile=32, **options)
    assert model_work == {"loads": 1, "hashes": 1, "nets": nets}, "frozen: one to measure memory, one for each pass"


def test_a_worker_loads_a_model_once_for_the_norms_and_for_the_prediction(scene, tmp_path, model_work):
    folder = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    digest = json.loads((tmp_path / "model" / "model.json").read_text())["digest"]
    spec = predictor.ModelSpec(folder=folder, digest=digest, channels=(5, 2), classes=("a", "b"), prepared=False)
    predictor.forget()
    model_work.clear()
    _net_of_folder(folder, digest)
    spec.open(1)
    spec.with_intra(2).open(1)
    assert model_work["loads"] == model_work["hashes"] == 1
    _net_of_folder.cache_clear()


@pytest.mark.parametrize("options", [{}, {"norm": "frozen"}, {"tile": 32, "overlap": 32}])
def test_the_threads_of_torch_are_restored_even_after_an_error(scene, tmp_path, options):
    model, before = save_model(tmp_path / "model", scene, net=APPROXIMATE), torch.get_num_threads()
    torch.set_num_threads(before + 2)
    try:
        predictor.forget()
        with suppress(UserError):
            predict(model, scene, str(tmp_path / "out"), **options)
        with ThreadPoolExecutor(1) as later:
            numbers = [torch.get_num_threads(), later.submit(torch.get_num_threads).result()]
    finally:
        torch.set_num_threads(before)
    assert numbers == [before + 2] * 2


def test_a_net_that_cannot_be_built_without_memory_is_built_whole():
    def make():
        return torch.nn.Linear(int(torch.ones(1).item()), 1)

    assert outlined(make).weight.device.type == "cpu"
    assert outlined(lambda: torch.nn.Linear(1, 1)).weight.is_meta


def test_a_folder_that_holds_another_model_than_the_plans_is_refused(scene, tmp_path):
    folder = save_model(tmp_path / "model", scene)
    with pytest.raises(UserError, match="another model than the plan's"):
        Model.of(folder, "of a plan")


def test_a_prediction_opens_in_plain_xarray_as_a_class_map_with_flags(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    predict(model, scene, str(tmp_path / "out"), probabilities=True)
    opened = xr.open_zarr(tmp_path / "out")
    assert opened.prediction.dtype == np.uint8
    assert opened.prediction.attrs["flag_meanings"] == "class_0 class_1"
    np.testing.assert_allclose(opened.probability.sum("class"), 1.0, atol=1e-5)
    np.testing.assert_array_equal(opened.probability.values.argmax(-1), opened.prediction)


def test_the_whole_scene_in_one_tile_equals_the_bare_network(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 64, 64, 5)
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE, tile=64)
    predict(model, scene, str(tmp_path / "out"))
    cube = torch.from_numpy(Scene.open(scene).read(Scene.open(scene).roi)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        bare = Model.load(model).module()(cube)[0].argmax(0).numpy()
    np.testing.assert_array_equal(stored(tmp_path / "out"), bare)


def test_tiles_of_an_exact_net_equal_the_net_on_the_whole_reflect_padded_scene(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    module, opened = Model.load(model).module(), Scene.open(scene)
    reach = module.tile_class
    assert reach.kind == "exact"
    predict(model, scene, str(tmp_path / "out"), tile=40, probabilities=True)
    height, width = opened.shape[:2]
    pad = -(-reach.halo // reach.align) * reach.align
    ends = [pad + -(height + pad) % reach.align, pad + -(width + pad) % reach.align]
    padded = np.pad(opened.read(opened.roi), ((pad, ends[0]), (pad, ends[1]), (0, 0)), mode="reflect")
    with torch.inference_mode():
        whole = module(torch.from_numpy(padded).permute(2, 0, 1)[None]).softmax(1)[0].permute(1, 2, 0).numpy()
    expected = whole[pad : pad + height, pad : pad + width]
    np.testing.assert_allclose(stored(tmp_path / "out", "probability"), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (9, 300), (17, 33)])
def test_scenes_smaller_than_a_tile_and_of_any_size_work(make_scene, tmp_path, shape):
    scene = make_scene(tmp_path / "scene", *shape, 3)
    model = save_model(tmp_path / "model", scene, tile=32)
    predict(model, scene, str(tmp_path / "out"))
    assert stored(tmp_path / "out").shape == shape
    assert stored(tmp_path / "out").max() <= 1


def test_pixels_without_data_are_255_and_counted(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 60, 60, 4, nan=0.1)
    model = save_model(tmp_path / "model", scene)
    result = predict(model, scene, str(tmp_path / "out"))
    missing = np.isnan(Scene.open(scene).read(Scene.open(scene).roi)).any(axis=2)
    np.testing.assert_array_equal(stored(tmp_path / "out") == 255, missing)
    assert result["nodata"] == missing.sum() > 0


def test_a_scene_of_nodata_alone_is_predicted_as_nodata_without_the_net(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 40, 40, 4, nan=1.0)
    result = predict(save_model(tmp_path / "model", scene), scene, str(tmp_path / "out"))
    assert (stored(tmp_path / "out") == 255).all()
    assert (result["tiles"], result["tiles_empty"]) == (0, result["tiles_planned"])


def test_a_region_is_a_product_that_says_its_origin(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    predict(model, scene, str(tmp_path / "out"), rows="20:90", cols="5:60")
    assert stored(tmp_path / "out").shape == (70, 55)
    assert zarr.open_group(str(tmp_path / "out"), mode="r").attrs["origin"] == [20, 5]


def test_a_second_run_computes_nothing_and_a_missing_record_only_its_row(scene, tmp_path, monkeypatch):
    monkeypatch.setattr("tilespec.predict.output_store.OBJECTS", (32,))
    model = save_model(tmp_path / "model", scene)
    out = str(tmp_path / "out")
    assert predict(model, scene, out)["rows_done"] == 5
    before = objects(out)
    assert predict(model, scene, out)["tiles"] == 0
    (row,) = Path(f"{out}.tilespec").rglob("row-000002.json")
    row.unlink()
    (tmp_path / "out" / "prediction" / "c" / "2" / "0").unlink()
    assert predict(model, scene, out)["rows_done"] == 1
    assert objects(out) == before


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_equals_an_undisturbed_one(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 1200, 200, 6)
    model = save_model(tmp_path / "model", scene, tile=32)
    command = [sys.executable, "-m", "tilespec", "predict", model, scene]
    disturbed, records = tmp_path / "disturbed", tmp_path / "disturbed.tilespec"
    run = subprocess.Popen([*command, str(disturbed)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not list(records.rglob("row-*.json")) and run.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = len(list(records.rglob("row-*.json")))
    assert 0 < done < 5, "killed in the middle"
    with pytest.raises(UserError, match="status 'writing'"):
        Scene.open(str(disturbed))
    result = predict(model, scene, str(disturbed), workers=1)
    assert result["rows_done"] == 5 - done
    predict(model, scene, str(tmp_path / "whole"))
    assert objects(disturbed) == objects(tmp_path / "whole")


def test_other_settings_on_the_same_product_are_refused_with_the_difference(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    predict(model, scene, str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"grid\.overlap was 0, is 4"):
        predict(model, scene, str(tmp_path / "out"), overlap=4)


def test_a_model_for_other_bands_is_refused_with_both_numbers(make_scene, scene, tmp_path):
    other = make_scene(tmp_path / "other", 30, 30, 7)
    with pytest.raises(UserError, match=r"found 7 bands.*expected 5 bands"):
        predict(save_model(tmp_path / "model", scene), other, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_overlap_as_large_as_the_tile_is_refused_before_anything_is_written(scene, tmp_path):
    with pytest.raises(UserError, match="overlap < tile"):
        predict(save_model(tmp_path / "model", scene), scene, str(tmp_path / "out"), tile=16, overlap=16)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_returns_the_plan_and_writes_nothing(scene, tmp_path):
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    plan = predict(model, scene, str(tmp_path / "out"), dry_run=True)
    assert (plan["tiles"], plan["tile"], plan["overlap"]) == (18 * 8, 16, 8)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.tilespec").exists()


@pytest.mark.slow
def test_the_fingerprint_knows_weights_grid_and_scene_but_not_workers(scene, make_scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    one = predict(model, scene, str(tmp_path / "a"))["fingerprint"]
    assert predict(model, scene, str(tmp_path / "b"), workers=1)["fingerprint"] == one
    assert predict(model, scene, str(tmp_path / "c"), window="linear")["fingerprint"] != one
    other = make_scene(tmp_path / "other", 150, 70, 5, 1)
    assert predict(model, other, str(tmp_path / "d"))["fingerprint"] != one


def test_what_varies_between_runs_stays_out_of_the_product(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    predict(model, scene, str(tmp_path / "out"))
    text = json.dumps(dict(zarr.open_group(str(tmp_path / "out"), mode="r").attrs))
    assert "seconds" not in text
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text
    assert json.loads((tmp_path / "out.tilespec" / "predict.json").read_text())["tiles"] > 0
