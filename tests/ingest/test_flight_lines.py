"""Lists of flight lines: one scene each, named as its source; a line that fails does not lose the others."""

import json

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
from command_line import tilespec
from envi_files import write_envi
from ingest_files import cube, stored
from interrupts import After
from numpy.testing import assert_array_equal

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene


def line(folder, name, seed=0, wavelengths="400, 550, 700, 860"):
    extra = f"wavelength units = nm\nwavelength = {{{wavelengths}}}\n"
    return write_envi(folder, cube(seed=seed), name=name, extra=extra)


def test_every_line_becomes_the_scene_that_it_would_be_alone(tmp_path):
    paths = [line(tmp_path, name, seed) for seed, name in enumerate(["a", "b"])]
    result = ingest(paths, tmp_path / "out", dtype="float32", bin=2)
    assert result["status"] == "complete"
    assert result["failed"] == {}
    for name, path in zip("ab", paths, strict=True):
        alone = ingest(path, tmp_path / "alone" / name, dtype="float32", bin=2)
        assert result["scenes"][name]["digest"] == alone["digest"]
        assert result["scenes"][name]["out"] == str(tmp_path / "out" / name)
    assert result["bytes"] == sum(scene["bytes"] for scene in result["scenes"].values())


def test_a_line_that_fails_does_not_lose_the_others(tmp_path):
    paths = [line(tmp_path, name, seed) for seed, name in enumerate(["a", "b", "c"])]
    whole = (tmp_path / "b.img").read_bytes()
    (tmp_path / "b.img").write_bytes(whole[:100])
    result = ingest([*paths, tmp_path / "gone.hdr"], tmp_path / "out")
    assert result["status"] == "incomplete"
    assert set(result["scenes"]) == {"a", "c"}
    assert "100 bytes" in result["failed"]["b"]
    assert "found nothing" in result["failed"]["gone"]
    assert result["notes"][0].startswith("b failed: ")
    assert not (tmp_path / "out" / "b").exists()
    assert_array_equal(stored(tmp_path / "out" / "c"), cube(seed=2))
    (tmp_path / "b.img").write_bytes(whole)
    result = ingest(paths, tmp_path / "out")
    assert result["status"] == "complete"
    assert [result["scenes"][name]["resumed"] for name in "abc"] == [1, 0, 1]


def test_an_interrupt_ends_the_list_and_the_same_call_resumes(tmp_path):
    paths = [line(tmp_path, name) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        ingest(paths, tmp_path / "out", progress=After(1))
    assert not (tmp_path / "out" / "b").exists()
    assert ingest(paths, tmp_path / "out")["status"] == "complete"


def test_lines_of_different_bands_are_told_apart(tmp_path):
    paths = [line(tmp_path, "a"), line(tmp_path, "b"), line(tmp_path, "c", wavelengths="400, 550, 700, 870")]
    result = ingest(paths, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    note = next(note for note in result["notes"] if "different spectral axes" in note)
    assert "a, b: 4 bands from 400 to 860 nm; c: 4 bands from 400 to 870 nm" in note
    same = ingest(paths[:2], tmp_path / "out", dry_run=True)
    assert not any("spectral axes" in note for note in same["notes"])


def test_two_lines_of_one_name_are_refused_before_anything_is_read(tmp_path):
    (tmp_path / "day2").mkdir()
    paths = [line(tmp_path, "a"), line(tmp_path / "day2", "a")]
    with pytest.raises(UserError, match=r"day2.*found the name 'a', which .*a.hdr has too; expected another name"):
        ingest(paths, tmp_path / "out")
    with pytest.raises(UserError, match="A header and its data are one source"):
        ingest([tmp_path / "a.hdr", tmp_path / "a.img"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arrays_of_one_file_are_lines_of_different_names(tmp_path):
    np.savez(tmp_path / "x.npz", a=cube(), b=cube(seed=1))
    result = ingest([f"{tmp_path / 'x.npz'}:{name}" for name in "ab"], tmp_path / "out")
    assert set(result["scenes"]) == {"x_a", "x_b"}
    assert_array_equal(stored(tmp_path / "out" / "x_b"), cube(seed=1))


def test_what_cannot_hold_for_several_lines_is_refused(tmp_path):
    paths = [line(tmp_path, name) for name in "ab"]
    np.save(tmp_path / "l.npy", np.zeros((6, 5), np.uint8))
    with pytest.raises(UserError, match="--labels: found one place in the image for several flight lines"):
        ingest(paths, tmp_path / "out", labels=tmp_path / "l.npy")
    with pytest.raises(UserError, match="--panel: found one place"):
        ingest(paths, tmp_path / "out", panel="0:2,0:2")
    ingest(paths[0], tmp_path / "scene")
    with pytest.raises(UserError, match="expected a folder for one scene of each flight line"):
        ingest(paths, tmp_path / "scene")
    with pytest.raises(UserError, match=r"none that can be taken; x: .*found nothing"):
        ingest([tmp_path / "x", tmp_path / "y"], tmp_path / "out")


def test_the_command_line_takes_several_sources_and_ends_with_3_when_one_fails(tmp_path):
    paths = [line(tmp_path, name).name for name in "ab"]
    done = tilespec("ingest", *paths, "out", "--bin", "2", "--bin-bands", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scenes"]["a"]["shape"] == [3, 3, 2]
    assert Scene.open(str(tmp_path / "out" / "b")).shape == (3, 3, 2)
    failed = tilespec("ingest", *paths, "gone.hdr", "two", "--json", cwd=tmp_path)
    assert failed.returncode == 3
    assert "gone failed: gone.hdr: found nothing" in failed.stderr
    assert set(json.loads(failed.stdout)["scenes"]) == {"a", "b"}
    assert tilespec("ingest", paths[0], "--json", cwd=tmp_path).returncode == 2
