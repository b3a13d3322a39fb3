"""Runs of ingest: dry, killed and resumed, repeated; memory; the facts beside the product."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
from envi_files import write_envi
from ingest_files import cube

from tilespec.core.errors import UserError
from tilespec.core.memory import resident
from tilespec.ingest.ingest import info, ingest
from tilespec.ingest.row_writer import RowWriter
from tilespec.storage.scene import Scene


def tree(url):
    return {str(p.relative_to(url)): p.read_bytes() for p in sorted(Path(url).rglob("*")) if p.is_file()}


def test_a_dry_run_writes_nothing_and_says_what_it_would(tmp_path):
    plan = ingest(write_envi(tmp_path, cube()), tmp_path / "scene", dry_run=True)
    assert json.dumps(plan)
    assert (plan["objects"], plan["bytes"], plan["dtype"]) == (1, 240, "uint16")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cube.hdr", "cube.img"]


def test_a_disk_that_cannot_hold_the_scene_is_told_before_it_is_full(tmp_path, monkeypatch):
    header = write_envi(tmp_path, cube().astype(np.float32))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(UserError, match="found 100 bytes free; expected 480 for the scene"):
        ingest(header, tmp_path / "scene")
    assert not (tmp_path / "scene").exists()


def test_a_killed_ingest_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    header = write_envi(tmp_path, cube((300, 140, 4)), "bip")
    ingest(header, tmp_path / "whole")
    kept = RowWriter.write

    def dies(self, product, row, fill, layers):
        if row == 1:
            raise KeyboardInterrupt
        kept(self, product, row, fill, layers)

    monkeypatch.setattr(RowWriter, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        ingest(header, tmp_path / "killed")
    with pytest.raises(UserError, match="status 'writing'"):
        Scene.open(str(tmp_path / "killed"))
    assert info(tmp_path / "killed")["status"] == "writing"
    with pytest.raises(UserError, match="status 'writing'"):
        ingest(tmp_path / "killed", tmp_path / "other")
    monkeypatch.setattr(RowWriter, "write", kept)
    result = ingest(header, tmp_path / "killed")
    assert (result["resumed"], result["rows_of_objects"]) == (1, 3)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_a_finished_ingest_run_again_writes_nothing(tmp_path):
    header = write_envi(tmp_path, cube())
    first = ingest(header, tmp_path / "scene")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "scene" / "cube").rglob("*")}
    again = ingest(header, tmp_path / "scene")
    assert again["digest"] == first["digest"]
    assert again["resumed"] == 1
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_another_source_or_option_under_the_same_name_is_refused(tmp_path):
    header = write_envi(tmp_path, cube())
    ingest(header, tmp_path / "scene")
    with pytest.raises(UserError, match="a product of other settings: options"):
        ingest(header, tmp_path / "scene", dtype="float32")
    write_envi(tmp_path, cube(seed=1))
    with pytest.raises(UserError, match="a product of other settings: sources"):
        ingest(header, tmp_path / "scene")


def test_a_product_holds_no_path_of_its_machine(tmp_path):
    extra = "wavelength = {400, 500, 600, 700}\n"
    header = write_envi(tmp_path, cube(), extra=extra)
    np.save(tmp_path / "l.npy", np.zeros((6, 5), "u1"))
    ingest(header, tmp_path / "scene", labels=tmp_path / "l.npy", white=header)
    held = b"".join(tree(tmp_path / "scene").values())
    assert str(tmp_path).encode() not in held
    assert b"cube.hdr" in held


def test_the_facts_of_a_run_lie_beside_the_product(tmp_path):
    result = ingest(write_envi(tmp_path, cube()), tmp_path / "scene")
    kept = json.loads((tmp_path / "scene.tilespec" / "ingest.json").read_text())
    assert kept["digest"] == result["digest"]
    assert result["seconds"] > 0
    assert json.dumps(result)


MEASURED = """
import sys
from tilespec.ingest.ingest import ingest
from tilespec.core.memory import resident
folder, before = sys.argv[1], resident()
result = ingest(f"{folder}/raw.hdr", f"{folder}/scene", white=f"{folder}/white.hdr", dtype="uint16")
print(result["peak_memory"] - before)
"""


@pytest.mark.parametrize("interleave", ["bil", "bsq"])
def test_memory_does_not_grow_with_the_length_of_the_scene(tmp_path, interleave):
    """A row of objects is 15 MB here; the file has 120 MB."""
    lines, width, bands = 1024, 600, 100
    data = np.broadcast_to(cube((1, width, bands)), (lines, width, bands))
    write_envi(tmp_path, data, interleave, name="raw")
    write_envi(tmp_path, np.full((2, width, bands), 10000, "u2"), name="white")
    run = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 100e6
    assert resident() > 0


def test_importing_ingest_is_light():
    code = (
        "import tilespec.ingest.ingest, sys; "
        "print([m for m in ('rasterio', 'torch', 'dask', 'pyproj') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
