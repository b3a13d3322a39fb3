"""Sources in a bucket: the scene of the same files on a disk, and nothing of where their copies were."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from envi_files import write_envi
from ingest_files import cube, to_geotiff, to_netcdf, to_npy
from object_store import contents, reached

from tilespec.core.errors import UserError
from tilespec.ingest import remote_sources
from tilespec.ingest.ingest import info, ingest
from tilespec.storage.backends.paths import store_path
from tilespec.workflows.repair import repair


@pytest.fixture
def store(server):
    with reached(server) as (proxy, url):
        yield proxy, f"{url}/raw"


@pytest.fixture
def bucket(store):
    return store[1]


def uploaded(folder, bucket):
    """Copy all files of a folder into a bucket."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            (store_path(bucket) / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())


def to_envi(folder, data):
    return write_envi(folder, data), {}


WRITERS = {"envi": to_envi, "npy": to_npy, "netcdf": to_netcdf, "geotiff": to_geotiff}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_source_in_a_bucket_becomes_the_scene_of_the_file(kind, bucket, tmp_path):
    (tmp_path / "raw").mkdir()
    file, beside = WRITERS[kind](tmp_path / "raw", cube())
    uploaded(tmp_path / "raw", bucket)
    near = ingest(str(file), str(tmp_path / "near"), **{key: str(path) for key, path in beside.items()})
    there = {key: f"{bucket}/{path.name}" for key, path in beside.items()}
    far = ingest(f"{bucket}/{file.name}", str(tmp_path / "far"), **there)
    assert far["digest"] == near["digest"]
    assert contents(str(tmp_path / "far")) == contents(str(tmp_path / "near"))
    assert info(f"{bucket}/{file.name}") | {"file": ""} == info(str(file)) | {"file": ""}


def test_what_is_recorded_names_the_url_and_resumes_and_repairs(bucket, tmp_path):
    np.save(tmp_path / "a.npy", cube())
    uploaded(tmp_path, bucket)
    out = str(tmp_path / "out" / "scene")
    ingest(f"{bucket}/a.npy", out)
    records = "".join(path.read_text() for path in Path(f"{out}.tilespec").rglob("*.json"))
    assert f"{bucket}/a.npy" in records
    assert "tilespec-sources" not in records
    assert ingest(f"{bucket}/a.npy", out)["resumed"] == 1
    whole = contents(out)
    damaged = next(path for path in Path(out, "cube/c").rglob("*") if path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-3])
    repair(out)
    assert contents(out) == whole


def test_each_input_of_an_ingest_can_be_in_a_bucket(bucket, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    np.save(raw / "a.npy", cube().astype(np.uint16))
    np.save(raw / "white.npy", np.full((1, 5, 4), 9000, np.uint16))
    np.save(raw / "dark.npy", np.full((1, 5, 4), 1, np.uint16))
    np.save(raw / "labels.npy", np.arange(30, dtype=np.uint8).reshape(6, 5) % 3)
    (raw / "bands.txt").write_text("400\n500\n600\n700\n")
    uploaded(raw, bucket)
    for place, out in ((str(raw), "near"), (bucket, "far")):
        names = {"white": "white.npy", "dark": "dark.npy", "labels": "labels.npy", "wavelengths": "bands.txt"}
        given = {key: f"{place}/{name}" for key, name in names.items()}
        ingest(f"{place}/a.npy", str(tmp_path / out), **given, layer={"more": f"{place}/labels.npy"})
    assert contents(str(tmp_path / "far")) == contents(str(tmp_path / "near"))


def test_an_array_of_a_file_in_a_bucket_and_several_lines(bucket, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    np.savez(raw / "two.npz", one=cube(), other=cube() + 1)
    np.save(raw / "b.npy", cube())
    uploaded(raw, bucket)
    ingest(f"{bucket}/two.npz:other", str(tmp_path / "far"))
    ingest(f"{raw}/two.npz:other", str(tmp_path / "near"))
    assert contents(str(tmp_path / "far")) == contents(str(tmp_path / "near"))
    result = ingest([f"{bucket}/b.npy", f"{bucket}/gone.npy"], str(tmp_path / "lines"))
    assert list(result["scenes"]) == ["b"]
    assert "gone.npy: found nothing" in result["failed"]["gone"]


def test_copies_are_gone_after_an_error_whose_message_names_the_url(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "a.npy").write_bytes(b"no array")
    uploaded(tmp_path, bucket)
    with pytest.raises(UserError) as error:
        ingest(f"{bucket}/a.npy", str(tmp_path / "scene"))
    assert f"{bucket}/a.npy" in str(error.value)
    assert "tilespec-sources" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_disk_without_room_for_a_source_is_said_before_anything_is_copied(store, tmp_path, monkeypatch):
    proxy, bucket = store
    np.save(tmp_path / "a.npy", cube())
    uploaded(tmp_path, bucket)
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=10))
    proxy.asked.clear()
    with pytest.raises(UserError, match=r"room for 0\.0 GB; expected room for a temporary copy\. Set TMPDIR"):
        ingest(f"{bucket}/a.npy", str(tmp_path / "scene"))
    assert not [line for line in proxy.asked if line.startswith("GET") and line.endswith("a.npy")]


def test_only_companions_of_a_source_are_copied(bucket, tmp_path):
    write_envi(tmp_path, cube())
    np.save(tmp_path / "cube2.npy", cube())
    (tmp_path / "cube.img.txt").write_text("a note")
    uploaded(tmp_path, bucket)
    with remote_sources.copies() as opened:
        copy = Path(opened.of(f"{bucket}/cube.hdr"))
        assert sorted(path.name for path in copy.parent.iterdir()) == ["cube.hdr", "cube.img", "cube.img.txt"]
        assert copy.stat().st_mtime == store_path(f"{bucket}/cube.hdr").modified()


def test_a_source_that_was_put_again_is_another_one(bucket, tmp_path):
    np.save(tmp_path / "a.npy", cube())
    uploaded(tmp_path, bucket)
    ingest(f"{bucket}/a.npy", str(tmp_path / "scene"))
    np.save(tmp_path / "a.npy", cube(seed=1).astype(np.float64))
    uploaded(tmp_path, bucket)
    with pytest.raises(UserError, match="other settings"):
        ingest(f"{bucket}/a.npy", str(tmp_path / "scene"))


def test_tables_that_users_write_are_read_from_a_bucket(bucket):
    from tilespec.storage.references import References

    (store_path(bucket) / "lab.csv").write_bytes("sample,nitrogen [%]\na,1.5\nb,2\n".encode("utf-8-sig"))
    assert json.dumps(References.read(f"{bucket}/lab.csv").values.tolist()) == "[[1.5], [2.0]]"
