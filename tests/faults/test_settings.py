"""Settings, inputs and neighbours that are not what they were: told before anything is touched, or of no effect."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from fault_processes import NET, Arena, Run, contents, leftovers, predict, records, tilespec
from untrained_models import save_model

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.predict import predict as predict_module
from tilespec.storage.audit import status
from tilespec.storage.ledger import Ledger


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("settings"), make_scene, (300, 60, 8))


@pytest.fixture
def small(monkeypatch):
    """Let predictions in this process have the objects that those of the driver have."""
    monkeypatch.setattr("tilespec.predict.output_store.OBJECTS", (32,))


def run_here(arena, out, **options):
    options = {"overlap": 16, **options}
    return predict_module.predict(
        options.pop("model", arena.model), options.pop("scene", arena.scene), str(out), **options
    )


@pytest.mark.timeout(300)
def test_one_output_takes_one_run_at_a_time_and_the_lock_of_a_killed_one_blocks_nobody(arena):
    out, logs = arena.folder / "two", arena.folder / "log"
    gate, log = arena.folder / "gate", arena.folder / "first.tiles"
    gate.write_text(str(arena.tiles // 2))  # the first one is at work until the second one has been refused
    first = Run.start(logs, *predict(arena, out), gate=gate, log=log)
    assert first.until(lambda: records(out) > 0)
    code, result, errors = tilespec(logs, *predict(arena, out, "--workers", 1))
    assert (code, result) == (2, None)
    assert f"another run that writes it: process {first.process.pid} on " in errors
    assert "Traceback" not in errors
    held = status(out)["lock"]
    assert (held["pid"], held["alive"]) == (first.process.pid, True)
    assert first.process.poll() is None, "the second one came while the first one worked"
    gate.unlink()
    code, result, errors = first.wait()
    assert code == 0, errors
    assert (result["tiles"], contents(out)) == (arena.tiles, arena.whole)

    out = arena.folder / "stale"
    log = arena.folder / "killed.tiles"
    gate.write_text(str(arena.tiles // 2))
    killed = Run.start(logs, *predict(arena, out), gate=gate, log=log)
    assert killed.until(lambda: records(out) > 0)
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    gate.unlink()
    assert status(out)["lock"]["alive"] is False
    began = time.monotonic()
    code, _, errors = tilespec(logs, *predict(arena, out))
    assert code == 0, errors
    assert time.monotonic() - began < 60, "far less than the time after which a holder elsewhere is given up"
    assert (contents(out), leftovers(out)) == (arena.whole, [])


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"overlap": 8}, r"grid\.overlap was 16, is 8"),
        ({"tile": 40}, r"grid\.tile was 32, is 40"),
        ({"window": "linear"}, r'grid\.window was "cosine", is "linear"'),
        ({"flips": True}, "flips was false, is true"),
        ({"precision": "bfloat16"}, 'precision was "float32", is "bfloat16"'),
        ({"rows": "0:200"}, r"region was \[0, 300, 0, 60\], is \[0, 200, 0, 60\]"),
    ],
)
def test_other_settings_on_what_was_begun_are_refused_with_the_difference(arena, small, options, difference):
    before = contents(arena.folder / "whole") | contents(arena.folder / "whole.tilespec")
    with pytest.raises(UserError, match=f"a product of other settings: .*{difference}"):
        run_here(arena, arena.folder / "whole", **options)
    assert contents(arena.folder / "whole") | contents(arena.folder / "whole.tilespec") == before


def test_another_scene_and_another_model_on_what_was_begun_are_refused(arena, make_scene, small, tmp_path):
    other = make_scene(tmp_path / "other", 300, 60, 8, 1)
    with pytest.raises(UserError, match=r'other settings: scene was "\w+", is "\w+"'):
        run_here(arena, arena.folder / "whole", scene=other)
    model = save_model(tmp_path / "model", arena.scene, net=NET, tile=32, classes=3)
    with pytest.raises(UserError, match=r'other settings: model was "\w+", is "\w+"'):
        run_here(arena, arena.folder / "whole", model=model)


def test_the_same_scene_under_another_name_and_the_same_model_copied_are_no_other_settings(arena, small, tmp_path):
    scene, model = tmp_path / "elsewhere", tmp_path / "copy"
    for was, now in ((arena.scene, scene), (f"{arena.scene}.tilespec", f"{scene}.tilespec"), (arena.model, model)):
        Path(now).symlink_to(was)
    assert run_here(arena, arena.folder / "whole", scene=str(scene), model=str(model))["tiles"] == 0


def test_a_scene_without_any_data_is_predicted_once_and_not_again(arena, make_scene, small, tmp_path):
    scene = make_scene(tmp_path / "empty", 120, 60, 8, nan=1.0)
    first = run_here(arena, tmp_path / "out", scene=scene)
    assert (first["rows_done"], first["tiles"], first["status"]) == (4, 0, "complete")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("c/*/*")}
    again = run_here(arena, tmp_path / "out", scene=scene)
    assert (again["rows_done"], again["tiles_empty"], again["status"]) == (0, 0, "complete")
    assert len(before) == 4 * 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_row_whose_tiles_are_all_empty_is_resumed_like_any_other(arena, make_scene, small, tmp_path):
    scene = make_scene(tmp_path / "scene", 300, 60, 8)
    cube = zarr.open_group(scene, mode="r+")["cube"].with_config({"write_empty_chunks": True})
    cube[64:192] = np.nan
    api.repair(scene, accept=True)
    assert run_here(arena, tmp_path / "out", scene=scene)["tiles_empty"] > 0
    whole = contents(tmp_path / "out")
    for row in (3, 9):  # one in the middle of nothing, one with data
        next(Path(f"{tmp_path}/out.tilespec").rglob(f"row-{row:06d}.json")).unlink()
    again = run_here(arena, tmp_path / "out", scene=scene)
    assert again["rows_done"] == 2
    assert contents(tmp_path / "out") == whole


def test_a_model_of_other_bands_or_other_wavelengths_is_refused_and_told_which(arena, make_scene, tmp_path):
    fewer = make_scene(tmp_path / "fewer", 60, 60, 7)
    code, _, errors = tilespec(tmp_path / "log", "predict", arena.model, fewer, tmp_path / "out", "--quiet")
    assert code == 2
    assert "found 7 bands" in errors
    assert "8 bands" in errors
    shifted = make_scene(tmp_path / "shifted", 60, 60, 8)
    group = zarr.open_group(shifted, mode="r+")
    group["wavelength"][:] = group["wavelength"][:] + 40.0
    api.repair(shifted, accept=True)
    with pytest.raises(UserError, match=r"8 of 8 bands moved.*nearest band here is 1 at 525\.7"):
        run_here(arena, tmp_path / "out", scene=shifted)
    assert not (tmp_path / "out").exists()


def test_reflectance_that_is_stored_scaled_is_the_same_reflectance(arena, make_scene, tmp_path, small):
    scaled = make_scene(tmp_path / "scaled", 120, 60, 8, dtype="uint16")
    plain = make_scene(tmp_path / "plain", 120, 60, 8)
    for scene in (scaled, plain):
        run_here(arena, f"{scene}.out", scene=scene, probabilities=True)
    one, other = (zarr.open_group(f"{scene}.out", mode="r")["probability"][:] for scene in (scaled, plain))
    np.testing.assert_allclose(one, other, atol=0.05)  # counts of 1e-4


@pytest.mark.parametrize("shape", [(1, 90), (90, 1), (1, 1), (20, 31), (33, 65)])
def test_scenes_smaller_than_a_tile_or_a_line_wide_are_predicted_alike_by_any_workers(
    arena, make_scene, tmp_path, shape
):
    scene = make_scene(tmp_path / "scene", *shape, 8)
    arguments = ["predict", arena.model, scene]
    for workers in (0, 1) if shape == (1, 90) else (0,):
        out = tmp_path / f"out{workers}"
        if workers:
            code, _, errors = tilespec(tmp_path / "log", *arguments, out, "--workers", workers, "--quiet", "--json")
            assert code == 0, errors
        else:
            run_here(arena, out, scene=scene, overlap=None)
        stored = zarr.open_group(out, mode="r")["prediction"]
        assert stored.shape == shape
        assert stored[:].max() <= 1
    if shape == (1, 90):
        np.testing.assert_array_equal(*(zarr.open_group(tmp_path / f"out{n}", mode="r")["prediction"] for n in (0, 1)))


@pytest.mark.parametrize("jump", [-86_400 * 365, 86_400 * 365])
def test_a_clock_that_jumps_decides_nothing(arena, small, tmp_path, monkeypatch, jump):
    """Wall time jumps in the middle, between rows: no record, lock or byte cares, no duration is negative."""
    real, kept, seen = time.time, Ledger.record, []

    def jumps(self, row, facts, panel=0):
        seen.append(row)
        monkeypatch.setattr(time, "time", lambda: real() + jump * (len(seen) % 2))
        kept(self, row, facts, panel)

    monkeypatch.setattr(Ledger, "record", jumps)
    result = run_here(arena, tmp_path / "out")
    assert len(seen) == 10
    assert 0 <= result["seconds"] < 60
    assert result["network_seconds"] >= 0
    assert contents(tmp_path / "out") == arena.whole
    assert run_here(arena, tmp_path / "out")["rows_done"] == 0


def test_files_from_the_future_or_the_past_are_not_believed_by_their_times(arena, small, tmp_path):
    run_here(arena, tmp_path / "out")
    for path in [*tmp_path.rglob("*")]:
        os.utime(path, (0, 0) if "c/1" in str(path) else (4e9, 4e9))
    again = run_here(arena, tmp_path / "out")
    assert (again["rows_done"], again["tiles"]) == (0, 0)
    assert contents(tmp_path / "out") == arena.whole
