"""Repair: damaged rows are written again by the command that wrote them, to equal bytes, and nothing else is."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGE, everything, flip
from envi_files import write_envi
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.simulate.simulate import simulate
from tilespec.spectra.fit import fit
from tilespec.spectra.transform import transform
from tilespec.storage import product as written
from tilespec.storage.audit import status, verify
from tilespec.storage.ledger import Ledger
from tilespec.storage.lock import locked
from tilespec.storage.scene import Scene
from tilespec.workflows.repair import repair

SHAPE = (300, 140, 3)
"""Three rows of two objects, for the cube and the labels."""


def scene(folder, seed=0):
    """Ingest a small scene of float32, in objects of equal size, with labels; return its store."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    header = write_envi(folder, rng.random(SHAPE).astype("f4"), extra="wavelength = {400, 500, 600}\n")
    np.save(folder / "labels.npy", rng.integers(0, 2, SHAPE[:2]).astype("u1"))
    ingest(header, folder / "scene", labels=folder / "labels.npy")
    return folder / "scene"


def objects(url):
    return sorted(p for name in ("cube", "labels") for p in (Path(url) / name / "c").rglob("*") if p.is_file())


def contents(url):
    return {path: data for path, (data, _) in everything(url).items()}


def row_of(path):
    return int(Path(path).parts[-3 if "cube" in path.parts else -2])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return scene(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def copied(prepared, tmp_path):
    """A copy of the product; its sources stay where they were."""
    shutil.copytree(prepared, tmp_path / "scene")
    shutil.copytree(f"{prepared}.tilespec", tmp_path / "scene.tilespec")
    return tmp_path / "scene"


@given(data=st.data())
@settings(max_examples=15)
def test_whatever_is_damaged_is_written_again_and_nothing_else(tmp_path_factory, prepared, data):
    out = tmp_path_factory.mktemp("law") / "scene"
    shutil.copytree(prepared, out)
    shutil.copytree(f"{prepared}.tilespec", f"{out}.tilespec")
    whole, paths = everything(out), objects(out)
    raw = [path.read_bytes() for path in paths]
    chosen = data.draw(st.dictionaries(st.sampled_from(range(12)), st.sampled_from(sorted(DAMAGE)), max_size=5))
    for index, kind in chosen.items():
        DAMAGE[kind][0](paths[index], raw[(index + 1) % 12])
    rows = {row_of(paths[index]) for index in chosen}
    result = repair(out)
    assert {entry["object"] for entry in result["damaged"]} == {paths[i].relative_to(out).as_posix() for i in chosen}
    assert (result["rows_recomputed"], result["damaged_after"], result["whole"]) == (len(rows), [], True)
    after = everything(out)
    assert {path: data for path, (data, _) in after.items()} == {path: data for path, (data, _) in whole.items()}
    rewritten = {Path(path) for path in whole if after[path][1] != whole[path][1]}
    assert {path for path in rewritten if path in paths} == {path for path in paths if row_of(path) in rows}
    assert rewritten - set(paths) <= {out / "zarr.json"}, "only the status was written besides"


@pytest.mark.parametrize("spoil", [lambda p: os.truncate(p, 100), lambda p: p.unlink()])
@pytest.mark.parametrize("victim", ["zarr.json", "cube/zarr.json", "wavelength/c/0", "wavelength/zarr.json"])
def test_metadata_are_created_again_around_whole_objects(copied, victim, spoil):
    whole = everything(copied)
    spoil(copied / victim)
    assert verify(copied)["whole"] is False
    result = repair(copied)
    assert (result["whole"], result["rows_recomputed"]) == (True, 0)
    assert contents(copied) == {path: data for path, (data, _) in whole.items()}
    times = {path: time for path, (_, time) in everything(copied).items() if "/c/" in path and "wavelength" not in path}
    assert times == {path: whole[path][1] for path in times}, "no object was written"
    np.testing.assert_array_equal(Scene.open(str(copied)).array.shape, SHAPE)


def test_objects_and_metadata_may_be_damaged_at_once(copied):
    whole = contents(copied)
    for path in objects(copied):
        flip(path)
    os.truncate(copied / "zarr.json", 10)
    (copied / "notes.txt").write_text("mine")
    result = repair(copied)
    assert (result["whole"], result["rows_recomputed"], result["unrecorded"]) == (True, 3, ["notes.txt"])
    assert (copied / "notes.txt").read_text() == "mine"
    (copied / "notes.txt").unlink()
    assert contents(copied) == whole


def test_a_whole_product_is_left_alone(copied):
    before = everything(copied)
    result = repair(copied)
    assert (result["whole"], result["rows_recomputed"], result["command_result"]) == (True, 0, None)
    assert everything(copied) == before
    assert json.dumps(result)


def test_a_dry_run_tells_and_changes_nothing(copied):
    flip(objects(copied)[0])
    before = everything(copied), everything(f"{copied}.tilespec")
    told = repair(copied, dry_run=True)
    assert told["rows"] == [{"row": 0, "panel": 0}]
    assert told["command"]["verb"] == "ingest"
    assert (everything(copied), everything(f"{copied}.tilespec")) == before


def test_rows_that_are_missing_are_written_too(copied):
    whole = contents(copied)
    Ledger.find(str(copied)).drop(1)
    assert repair(copied)["rows"] == [{"row": 1, "panel": 0}]
    assert contents(copied) == whole


def test_a_product_of_simulate_is_repaired(tmp_path):
    simulate(tmp_path / "p", rows=150, cols=20, bands=3, plants=1)
    whole = contents(tmp_path / "p")
    flip(tmp_path / "p" / "plant/c/1/0")
    assert repair(tmp_path / "p", workers=1)["rows_recomputed"] == 1
    assert contents(tmp_path / "p") == whole


def test_a_product_of_transform_is_repaired_from_relative_paths_and_from_anywhere(tmp_path, monkeypatch):
    scene(tmp_path)
    monkeypatch.chdir(tmp_path)
    fit("scene", "recipe", steps="vsn")
    transform("recipe", "scene", "out")
    whole = contents(tmp_path / "out")
    flip(tmp_path / "out/cube/c/1/1/0")
    monkeypatch.chdir("/")
    assert repair(tmp_path / "out", workers=0)["rows_recomputed"] == 1
    assert Path.cwd() == Path("/")
    assert contents(tmp_path / "out") == whole


def test_a_product_that_was_moved_is_repaired_where_it_lies(copied, prepared, tmp_path):
    """The kept command names the place where it was first written."""
    before = everything(prepared)
    flip(objects(copied)[0])
    assert repair(f"{copied}/")["whole"] is True
    assert everything(prepared) == before


@pytest.mark.parametrize("command", [None, {"verb": "frobnicate", "options": {}}, {"verb": "info", "options": {}}, {}])
def test_a_product_whose_command_is_not_known_is_refused_and_left_as_it_is(copied, command):
    path = Path(f"{copied}.tilespec") / "command.json"
    path.unlink() if command is None else path.write_text(json.dumps(command))
    flip(objects(copied)[0])
    before = everything(copied)
    with pytest.raises(UserError, match=r"as the command that wrote it|no record of the command"):
        repair(copied)
    assert everything(copied) == before
    assert verify(copied)["damaged"][0]["found"] == "other bytes"


def test_a_product_whose_sources_are_gone_is_refused_and_left_as_it_is(tmp_path):
    out = scene(tmp_path)
    flip(objects(out)[0])
    (tmp_path / "cube.img").unlink()
    before = everything(out)
    with pytest.raises(
        UserError, match=r"`ingest`, which wrote it, cannot run: .*expected its sources where they were"
    ):
        repair(out)
    assert everything(out) == before
    assert verify(out)["rows_missing"] == 0


@pytest.mark.parametrize("victim", ["cube/c/0/0/0", "cube/zarr.json"])
def test_a_product_whose_sources_changed_is_refused_and_left_as_it_is(tmp_path, victim):
    out = scene(tmp_path)
    os.truncate(out / victim, 50)
    os.utime(tmp_path / "cube.img", (1e9, 1e9))
    before, found = everything(out), verify(out)
    with pytest.raises(UserError, match="a product of other settings: sources was"):
        repair(out)
    assert everything(out) == before
    kept = ("damaged", "metadata", "rows_missing")
    assert {key: verify(out)[key] for key in kept} == {key: found[key] for key in kept}
    assert not (tmp_path / "scene.tilespec" / written.MEND).exists()


def test_a_product_that_another_run_writes_is_refused(copied):
    flip(objects(copied)[0])
    refused = []

    def attempt():
        try:
            repair(copied)
        except UserError as error:
            refused.append(str(error))

    with locked(str(copied)):
        other = threading.Thread(target=attempt)
        other.start()
        other.join()
    assert "another run that writes it" in refused[0]


def test_a_repair_that_is_killed_leaves_a_product_that_says_so_and_the_next_one_ends_it(copied, monkeypatch):
    whole = contents(copied)
    for row in (0, 2):
        flip(copied / f"cube/c/{row}/0/0")
    os.truncate(copied / "zarr.json", 10)
    kept = Ledger.begin

    def dies(self, row, panel=0):
        if row == 2:
            raise KeyboardInterrupt
        return kept(self, row, panel)

    monkeypatch.setattr(Ledger, "begin", dies)
    with pytest.raises(KeyboardInterrupt):
        repair(copied)
    monkeypatch.undo()
    assert status(copied)["status"] == "writing"
    assert status(copied)["panels"][0]["missing"] == [2]
    assert repair(copied)["rows"] == [{"row": 2, "panel": 0}]
    assert contents(copied) == whole


@pytest.mark.parametrize("key", ["../victim", "cube/../../victim"])
def test_a_record_that_leads_out_of_the_store_makes_repair_touch_nothing_there(copied, tmp_path, key):
    (tmp_path / "victim").write_bytes(b"precious")
    (record,) = Path(f"{copied}.tilespec").rglob("row-000001.json")
    facts = json.loads(record.read_text())
    facts["objects"]["cube"][key] = [9, "0" * 32]
    record.write_text(json.dumps(facts))
    assert repair(copied)["whole"] is True
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_folder_that_leads_elsewhere_makes_repair_touch_nothing_there(copied, tmp_path):
    shutil.move(copied / "cube/c/1", tmp_path / "elsewhere")
    (copied / "cube/c/1").symlink_to(tmp_path / "elsewhere")
    flip(tmp_path / "elsewhere/0/0")
    before = everything(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="which lies outside"):
        repair(copied)
    assert everything(tmp_path / "elsewhere") == before


CREATE = """
import sys, time
from pathlib import Path
from tilespec.core.errors import UserError
from tilespec.simulate.simulate import simulate
print("ready", flush=True)
sys.stdin.readline()
try:
    simulate(sys.argv[1], rows=400, cols=60, bands=4, plants=1, workers=1)
    print("wrote", flush=True)
except UserError as error:
    print(error, flush=True)
"""


def test_of_two_processes_that_create_one_product_at_once_one_writes_it_whole(tmp_path):
    command = [sys.executable, "-c", CREATE, str(tmp_path / "p")]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("go\n")
        run.stdin.flush()
    said = sorted(run.communicate()[0].strip() for run in runs)
    assert "wrote" in said
    assert any("another run that writes it" in line for line in said) or said == ["wrote", "wrote"]
    assert verify(tmp_path / "p")["whole"] is True
    simulate(tmp_path / "alone", rows=400, cols=60, bands=4, plants=1)
    one, other = (
        {str(Path(path).relative_to(tmp_path / name)): data for path, data in contents(tmp_path / name).items()}
        for name in ("p", "alone")
    )
    assert one == other
