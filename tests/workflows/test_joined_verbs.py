"""Every verb that takes --join: runs that share an output make the bytes of one, for one scene and for many."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fault_processes import contents
from untrained_models import save_model

from tilespec import api
from tilespec.predict import output_store
from tilespec.storage import joined, layout

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")  # warnings are of a process, not of a thread
RUNS = 3


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(joined, "POLL", 0.02)
    monkeypatch.setattr(output_store, "OBJECTS", (16,))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, make_scene):
    folder = tmp_path_factory.mktemp("scenes")
    return [make_scene(folder / f"s{number}.zarr", 90, 70, 5, seed=number) for number in range(3)]


def together(verb, *arguments, **options):
    """Call a verb from several threads at once, which know nothing of each other; return their results."""
    with ThreadPoolExecutor(RUNS) as pool:
        calls = [pool.submit(verb, *arguments, join=True, **options) for _ in range(RUNS)]
        return [call.result() for call in calls]


def test_transform(scenes, tmp_path):
    api.fit(scenes[0], tmp_path / "recipe", steps="snv,pca=3")
    api.transform(tmp_path / "recipe", scenes[0], tmp_path / "one")
    results = together(api.transform, tmp_path / "recipe", scenes[0], tmp_path / "several")
    assert contents(tmp_path / "several") == contents(tmp_path / "one")
    assert {result["pixels"] for result in results} == {90 * 70}
    assert api.verify(tmp_path / "several")["whole"]
    assert not (tmp_path / "several.tilespec" / "joined").exists()


def test_ingest_of_a_file_and_of_flight_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK", 16)
    draw = np.random.default_rng(0)
    lines = [tmp_path / f"line{number}.npy" for number in range(4)]
    for line in lines:
        np.save(line, draw.uniform(0, 1, (50, 20, 4)).astype(np.float32))
    api.ingest(lines[0], tmp_path / "one", axes="y,x,band")
    results = together(api.ingest, lines[0], tmp_path / "several", axes="y,x,band")
    assert contents(tmp_path / "several") == contents(tmp_path / "one")
    assert len({result["digest"] for result in results}) == 1
    api.ingest(lines, tmp_path / "folder", axes="y,x,band")
    results = together(api.ingest, lines, tmp_path / "folders", axes="y,x,band")
    for number in range(4):
        assert contents(tmp_path / "folders" / f"line{number}") == contents(tmp_path / "folder" / f"line{number}")
    assert [result["failed"] for result in results] == [{}] * RUNS
    assert all(result["status"] == "complete" and len(result["scenes"]) == 4 for result in results)


def test_predict_of_a_list_of_scenes_with_norms_of_the_scene(scenes, tmp_path):
    net = {"name": "unet", "base_width": 4, "n_down": 2, "norm": "instance", "init": "kaiming"}
    model = save_model(tmp_path / "model", scenes[0], net=net, tile=16)
    options = {"tile": 16, "overlap": 8, "norm": "frozen"}
    one = api.predict(model, scenes, tmp_path / "one", **options)
    results = together(api.predict, model, scenes, tmp_path / "several", **options)
    for number in range(3):
        assert contents(tmp_path / "several" / f"s{number}.zarr") == contents(tmp_path / "one" / f"s{number}.zarr")
    assert all(result["status"] == "complete" for result in results)
    done = [result["scenes"] for result in results]
    assert all(len(each) == 3 for each in done)
    rows = sum(scene["rows_done"] for each in done for scene in each.values())
    assert rows == sum(scene["rows_done"] for scene in one["scenes"].values())


def test_a_tile_without_an_answer_is_tried_once_and_told_by_all(scenes, tmp_path, monkeypatch):
    model = save_model(tmp_path / "model", scenes[0], tile=16)
    from tilespec.predict.predictor import TorchPredictor

    call = TorchPredictor.__call__

    def poisoned(self, tiles, ids):
        out = call(self, tiles, ids)
        for slot, number in enumerate(ids):
            if number == 7:
                out[slot] = np.nan
        return out

    monkeypatch.setattr(TorchPredictor, "__call__", poisoned)
    results = together(api.predict, model, scenes[0], tmp_path / "p", tile=16)
    assert {result["status"] for result in results} == {"incomplete"}
    assert all(result["quarantined"] == [7] for result in results)
    monkeypatch.setattr(TorchPredictor, "__call__", call)
    again = api.predict(model, scenes[0], tmp_path / "p", tile=16, join=True)
    assert again["status"] == "complete"
    assert 0 < again["rows_done"] < sum(result["rows_done"] for result in results)


def test_join_and_alone_are_told_apart(scenes, tmp_path):
    model = save_model(tmp_path / "model", scenes[0], tile=16)
    api.predict(model, scenes[0], tmp_path / "p", join=True)
    assert api.predict(model, scenes[0], tmp_path / "p")["tiles"] == 0
    assert "join" not in api.status(tmp_path / "p")["command"]["options"]
    assert "join" not in api.status(tmp_path / "p")["settings"]
