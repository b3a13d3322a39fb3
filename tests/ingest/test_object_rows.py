"""Objects written a few lines at a time are the objects that Zarr writes, and their entries those of their files."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from envi_files import write_envi
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from raw_counts import counts

from tilespec.core.buffers import Buffers
from tilespec.ingest.calibration.white_dark import Repair, Terms
from tilespec.ingest.encode import Keep, Measure
from tilespec.ingest.ingest import ingest
from tilespec.ingest.request import Request, prepare
from tilespec.storage import chunk_writer
from tilespec.storage.audit import verify
from tilespec.storage.backends.paths import store_path
from tilespec.storage.chunk_writer import stream
from tilespec.storage.layout import compressors
from tilespec.storage.scene import Scene
from tilespec.storage.stored_objects import size_and_hash


def objects(url):
    return {str(p.relative_to(url)): p.read_bytes() for p in Path(url, "c").rglob("*") if p.is_file()}


@settings(max_examples=10, deadline=None)
@given(
    lines=st.sampled_from([1, 7, 128, 131]),
    width=st.sampled_from([1, 5, 128, 130]),
    interleave=st.sampled_from(["bil", "bip", "bsq"]),
    dtype=st.sampled_from(["float32", "uint16"]),
    white=st.booleans(),
)
def test_the_bytes_of_every_object_are_those_that_zarr_writes(tmp_path_factory, lines, width, interleave, dtype, white):
    folder = tmp_path_factory.mktemp("tiles")
    options = {"white": write_envi(folder, np.full((1, width, 3), 10000, "u2"), name="white")} if white else {}
    ingest(write_envi(folder, counts((lines, width, 3), 1, 60000), interleave), folder / "s", dtype=dtype, **options)
    ours = zarr.open_group(str(folder / "s"), mode="r")["cube"]
    plain = zarr.create_array(
        str(folder / "plain"),
        shape=ours.shape,
        dtype=ours.dtype,
        chunks=ours.chunks,
        compressors=compressors(dtype),
        fill_value=ours.fill_value,
        config={"write_empty_chunks": True},
    )
    plain[...] = ours[...]
    assert objects(folder / "s" / "cube") == objects(folder / "plain")
    assert verify(str(folder / "s"))["status"] == "complete"


def test_what_is_recorded_of_an_object_is_what_lies_there(tmp_path):
    ingest(write_envi(tmp_path, counts((140, 130, 3), 1, 60000)), tmp_path / "s", dtype="float32")
    rows = (tmp_path / "s.tilespec").rglob("*.json")
    held = [json.loads(path.read_text()) for path in rows]
    entries = {k: v for record in held if "objects" in record for k, v in record["objects"]["cube"].items()}
    assert len(entries) == 4
    assert all(size_and_hash(store_path(tmp_path / "s" / key)) == entry for key, entry in entries.items())


def test_an_error_on_the_way_leaves_no_object_and_no_part_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(chunk_writer, "CACHED", 1)
    array = zarr.create_array(str(tmp_path / "a"), shape=(20, 4, 2), dtype="float32", chunks=(20, 4, 2))

    def fails(lines, out):
        out[...] = 1
        if lines.start:
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        stream(tmp_path / "a" / "c" / "0", array, (20, 4, 2), fails, Buffers())
    assert [p for p in (tmp_path / "a").rglob("*") if p.is_file()] == [tmp_path / "a" / "zarr.json"]


@pytest.mark.parametrize("interleave", ["bil", "bip", "bsq"])
def test_a_piece_is_encoded_alike_in_every_memory_order(tmp_path, interleave):
    raw = counts((9, 6, 5), 1, 60000)
    job = prepare(Request(src=str(write_envi(tmp_path, raw, interleave)), dtype="float32"))
    rows, out = job.source.read_rows(0, 9), np.empty((9, 6, 5), np.float32)
    none = np.zeros(0, np.int64)
    fix = Repair(x=none, band=none, low=none, high=none, share=np.zeros(0, np.float32))
    gain = np.linspace(1, 2, 30, dtype=np.float32).reshape(6, 5)
    for order in ("C", "F"):
        terms = Terms(
            dark=np.asarray(gain, order=order), gain=np.asarray(gain, order=order), offset=None, fix=fix, finite=True
        )
        job.encoder.encode(rows, terms, out, Buffers())
        assert_array_equal(out, (raw.astype(np.float32) - gain) * gain)


def test_counts_that_stay_have_every_value_in_every_memory_order(tmp_path):
    raw = counts((300, 130, 3), 0, 65535)
    found = {}
    for interleave in ("bil", "bip", "bsq"):
        result = ingest(write_envi(tmp_path, raw, interleave, name=interleave), tmp_path / f"s-{interleave}")
        scene = Scene.open(str(tmp_path / f"s-{interleave}"))
        assert_array_equal(np.asarray(scene.array), raw)
        found[interleave] = result["digest"]
    assert len(set(found.values())) == 1


def test_both_encoders_are_values_of_the_protocol():
    keep = Keep(dtype="uint16", scale=1.0, nodata=7.0, hidden=7.0)
    measure = Measure(dtype="float32", scale=1.0, nodata=None, hidden=7.0)
    raw, room = np.array([[[7, 1], [7, 7], [2, 3]]], np.uint16), Buffers()
    out = np.empty(raw.shape, np.uint16)
    assert keep.encode(raw, None, out, room) == {"nan_pixels": 2, "empty_pixels": 1}
    values = np.empty(raw.shape, np.float32)
    assert measure.encode(raw, None, values, room) == {"nan_pixels": 2, "empty_pixels": 1, "infinities": 0}
    assert_array_equal(out, raw)
    assert_array_equal(values, np.where(raw == 7, np.nan, raw))
