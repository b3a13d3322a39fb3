"""What `predict` offers beyond one map: averages, spreads, precision, panels, lists of scenes, budgets, signals."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr
from untrained_models import APPROXIMATE, UNET, objects, save_model, stored

from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.core.types import Roi
from tilespec.models.ensemble import Ensemble
from tilespec.models.model import Model
from tilespec.predict import planning
from tilespec.predict import predict as predict_module
from tilespec.predict.memory_forecast import budget, project
from tilespec.predict.options import PredictOptions
from tilespec.predict.output_store import create, moved_to
from tilespec.predict.planning import plan_of
from tilespec.predict.predict import predict
from tilespec.predict.predictor import TURNS, _turned
from tilespec.storage.lock import locked
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import Slab, axes
from tilespec.tiling.slab import run_slab

BLUR = {**UNET, "dropout": 0.5}


@pytest.fixture
def scene(make_scene, tmp_path):
    return make_scene(tmp_path / "scene", 90, 70, 5)


def whole(scene):
    opened = Scene.open(scene)
    return torch.from_numpy(opened.read(opened.roi)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("turn", TURNS)
def test_every_symmetry_is_undone_by_its_inverse(turn):
    planes = torch.rand(2, 3, 4, 5)
    assert torch.equal(_turned(_turned(planes, turn), turn, back=True), planes)
    assert len({tuple(_turned(torch.arange(4.0).reshape(2, 2), t).flatten().tolist()) for t in TURNS}) == 8


def test_flips_give_the_mean_over_the_symmetries_of_the_square(make_scene, tmp_path):
    scene = make_scene(tmp_path / "square", 64, 64, 5)
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE, tile=64)
    predict(model, scene, str(tmp_path / "out"), flips=True, probabilities=True)
    net, cube = Model.load(model).module(), whole(scene)
    with torch.inference_mode():
        turned = [_turned(net(_turned(cube, turn)).softmax(1), turn, back=True) for turn in TURNS]
    expected = torch.stack(turned).mean(0)[0].permute(1, 2, 0)
    np.testing.assert_allclose(stored(tmp_path / "out", "probability"), expected, atol=1e-6)


def test_dropout_samples_are_seeded_by_tile_and_draw_and_spread_where_the_net_is_unsure(scene, tmp_path):
    model = save_model(tmp_path / "model", scene, net=BLUR)
    keys = {"samples": 4, "disagreement": True, "probabilities": True}
    for workers in (0, 1):
        predict(model, scene, str(tmp_path / f"out{workers}"), workers=workers, **keys)
    assert objects(tmp_path / "out0") == objects(tmp_path / "out1")
    predict(model, scene, str(tmp_path / "sure"), disagreement=True, probabilities=True)
    assert stored(tmp_path / "out0", "disagreement").mean() > 10 * stored(tmp_path / "sure", "disagreement").mean()
    assert np.abs(stored(tmp_path / "out0", "probability") - stored(tmp_path / "sure", "probability")).max() > 1e-3


def test_tiles_of_an_exact_net_do_not_disagree_and_those_of_another_do(scene, tmp_path):
    for name, net in (("exact", UNET), ("approximate", APPROXIMATE)):
        model = save_model(tmp_path / name, scene, net=net)
        predict(model, scene, str(tmp_path / f"{name}-out"), overlap=8, disagreement=True)
    exact, other = (stored(tmp_path / f"{name}-out", "disagreement") for name in ("exact", "approximate"))
    assert exact.max() < 1e-5
    assert other.max() > 1e-2


def test_bfloat16_is_near_float32_and_another_product(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    one = predict(model, scene, str(tmp_path / "a"), probabilities=True)
    other = predict(model, scene, str(tmp_path / "b"), probabilities=True, precision="bfloat16")
    assert one["fingerprint"] != other["fingerprint"]
    difference = np.abs(stored(tmp_path / "a", "probability") - stored(tmp_path / "b", "probability"))
    assert 0 < difference.max() < 0.1


def test_frozen_norms_are_gathered_once_and_give_the_same_bytes_on_workers(scene, tmp_path):
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    for workers in (0, 2):
        predict(model, scene, str(tmp_path / f"out{workers}"), norm="frozen", workers=workers, probabilities=True)
    assert objects(tmp_path / "out0") == objects(tmp_path / "out2")
    predict(model, scene, str(tmp_path / "tile"), probabilities=True)
    assert np.abs(stored(tmp_path / "tile", "probability") - stored(tmp_path / "out0", "probability")).max() > 1e-3


def test_panels_change_no_byte_of_the_pixels(scene, tmp_path, monkeypatch):
    monkeypatch.setattr("tilespec.predict.output_store.OBJECTS", (16,))
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    predict(model, scene, str(tmp_path / "one"), probabilities=True)
    monkeypatch.setattr(planning, "PANEL_BYTES", 20_000)
    assert predict(model, scene, str(tmp_path / "many"), probabilities=True, dry_run=True)["panels"] > 1
    result = predict(model, scene, str(tmp_path / "many"), probabilities=True)
    assert result["rows_done"] > 6
    assert objects(tmp_path / "one") == objects(tmp_path / "many")
    predict(model, scene, str(tmp_path / "workers"), probabilities=True, workers=2)
    assert objects(tmp_path / "one") == objects(tmp_path / "workers")


def test_several_scenes_go_into_a_folder_under_their_own_names(make_scene, tmp_path):
    scenes = [make_scene(tmp_path / name, 40, 40, 5, seed) for seed, name in enumerate(("a.zarr", "b.zarr"))]
    model = save_model(tmp_path / "model", scenes[0])
    result = predict(model, scenes, str(tmp_path / "out"))
    assert set(result["scenes"]) == {str(tmp_path / "out" / name) for name in ("a.zarr", "b.zarr")}
    assert stored(tmp_path / "out" / "b.zarr").shape == (40, 40)
    with pytest.raises(UserError, match=r"several scenes named a\.zarr"):
        predict(model, [scenes[0], scenes[0]], str(tmp_path / "twice"))


def test_a_plan_beyond_the_budget_is_refused_before_any_work(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    with pytest.raises(UserError, match=r"projected peak of .* GB .*expected at most 0\.01 GB.*smaller --tile"):
        predict(model, scene, str(tmp_path / "out"), memory="10MB")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "size"), [("4GB", 4e9), ("1.5 GiB", 1.5 * 2**30), ("800mb", 8e8), ("123", 123)])
def test_sizes_are_read_as_people_write_them(text, size):
    assert budget(text) == size


@pytest.mark.parametrize("text", ["lots", "4 XB", ""])
def test_other_sizes_are_refused(text):
    with pytest.raises(UserError, match="a size such as 4GB"):
        budget(text)


def test_the_projection_grows_with_lanes_workers_and_the_tile(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    plan, _ = plan_of(Ensemble.load([model]), scene, str(tmp_path / "out"), PredictOptions(tile=64), threads=2)
    most = 1 << 40
    projection = project(plan, 0, most)
    assert projection.peak(2) > projection.peak(1) > projection.base
    assert project(plan, 3, most).peak(1) > 3 * projection.base
    assert projection.lanes(2, projection.peak(1)) == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"norm": "batch"}, "--norm: found 'batch'; expected one of tile, frozen"),
        ({"norm": "frozen"}, r"--norm: found frozen, for .*expected one net with norms over space"),
        ({"precision": "half"}, "--precision: found 'half'; expected one of float32, bfloat16"),
        ({"samples": -1}, "--samples: found -1"),
        ({"window": "hann"}, "--window: found 'hann'"),
    ],
)
def test_options_that_do_not_exist_are_refused(scene, tmp_path, keys, message):
    with pytest.raises(UserError, match=message):
        predict(save_model(tmp_path / "model", scene), scene, str(tmp_path / "out"), **keys)
    with pytest.raises(TypeError, match="has no option 'colour'"):
        predict("model", scene, "out", colour=1)


@pytest.mark.parametrize(("bands", "side"), [(8, 64), (1000, 64), (3000, 32)])
def test_the_default_tile_of_an_exact_net_is_wide_beside_its_halo_if_its_input_is_not_too_large(
    tmp_path, make_scene, bands, side
):
    """Halo 16; an approximate net, alone or beside others, keeps the tile that it was trained on."""
    scene = make_scene(tmp_path / "scene", 260, 260, 2)
    opened, sides = Scene.open(scene), []
    exact, other = (save_model(tmp_path / net["norm"], scene, net=net) for net in (UNET, APPROXIMATE))
    for folders in ([exact], [other], [exact, other]):
        models = Ensemble.load(folders)
        models = replace(models, members=tuple(replace(one, channels=(bands, 2)) for one in models.members))
        grid = planning.grid_of(models, Roi.of(opened.shape), PredictOptions())
        sides.append(grid.y.tile)
    assert sides == [side, 16, 16]


def test_the_georeference_follows_the_output_scale():
    y, x = axes((40, 35), 8, 0)
    grid = Grid(y=y, x=x, scale=Fraction(1, 2), origin=4)
    there = moved_to({"GeoTransform": "500 2 0 800 0 -2"}, Roi(y0=10, y1=90, x0=20, x1=90), grid)
    assert [float(v) for v in there["GeoTransform"].split()] == [500 + 2 * 24, 4, 0, 800 - 2 * 14, 0, -4]


SLOW = """
import sys, time
import numpy as np
from tilespec import cli
from tilespec.predict import output_store as outputs, predictor
outputs.OBJECTS = (16,)
call = predictor.TorchPredictor.__call__
def slow(self, tiles, ids):
    time.sleep(0.02)
    return call(self, tiles, ids)
predictor.TorchPredictor.__call__ = slow
sys.argv = ["tilespec", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_lets_work_in_flight_end_and_the_run_resumes(make_scene, tmp_path, number):
    scene = make_scene(tmp_path / "long", 1500, 40, 5)
    model, out = save_model(tmp_path / "model", scene), str(tmp_path / "out")
    command = [sys.executable, "-c", SLOW, "predict", model, scene, out, "--quiet", "--json"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list(Path(f"{out}.tilespec").rglob("row-*.json")):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finishing what is in flight" in errors
    assert "run the same command again, it resumes" in errors
    assert not list(Path(f"{out}.tilespec").rglob("*.writing"))
    assert zarr.open_group(out, mode="r").attrs["tilespec_status"] == "writing"
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert 0 < json.loads(done.stdout)["rows_done"] < 94
    subprocess.run([*command[:6], str(tmp_path / "undisturbed"), *command[7:]], capture_output=True, check=True)
    assert objects(out) == objects(tmp_path / "undisturbed")


def test_a_second_signal_ends_at_once(make_scene, tmp_path):
    scene = make_scene(tmp_path / "long", 1500, 40, 5)
    model, out = save_model(tmp_path / "model", scene), str(tmp_path / "out")
    command = [sys.executable, "-c", SLOW.replace("time.sleep(0.02)", AT_WORK), "predict", model, scene, out]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            heard(process, "at work")
            process.send_signal(signal.SIGINT)
            heard(process, "finishing what is in flight")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=300)  # what is in flight would take longer
            assert process.returncode == 130
        finally:
            process.kill()


AT_WORK = """
    import signal
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler) and handler is not signal.default_int_handler:  # and not at the self-test before
        print("at work", file=sys.stderr, flush=True)
        time.sleep(3600)
"""
"""What is said once signals are heeded, at the begin of an hour of work; jobs of a shell begin with SIGINT ignored."""


def heard(process, words):
    """Wait until a process says something."""
    assert any(words in line for line in process.stderr), f"it ended and never said {words!r}"


def begun(scene, tmp_path, monkeypatch):
    """Return the plan and the only part of a prediction that was created and not run."""
    monkeypatch.setattr("tilespec.predict.output_store.OBJECTS", (16,))
    models = Ensemble.load([save_model(tmp_path / "model", scene)])
    plan, settings = plan_of(models, scene, str(tmp_path / "out"), PredictOptions(tile=16), threads=1)
    create(plan, models, settings, probabilities=False)
    return plan, plan.parts(1)[0]


def test_a_part_that_comes_again_after_its_worker_died_skips_what_is_recorded(scene, tmp_path, monkeypatch):
    plan, part = begun(scene, tmp_path, monkeypatch)
    with locked(plan.product.url) as hold:
        run_slab(plan, Slab(rows=part.rows[:3]), Silent())
        facts = predict_module._run_on_worker(plan, part, hold.lease, hold.flag)
        assert plan.product.missing() == []
        assert 0 < facts.tiles < len(plan.tiles(part)[0]) * len(plan.tiles(part)[1])
        assert predict_module._run_on_worker(plan, part, hold.lease, hold.flag).tiles == 0


def test_a_worker_whose_run_has_ended_stops(scene, tmp_path, monkeypatch):
    plan, part = begun(scene, tmp_path, monkeypatch)
    with locked(plan.product.url) as hold:
        another = replace(hold.lease, token="another run")
        facts = predict_module._run_on_worker(plan, part, another, hold.flag)
    assert facts.stopped
    assert facts.tiles == 0
    assert len(plan.product.missing()) == plan.product.rows


def test_a_product_that_may_not_fit_the_disk_is_told_beforehand(scene, tmp_path, monkeypatch):
    model, told = save_model(tmp_path / "model", scene), []
    assert predict(model, scene, str(tmp_path / "out"), dry_run=True)["bytes_to_write"] == 90 * 70
    monkeypatch.setattr("tilespec.storage.backends.folder.shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    monkeypatch.setattr(Silent, "say", lambda _, text: told.append(text))
    predict(model, scene, str(tmp_path / "out"))
    assert "6300 bytes may not fit into the 100 that are free" in told
