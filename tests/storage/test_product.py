"""Products and their ledger: written once, resumable, whole or refused, and no flipped bit goes unseen."""

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import xarray as xr
import xxhash
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.types import SpectralAxis
from tilespec.storage import product as module
from tilespec.storage.backends.paths import store_path
from tilespec.storage.chunk_writer import put
from tilespec.storage.files import write_atomic
from tilespec.storage.layout import ArraySpec, compressors, constants, cube_spec, layer_spec
from tilespec.storage.ledger import Ledger
from tilespec.storage.product import Product, publish
from tilespec.storage.scene import Scene
from tilespec.storage.stored_objects import keys, size_and_hash

AXIS = SpectralAxis(name="wavelength", unit="nm", values=(400.0, 500.0, 600.0), good=(True, False, True))
SHAPE = (300, 140, 3)


def values(dtype="uint16"):
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def begin(url, dtype="uint16", key="a"):
    specs = [cube_spec(SHAPE, dtype, spectral=AXIS), layer_spec("labels", SHAPE[:2], classes=("soil", "leaf"))]
    return Product.open(str(url), specs, settings={"key": key}, attrs={"title": "t"}, constants=constants(AXIS))


def fill(product, rows=None, dtype="uint16"):
    data = values(dtype)
    for row in product.missing() if rows is None else rows:
        y0, y1 = product.span(row)
        blocks = {"cube": data[y0:y1], "labels": (data[y0:y1, :, 0] % 2).astype(np.uint8)}
        product.write(row, blocks, {"seen": y1 - y0})


def tree(url):
    return {str(p.relative_to(url)): p.read_bytes() for p in sorted(Path(url).rglob("*")) if p.is_file()}


def objects(url):
    return sorted(p for p in (Path(url) / "cube" / "c").rglob("*") if p.is_file())


def test_rows_of_objects_cover_the_plane_once(tmp_path):
    product = begin(tmp_path / "p")
    assert [product.span(row) for row in range(product.rows)] == [(0, 128), (128, 256), (256, 300)]
    assert product.missing() == [0, 1, 2]


def test_what_is_written_is_what_is_read_and_counts_add_up(tmp_path):
    product = begin(tmp_path / "p")
    fill(product)
    digest = product.finish()
    scene = Scene.open(str(tmp_path / "p"))
    assert_array_equal(scene.array[...], values())
    assert scene.attrs["tilespec_digest"] == digest
    assert product.counts() == {"seen": 300}


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_the_order_of_rows_decides_no_byte(tmp_path, order):
    for name, rows in (("a", [0, 1, 2]), ("b", order)):
        product = begin(tmp_path / name)
        fill(product, rows)
        product.finish()
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_product_begun_and_left_is_resumed_where_it_stopped(tmp_path):
    fill(begin(tmp_path / "p"), [1])
    with pytest.raises(UserError, match="found status 'writing'; expected status 'complete'"):
        Scene.open(str(tmp_path / "p"))
    assert Scene.open(str(tmp_path / "p"), allow_partial=True).shape == SHAPE
    again = begin(tmp_path / "p")
    assert again.missing() == [0, 2]
    fill(again)
    again.finish()
    assert_array_equal(Scene.open(str(tmp_path / "p")).array[...], values())


def test_a_product_cannot_be_finished_while_rows_are_missing(tmp_path):
    product = begin(tmp_path / "p")
    fill(product, [0])
    with pytest.raises(AssertionError, match=r"rows of objects \[1, 2\] are missing"):
        product.finish()


def test_a_row_that_was_torn_is_written_again(tmp_path):
    """Objects without a record are not done, whatever lies there."""
    fill(begin(tmp_path / "p"))
    record = next((tmp_path / "p.tilespec").rglob("row-000001.json"))
    record.unlink()
    objects(tmp_path / "p")[2].write_bytes(b"torn")
    again = begin(tmp_path / "p")
    assert again.missing() == [1]
    fill(again)
    again.finish()
    assert_array_equal(Scene.open(str(tmp_path / "p")).array[...], values())


def test_a_store_that_was_removed_is_begun_again_and_not_believed(tmp_path):
    """The ledger beside a removed store speaks of objects that are gone."""
    import shutil

    product = begin(tmp_path / "p")
    fill(product)
    product.finish()
    shutil.rmtree(tmp_path / "p")
    again = begin(tmp_path / "p")
    assert again.missing() == [0, 1, 2]
    fill(again)
    again.finish()
    assert_array_equal(Scene.open(str(tmp_path / "p")).array[...], values())


def test_a_process_killed_while_it_creates_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "publish", dies)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "p")
    with pytest.raises(UserError, match="status 'writing'"):
        Scene.open(str(tmp_path / "p"))
    monkeypatch.undo()
    product = begin(tmp_path / "p")
    fill(product)
    product.finish()
    assert_array_equal(Scene.open(str(tmp_path / "p")).array[...], values())


def test_a_store_whose_metadata_was_cut_is_refused(tmp_path):
    fill(begin(tmp_path / "p"), [0])
    root = tmp_path / "p" / "zarr.json"
    root.write_text(root.read_text()[:100])
    with pytest.raises(UserError, match=r"zarr\.json.* expected whole metadata"):
        begin(tmp_path / "p")


def test_other_settings_are_refused_and_named(tmp_path):
    begin(tmp_path / "p")
    with pytest.raises(UserError, match='found a product of other settings: key was "a", is "b"'):
        begin(tmp_path / "p", key="b")


def test_something_that_is_there_already_is_not_touched(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.txt").write_text("all of it")
    with pytest.raises(UserError, match="something that is there already"):
        begin(tmp_path / "p")
    assert (tmp_path / "p" / "thesis.txt").read_text() == "all of it"
    assert not (tmp_path / "p.tilespec").exists()
    (tmp_path / "p.tilespec").mkdir()
    with pytest.raises(UserError, match="something that is there already"):
        begin(tmp_path / "p")
    assert (tmp_path / "p" / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8", "int16", "float64"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_object_is_an_error_and_never_a_value(tmp_path, dtype, damage):
    product = begin(tmp_path / "p", dtype)
    fill(product, dtype=dtype)
    product.finish()
    victim = objects(tmp_path / "p")[0]
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 4
    victim.write_bytes({"flip": bytes(raw), "cut": bytes(raw[:-10]), "empty": b""}[damage])
    with pytest.raises((ValueError, RuntimeError)):
        Scene.open(str(tmp_path / "p")).array[:128, :128]


def test_an_object_that_is_all_fill_value_is_stored_all_the_same(tmp_path):
    product = begin(tmp_path / "p")
    for row in range(product.rows):
        y0, y1 = product.span(row)
        product.write(row, {"cube": np.zeros((y1 - y0, *SHAPE[1:]), "u2"), "labels": np.zeros((y1 - y0, 140), "u1")})
    assert len(objects(tmp_path / "p")) == 6


def test_a_block_of_another_shape_is_our_own_mistake(tmp_path):
    with pytest.raises(AssertionError, match="is no whole row of objects"):
        begin(tmp_path / "p").write(0, {"cube": np.zeros((127, 140, 3), "u2")})


def test_plain_xarray_opens_a_product_without_a_warning(tmp_path):
    product = begin(tmp_path / "p")
    fill(product)
    product.finish()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(tmp_path / "p")
    assert_array_equal(dataset.wavelength, AXIS.values)
    assert_array_equal(dataset.good, AXIS.good)
    assert dataset.labels.dtype == np.uint8
    assert dataset.labels.attrs["flag_meanings"] == "soil leaf"


@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
def test_every_type_has_a_checksum(dtype):
    text = str(compressors(dtype))
    assert "Crc32c" in text or "checksum=True" in text


def test_publish_keeps_what_was_there(tmp_path):
    begin(tmp_path / "p")
    publish(str(tmp_path / "p"), {"more": [1]})
    attrs = dict(zarr.open_group(tmp_path / "p", mode="r").attrs)
    assert (attrs["title"], attrs["more"], attrs["tilespec_status"]) == ("t", [1], "writing")


def test_arrays_of_one_product_share_the_height_of_an_object(tmp_path):
    specs = [
        ArraySpec(name=n, shape=(4, 4), dtype="u1", dims=("y", "x"), chunks=(e, 4)) for n, e in (("a", 2), ("b", 4))
    ]
    with pytest.raises(AssertionError, match="share the height"):
        Product.open(str(tmp_path / "p"), specs, settings={}, attrs={}, constants={})


# --- resuming, and what is written at once --------------------------------------------------------------------------


def entries(product):
    """Return what the records of a product say of its objects."""
    held = [of for record in product.ledger.records().values() for of in record["objects"].values()]
    return {key: entry for of in held for key, entry in of.items()}


def test_records_hold_size_and_hash_of_every_object_as_it_lies_there(tmp_path):
    product = begin(tmp_path / "p")
    fill(product)
    files = [p for name in ("cube", "labels") for p in (tmp_path / "p" / name / "c").rglob("*") if p.is_file()]
    assert entries(product) == {
        p.relative_to(tmp_path / "p").as_posix(): [
            p.stat().st_size,
            xxhash.xxh3_128(p.read_bytes()).hexdigest(),
        ]
        for p in files
    }


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "gone", "linked"])
def test_a_recorded_row_whose_object_has_another_size_is_missing_and_written_again(tmp_path, damage):
    """What a power cut leaves: the record reached the disk, its objects did not."""
    product = begin(tmp_path / "p")
    fill(product)
    product.finish()
    before = tree(tmp_path / "p")
    victim = objects(tmp_path / "p")[2]
    raw = victim.read_bytes()
    victim.unlink()
    if damage == "linked":
        victim.symlink_to(tmp_path / "p" / "zarr.json")
    elif damage != "gone":
        victim.write_bytes({"cut": raw[:-10], "empty": b"", "longer": raw + b"0"}[damage])
    again = begin(tmp_path / "p")
    assert again.missing() == [1]
    with pytest.raises(UserError, match="status 'writing'"):
        Scene.open(str(tmp_path / "p"))
    fill(again)
    again.finish()
    assert tree(tmp_path / "p") == before


def sharded(url, dtype="float32"):
    """Begin a product, then store its cube in shards of 2 x 2 chunks: what other writers of the format do."""
    spec = ArraySpec(name="cube", shape=(48, 40, 2), dtype=dtype, dims=("y", "x", "band"), chunks=(16, 16, 2))
    product = Product.open(str(url), [spec], settings={"s": 1}, attrs={}, constants={})
    zarr.open_group(url, mode="r+").create_array(
        "cube", shape=spec.shape, dtype=dtype, chunks=(8, 8, 2), shards=(16, 16, 2), overwrite=True
    )
    zarr.consolidate_metadata(url)
    return product


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_torn_shard_is_deleted_and_written_whole(tmp_path):
    """A plain overwrite of a shard that was cut fails: its index is gone."""
    product, block = sharded(tmp_path / "p"), np.random.default_rng(0).random((16, 40, 2), np.float32)
    product.write(0, {"cube": block})
    whole = tree(tmp_path / "p")
    victim = objects(tmp_path / "p")[0]
    os.truncate(victim, victim.stat().st_size - 10)
    product.ledger.drop(0)
    product.ledger.begin(0)
    product.write(0, {"cube": block})
    assert tree(tmp_path / "p") == whole
    assert len(entries(product)) == 3


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_region_that_cuts_a_stored_object_is_refused_before_anything_is_written(tmp_path):
    product = replace(sharded(tmp_path / "p"), edge=24)
    with pytest.raises(AssertionError, match="cube: 0:24 of axis 0 cuts objects of 16"):
        product.write(0, {"cube": np.zeros((24, 40, 2), np.float32)})
    narrow = replace(sharded(tmp_path / "q"), panel=8)
    with pytest.raises(AssertionError, match="cube: 8:16 of axis 1 cuts objects of 16"):
        narrow.write(0, {"cube": np.zeros((16, 8, 2), np.float32)}, panel=1)
    for name, one in (("p", product), ("q", narrow)):
        assert objects(tmp_path / name) == []
        assert one.ledger.in_flight() == []


def test_a_row_that_a_killed_run_left_is_overwritten_and_never_merged_with(tmp_path):
    product = begin(tmp_path / "p")
    fill(product, [0])
    whole = tree(tmp_path / "p")
    for victim in objects(tmp_path / "p"):
        victim.write_bytes(b"torn")
    product.ledger.drop(0)
    product.ledger.begin(0)
    begin(tmp_path / "p")
    fill(product, [0])
    assert tree(tmp_path / "p") == whole


def test_a_write_that_fails_leaves_no_record_and_no_half_of_an_object(tmp_path, monkeypatch):
    product = begin(tmp_path / "p")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(OSError, match="No space left"):
        fill(product, [0])
    monkeypatch.undo()
    assert (product.missing(), product.ledger.in_flight()) == ([0, 1, 2], [(0, 0)])
    assert not list(tmp_path.rglob("*.partial"))
    fill(product)
    assert product.ledger.in_flight() == []


def test_a_process_killed_while_it_publishes_loses_nothing(tmp_path, monkeypatch):
    """Attributes are changed in one step: there is no moment at which the store looks as if it were not begun."""
    product, seen = begin(tmp_path / "p"), []
    fill(product)
    kept = Path.replace

    def watched(self, target):
        kept(self, target)
        if str(target).endswith("p/zarr.json"):
            seen.append(json.loads(Path(target).read_text()))

    monkeypatch.setattr(Path, "replace", watched)
    product.finish()
    assert seen
    assert all("consolidated_metadata" in root for root in seen)


def test_a_product_of_an_older_version_is_refused_and_left(tmp_path):
    product = begin(tmp_path / "p")
    fill(product)
    product.finish()
    (tmp_path / "p.tilespec" / "layout.json").unlink()
    for record in (tmp_path / "p.tilespec").rglob("row-*.json"):
        record.write_text('{"objects": {"cube": "00ff"}}')  # a hash of the row, as version 1 had it
    before = tree(tmp_path / "p")
    with pytest.raises(UserError, match=r"records of format 1; expected format 3\. It can be read as it is"):
        begin(tmp_path / "p")
    assert tree(tmp_path / "p") == before


def test_settings_that_were_cut_are_no_other_settings(tmp_path):
    begin(tmp_path / "p")
    kept = tmp_path / "p.tilespec" / "settings.json"
    whole = kept.read_text()
    kept.write_text(whole[:-3])
    with pytest.raises(UserError, match=r"settings\.json: found JSON that ends early"):
        Ledger.open(str(tmp_path / "p"), {"others": 1})
    begin(tmp_path / "p")
    assert kept.read_text() == whole, "the fingerprint of its records is that of these settings"


def test_a_record_that_was_cut_records_nothing(tmp_path):
    product = begin(tmp_path / "p")
    fill(product)
    (record,) = product.ledger.folder.rglob("row-000002.json")
    record.write_text(record.read_text()[:40])
    assert product.missing() == [2]


def test_the_scratch_of_a_run_goes_when_the_product_is_finished(tmp_path):
    product = begin(tmp_path / "p")
    product.scratch.mkdir()
    (product.scratch / "strip").touch()
    fill(product)
    product.ledger.begin(1)  # a second worker began the row and was ended
    product.finish()
    assert not product.scratch.exists()
    assert product.ledger.in_flight() == []
    assert not list(product.ledger.rows.glob("*.writing"))


# --- poison ---------------------------------------------------------------------------------------------------------


def test_a_product_with_poison_is_incomplete_and_its_rows_get_another_try(tmp_path):
    product, data = begin(tmp_path / "p"), values()
    fill(product, [0, 2])
    blocks = {"cube": data[128:256], "labels": np.zeros((128, 140), "u1")}
    product.write(1, blocks, {"seen": 1}, poison=[9, 4])
    assert (product.missing(), product.poison()) == ([1], [4, 9])
    product.finish()
    with pytest.raises(UserError, match="status 'incomplete'"):
        Scene.open(str(tmp_path / "p"))
    again = begin(tmp_path / "p")
    assert again.missing() == [1]
    fill(again)
    again.finish()
    assert again.poison() == []
    assert Scene.open(str(tmp_path / "p")).attrs["tilespec_status"] == "complete"


# --- panels ---------------------------------------------------------------------------------------------------------

PLANE = (40, 56, 2)


def panelled(url, panel):
    specs = [
        ArraySpec(name=name, shape=PLANE[:n], dtype="u2", dims=("y", "x", "band")[:n], chunks=(16, 8, 2)[:n])
        for name, n in (("cube", 3), ("labels", 2))
    ]
    return Product.open(str(url), specs, settings={"p": 1}, attrs={}, constants={}, panel=panel)


def write_panels(product, order):
    data = np.random.default_rng(0).integers(0, 999, PLANE).astype("u2")
    for panel, row in order:
        (y0, y1), (x0, x1) = product.span(row), product.columns(panel)
        block = data[y0:y1, x0:x1]
        product.write(row, {"cube": block, "labels": block[:, :, 0]}, {"n": block[:, :, 0].size}, panel=panel)
    return data


def cells(product):
    return [(panel, row) for panel in range(product.panels) for row in range(product.rows)]


@given(panel=st.sampled_from([None, 8, 16, 24, 56, 64]), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_panels_and_their_order_decide_no_byte_and_no_digest(tmp_path_factory, panel, seed):
    tmp = tmp_path_factory.mktemp("panels")
    whole, other = panelled(tmp / "a", None), panelled(tmp / "b", panel)
    data = write_panels(whole, cells(whole))
    order = cells(other)
    np.random.default_rng(seed).shuffle(order)
    write_panels(other, order)
    assert whole.finish() == other.finish()
    assert tree(tmp / "a") == tree(tmp / "b")
    assert other.counts() == whole.counts() == {"n": PLANE[0] * PLANE[1]}
    assert_array_equal(zarr.open_group(tmp / "b", mode="r")["cube"][...], data)


def test_panels_cover_the_plane_once_and_each_has_its_own_rows(tmp_path):
    product = panelled(tmp_path / "p", 24)
    assert [product.columns(panel) for panel in range(product.panels)] == [(0, 24), (24, 48), (48, 56)]
    write_panels(product, [(0, 1), (2, 0), (2, 1), (2, 2)])
    again = panelled(tmp_path / "p", 24)
    assert [again.missing(panel) for panel in range(3)] == [[0, 2], [0, 1, 2], []]
    with pytest.raises(AssertionError, match="are missing"):
        again.finish()


def test_other_panels_than_it_was_begun_with_begin_its_rows_again(tmp_path):
    product = panelled(tmp_path / "p", 24)
    write_panels(product, cells(product))
    product.finish()
    other = panelled(tmp_path / "p", 32)
    assert [other.missing(panel) for panel in range(2)] == [[0, 1, 2]] * 2
    write_panels(other, cells(other))
    assert zarr.open_group(tmp_path / "p", mode="r").attrs["tilespec_digest"] == other.finish()


def test_a_panel_that_cuts_objects_is_our_own_mistake(tmp_path):
    with pytest.raises(AssertionError, match="a panel holds whole objects"):
        panelled(tmp_path / "p", 12)


# --- the ledger ----------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.floats(allow_nan=False))))
@settings(max_examples=30)
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(settings_):
    turned = dict(reversed(settings_.items()))
    assert fingerprint(settings_) == fingerprint(turned)
    assert fingerprint(settings_) != fingerprint({**settings_, "another": 1, "": "x"})


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    write_atomic(tmp_path / "x", "before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "x", "after")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "before"


def test_a_row_in_flight_is_marked_until_it_is_recorded(tmp_path):
    ledger = Ledger.open(str(tmp_path / "p"), {"a": 1})
    ledger.begin(3)
    assert [p.name for p in (tmp_path / "p.tilespec").rglob("*.writing")] == ["row-000003.writing"]
    assert ledger.done() == {}
    ledger.record(3, {"counts": {"n": 1}})
    assert ledger.done() == {3: {"counts": {"n": 1}}}
    assert not list((tmp_path / "p.tilespec").rglob("*.writing"))


def test_records_of_other_settings_do_not_count(tmp_path):
    ledger = Ledger.open(str(tmp_path / "p"), {"a": 1})
    ledger.record(0, {})
    other = Ledger(folder=ledger.folder, key=fingerprint({"a": 2}))
    assert other.done() == {}


def test_settings_and_notes_are_plain_json_beside_the_product(tmp_path):
    ledger = Ledger.open(str(tmp_path / "p") + "/", {"path": Path("x"), "n": 1})
    ledger.note("ingest", {"seconds": 1.5})
    assert json.loads((tmp_path / "p.tilespec" / "settings.json").read_text()) == {"n": 1, "path": "x"}
    assert json.loads((tmp_path / "p.tilespec" / "ingest.json").read_text()) == {"seconds": 1.5}
    Ledger.open(str(tmp_path / "p"), {"path": "x", "n": 1})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["float32", "uint8"]),
    edge=st.integers(1, 9),
    cached=st.integers(1, 900),
    seed=st.integers(0, 9),
)
def test_objects_written_without_zarr_are_those_of_zarr(tmp_path, dtype, edge, cached, seed):
    tmp, data = tmp_path / uuid4().hex, np.random.default_rng(seed).integers(0, 3, (13, 10))
    arrays = [
        zarr.create_array(
            str(tmp / who), shape=data.shape, chunks=(edge, edge), dtype=dtype, compressors=compressors(dtype)
        ).with_config({"write_empty_chunks": True})
        for who in ("zarr", "ours")
    ]
    arrays[0][...] = data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilespec.storage.chunk_writer.CACHED", cached)
        for key in keys(arrays[1], "ours", (0, 0), data.shape):
            y, x = (int(i) * edge for i in key.split("/")[2:])
            entry = put(tmp / key, arrays[1], data[y : y + edge, x : x + edge])
            assert entry == size_and_hash(store_path(tmp / key))
            assert (tmp / key).read_bytes() == (tmp / key.replace("ours", "zarr")).read_bytes()
