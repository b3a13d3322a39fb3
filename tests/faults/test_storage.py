"""Storage that lies, fills up, or cannot be written: told in a line, healed by `repair` or the same command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_processes import Arena, contents, leftovers, predict, records, tilespec

from tilespec.storage.audit import status


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("storage"), make_scene)


@pytest.fixture
def product(arena, tmp_path):
    """A copy of the undisturbed product, and the folder of its commands' logs."""
    shutil.copytree(arena.folder / "whole", tmp_path / "out")
    shutil.copytree(arena.folder / "whole.tilespec", tmp_path / "out.tilespec")
    return tmp_path / "out"


def torn(path):
    os.truncate(path, path.stat().st_size - 10)


def emptied(path):
    os.truncate(path, 0)


def flipped(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


DAMAGE = {2: torn, 5: emptied, 6: flipped, 18: Path.unlink}
"""What happens to an object of these rows."""


@pytest.mark.timeout(300)
def test_damaged_objects_are_found_by_verify_and_only_their_rows_are_computed_by_repair(arena, product, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in product.rglob("c/*/*")}
    for row, damage in DAMAGE.items():
        damage(product / f"prediction/c/{row}/1")
    code, result, errors = tilespec(tmp_path / "log", "verify", product, "--json", "--quiet")
    assert (code, errors) == (3, "")
    assert {(entry["object"], entry["row"]) for entry in result["damaged"]} == {
        (f"prediction/c/{row}/1", row) for row in DAMAGE
    }
    log = tmp_path / "tiles"
    code, result, errors = tilespec(tmp_path / "log", "repair", product, "--json", "--quiet", log=log)
    assert code == 0, errors
    assert (result["rows_recomputed"], result["whole"]) == (len(DAMAGE), True)
    assert contents(product) == arena.whole
    written = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {int(path.parent.name) for path in written} == set(DAMAGE)
    # An object of 32 rows is reached by 3 tile rows of 16: three rows apart, two neighbours, the last one of 24 rows
    assert len(log.read_bytes().splitlines()) <= 6 * (3 + 5 + 2)
    code, result, _ = tilespec(tmp_path / "log", "verify", product, "--json", "--quiet")
    assert (code, result["whole"]) == (0, True)


@pytest.mark.timeout(300)
def test_the_same_command_heals_what_is_gone_or_short_without_being_asked(arena, product, tmp_path):
    emptied(product / "prediction/c/3/0")
    (product / "prediction/c/9/2").unlink()
    arguments = predict(arena, product)
    code, result, errors = tilespec(tmp_path / "log", *arguments)
    assert code == 0, errors
    assert result["rows_done"] == 2
    assert contents(product) == arena.whole


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_metadata_that_were_cut_are_told_and_healed(arena, product, tmp_path):
    os.truncate(product / "zarr.json", 200)
    code, _, errors = tilespec(tmp_path / "log", *predict(arena, product))
    assert code == 2
    assert "zarr.json" in errors
    assert "tilespec repair" in errors
    assert "Traceback" not in errors
    code, result, _ = tilespec(tmp_path / "log", "verify", product, "--json", "--quiet")
    assert (code, result["intact"], result["damaged"]) == (3, False, [])
    code, result, errors = tilespec(tmp_path / "log", "repair", product, "--json", "--quiet")
    assert code == 0, errors
    assert (result["rows_recomputed"], result["whole"]) == (0, True)
    assert contents(product) == arena.whole


def absurd(scene):
    """Say in the metadata that a chunk has a million pixels on each side."""
    for path in (scene / "zarr.json", scene / "cube" / "zarr.json"):
        data = json.loads(path.read_text())
        cube = data["consolidated_metadata"]["metadata"]["cube"] if "consolidated_metadata" in data else data
        cube["chunk_grid"]["configuration"]["chunk_shape"] = [1_000_000, 1_000_000, 8]
        path.write_text(json.dumps(data))


FILLING = """
import sys
from tilespec import cli
from tilespec.output.export import export
export.free_bytes = lambda _: 1 << 40  # somebody else fills the disk while the file is written
sys.argv = ["tilespec", "export", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize("end", ["nc", "tif", "hdr"])
def test_a_file_that_does_not_fit_the_disk_is_one_message_and_does_not_stay(make_scene, small_disk, tmp_path, end):
    scene = make_scene(tmp_path / "scene", 150, 200, 30)
    command = [sys.executable, "-c", FILLING, scene, small_disk / f"x.{end}", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr or "has not taken the whole file" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(small_disk.iterdir()) == []


@pytest.mark.timeout(300)
def test_a_chunk_of_a_million_squared_is_refused_without_being_allocated(arena, tmp_path):
    scene = tmp_path / "scene"
    shutil.copytree(arena.scene, scene)
    absurd(scene)
    code, _, errors = tilespec(tmp_path / "log", "predict", arena.model, scene, tmp_path / "out", "--quiet", "--json")
    assert code == 2, errors
    assert "Traceback" not in errors
    assert f"{scene}: found" in errors
    assert records(tmp_path / "out") == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB of its own, where mounting is permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    found = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False, capture_output=True, text=True
    )
    if found.returncode:
        pytest.skip(f"no permission to mount a small file system: {found.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.timeout(300)
def test_a_disk_that_is_full_stops_the_run_cleanly_and_it_resumes_when_there_is_space(arena, small_disk, tmp_path):
    out, ballast = small_disk / "out", small_disk / "ballast"
    ballast.write_bytes(bytes(1_600_000))
    arguments = predict(arena, out, "--probabilities")
    code, _, errors = tilespec(tmp_path / "log", *arguments)
    assert code == 2, errors
    assert "No space left on device" in errors
    assert "Traceback" not in errors
    assert 0 < records(out) < 19, "full in the middle"
    assert [Path(left).name for left in leftovers(out) if not left.endswith(".writing")] == []
    said = status(out)
    assert (said["status"], said["lock"]) == ("writing", None)
    code, _, errors = tilespec(tmp_path / "log", *arguments)
    assert code == 2, "still full"
    assert "Traceback" not in errors
    ballast.unlink()
    code, result, errors = tilespec(tmp_path / "log", *arguments)
    assert code == 0, errors
    assert result["rows_done"] < 19
    code, _, errors = tilespec(tmp_path / "log", *predict(arena, tmp_path / "elsewhere", "--probabilities"))
    assert code == 0, errors
    assert contents(out) == contents(tmp_path / "elsewhere")
    assert leftovers(out) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_place_that_cannot_be_written_is_told_in_a_line_and_can_still_be_audited(arena, small_disk, tmp_path):
    out = small_disk / "out"
    shutil.copytree(arena.folder / "whole", out)
    shutil.copytree(arena.folder / "whole.tilespec", f"{out}.tilespec")
    (out / "prediction/c/4/0").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for where in (out, small_disk / "new"):
        code, _, errors = tilespec(tmp_path / "log", *predict(arena, where))
        assert code == 2, errors
        assert "Read-only file system" in errors
        assert "Traceback" not in errors
    code, result, errors = tilespec(tmp_path / "log", "verify", out, "--json", "--quiet")
    assert (code, errors) == (3, "")
    assert [entry["object"] for entry in result["damaged"]] == ["prediction/c/4/0"]
