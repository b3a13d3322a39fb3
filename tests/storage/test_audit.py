"""Status and verify: what the ledger says, and whether the bytes are still those that were written."""

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGE, everything, flip
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.simulate.simulate import simulate
from tilespec.storage import audit as module
from tilespec.storage import inventory
from tilespec.storage.audit import status, verify
from tilespec.storage.layout import ArraySpec
from tilespec.storage.ledger import Ledger
from tilespec.storage.lock import locked
from tilespec.storage.product import Product, publish

SHAPE, EDGE = (50, 40, 3), 16
ROWS, OBJECTS = 4, 4 * 3 * 2


def begin(url, panel=None):
    arrays = {"cube": (SHAPE, ("y", "x", "band")), "labels": (SHAPE[:2], ("y", "x"))}
    specs = [
        ArraySpec(name=name, shape=shape, dtype="f4", dims=dims, chunks=(EDGE, EDGE, 3)[: len(shape)])
        for name, (shape, dims) in arrays.items()
    ]
    constants = {"wavelength": (("band",), np.array([400.0, 500.0, 600.0]), {"units": "nm"})}
    return Product.open(str(url), specs, settings={"a": 1}, attrs={"title": "t"}, constants=constants, panel=panel)


def fill(product, rows=None, panel=0, **facts):
    values = np.random.default_rng(0).integers(0, 999, SHAPE).astype("f4")
    for row in product.missing(panel) if rows is None else rows:
        (y0, y1), (x0, x1) = product.span(row), product.columns(panel)
        block = values[y0:y1, x0:x1]
        product.write(
            row, {"cube": block, "labels": block[:, :, 0]}, {"pixels": block[:, :, 0].size}, panel=panel, **facts
        )


def make(url):
    product = begin(url)
    fill(product)
    product.finish()
    return url


def objects(url):
    return sorted(p for name in ("cube", "labels") for p in (Path(url) / name / "c").rglob("*") if p.is_file())


# --- verify ---------------------------------------------------------------------------------------------------------


def test_a_product_that_nobody_touched_is_whole(tmp_path):
    found = verify(make(tmp_path / "p"))
    assert (found["damaged"], found["metadata"], found["unrecorded"]) == ([], [], [])
    assert (found["whole"], found["intact"], found["status"], found["rows_missing"]) == (True, True, "complete", 0)
    assert found["objects"] == OBJECTS + 4, "two arrays, one coordinate with its data"
    sizes = sum(p.stat().st_size for p in (tmp_path / "p").rglob("*") if p.is_file())
    assert found["bytes"] == sizes - (tmp_path / "p" / "zarr.json").stat().st_size
    assert json.dumps(found)


@given(data=st.data())
@settings(max_examples=25)
def test_verify_names_exactly_what_is_damaged_whatever_the_damage(tmp_path_factory, data):
    out = make(tmp_path_factory.mktemp("law") / "p")
    paths = objects(out)
    whole = [path.read_bytes() for path in paths]
    chosen = data.draw(st.dictionaries(st.sampled_from(range(OBJECTS)), st.sampled_from(sorted(DAMAGE)), max_size=6))
    for index, kind in chosen.items():
        DAMAGE[kind][0](paths[index], whole[(index + 1) % OBJECTS])
    expected = {paths[index].relative_to(out).as_posix(): DAMAGE[kind][1] for index, kind in chosen.items()}
    before = everything(out)
    found = verify(out)
    assert {entry["object"] for entry in found["damaged"]} == expected.keys()
    for entry in found["damaged"]:
        assert expected[entry["object"]] in entry["found"]
        assert entry["row"] == int(entry["object"].split("/")[2])
    assert found["whole"] is (not chosen)
    assert found["unrecorded"] == []
    assert everything(out) == before, "verify changes nothing"


def test_another_valid_object_of_the_same_size_is_not_the_one_that_was_written(tmp_path):
    out = make(tmp_path / "p")
    one, other = out / "cube/c/0/0/0", out / "cube/c/0/1/0"
    assert one.stat().st_size == other.stat().st_size
    shutil.copy(one, other)
    (entry,) = verify(out)["damaged"]
    assert entry == {"object": "cube/c/0/1/0", "row": 0, "panel": 0, "found": "other bytes"}


@pytest.mark.parametrize("victim", ["wavelength/c/0", "wavelength/zarr.json", "cube/zarr.json"])
@pytest.mark.parametrize("damage", ["deleted", "cut", "flipped"])
def test_damaged_coordinates_and_metadata_of_arrays_are_named(tmp_path, victim, damage):
    out = make(tmp_path / "p")
    DAMAGE[damage][0](out / victim, b"")
    found = verify(out)
    assert victim in [entry["object"] for entry in found["metadata"]]
    assert found["damaged"] == []
    assert found["whole"] is False


@pytest.mark.parametrize("spoil", [lambda p: os.truncate(p, 100), lambda p: p.unlink(), lambda p: p.write_text("[]")])
def test_a_root_that_was_cut_is_told_and_the_objects_are_compared_all_the_same(tmp_path, spoil):
    out = make(tmp_path / "p")
    flip(out / "cube/c/2/0/0")
    spoil(out / "zarr.json")
    found = verify(out)
    assert [entry["object"] for entry in found["metadata"]] == ["zarr.json"]
    assert [entry["object"] for entry in found["damaged"]] == ["cube/c/2/0/0"]
    assert status(out)["status"] in ("damaged", None)


def test_a_root_that_consolidates_other_arrays_than_there_are_is_damaged(tmp_path):
    out = make(tmp_path / "p")
    text = (out / "zarr.json").read_text()
    (out / "zarr.json").write_text(text.replace('"float32"', '"float64"', 1))
    assert [entry["found"] for entry in verify(out)["metadata"]] == ["other metadata of cube"]


def test_attributes_that_somebody_added_are_no_damage(tmp_path):
    out = make(tmp_path / "p")
    publish(str(out), {"comment": "looks fine"})
    assert verify(out)["whole"] is True


def test_files_that_no_record_speaks_of_are_listed(tmp_path):
    out = make(tmp_path / "p")
    (out / "cube/c/9").mkdir()
    (out / "cube/c/9/0").touch()
    (out / "thesis.txt").touch()
    found = verify(out)
    assert found["unrecorded"] == ["cube/c/9/0", "thesis.txt"]
    assert found["whole"] is True


def test_a_product_in_the_making_is_intact_and_not_whole(tmp_path):
    product = begin(tmp_path / "p")
    fill(product, [1])
    found = verify(tmp_path / "p")
    assert (found["intact"], found["whole"], found["rows_missing"]) == (True, False, 3)


def test_places_without_records_are_refused(tmp_path):
    with pytest.raises(UserError, match="found nothing; expected a product"):
        verify(tmp_path / "p")
    out = make(tmp_path / "p")
    Path(f"{out}.tilespec").rename(tmp_path / "aside")
    with pytest.raises(UserError, match="found a store without a ledger beside it"):
        verify(out)
    with pytest.raises(UserError, match="found a store without a ledger beside it"):
        status(out)
    simulate(tmp_path / "raw", rows=16, cols=16, bands=3, plants=1, raw=True)
    with pytest.raises(UserError, match="found a product without records of its objects"):
        verify(tmp_path / "raw")


@pytest.mark.parametrize("key", ["../outside", "cube/../../outside", "/etc/hostname"])
def test_a_record_that_leads_out_of_the_store_is_not_followed(tmp_path, key):
    out = make(tmp_path / "p")
    (tmp_path / "outside").write_bytes(b"secret")
    (record,) = Path(f"{out}.tilespec").rglob("row-000001.json")
    facts = json.loads(record.read_text())
    facts["objects"]["cube"][key] = [6, "0" * 32]
    record.write_text(json.dumps(facts))
    (entry,) = verify(out)["damaged"]
    assert (entry["object"], entry["found"]) == (key, "a place outside the store")


def test_a_folder_that_is_a_link_to_elsewhere_is_not_followed(tmp_path):
    out = make(tmp_path / "p")
    shutil.move(out / "cube/c/1", tmp_path / "elsewhere")
    (out / "cube/c/1").symlink_to(tmp_path / "elsewhere")
    assert {entry["found"] for entry in verify(out)["damaged"]} == {"a place outside the store"}
    product = begin(out)
    product.ledger.drop(1)
    before = everything(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="which lies outside"):
        fill(product, [1])
    assert everything(tmp_path / "elsewhere") == before


def test_memory_of_verify_does_not_grow_with_the_objects(tmp_path, monkeypatch):
    """A block of each of a few objects is held, however large they are."""
    out, most = make(tmp_path / "p"), []
    hashed = inventory.size_and_hash

    def watched(path):
        most.append(threading.active_count())
        return hashed(path)

    monkeypatch.setattr(inventory, "size_and_hash", watched)
    already = threading.active_count()
    verify(out)
    assert max(most) <= already + module.THREADS + 1


def test_progress_tells_bytes(tmp_path):
    told = []

    class Told:
        def say(self, text):
            pass

        def start(self, what, total, unit):
            told.append((what, total, unit))

        def advance(self, units, note=""):
            told.append(units)

        def finish(self):
            told.append("end")

    found = verify(make(tmp_path / "p"), progress=Told())
    assert told[0] == ("verify", found["bytes"], "B")
    assert sum(told[1:-1]) == found["bytes"]
    assert told[-1] == "end"


# --- status ---------------------------------------------------------------------------------------------------------


def test_status_tells_done_missing_flying_and_who_writes(tmp_path):
    with locked(str(tmp_path / "p")):
        product = begin(tmp_path / "p")
        product.ledger.command("simulate", out="p", seed=3)
        fill(product, [0, 2])
        product.ledger.begin(3)
        told = status(tmp_path / "p")
        assert told["lock"]["pid"] == os.getpid()
        assert told["lock"]["alive"] is True
    assert (told["status"], told["rows"], told["rows_done"], told["rows_missing"]) == ("writing", 4, 2, 2)
    assert told["panels"] == [{"columns": [0, 40], "done": 2, "missing": [1, 3], "in_flight": [3], "poison": []}]
    assert told["bytes"] == sum(p.stat().st_size for p in objects(tmp_path / "p"))
    assert told["settings"] == {"a": 1}
    assert told["command"] == {"verb": "simulate", "options": {"out": "p", "seed": 3}, "folder": str(Path.cwd())}
    assert told["fingerprint"] == product.ledger.key
    assert status(tmp_path / "p")["lock"] is None
    assert json.dumps(told)


def test_status_of_a_finished_product_and_of_one_with_poison(tmp_path):
    assert status(make(tmp_path / "p"))["status"] == "complete"
    product = begin(tmp_path / "q")
    fill(product, [0, 1, 3])
    fill(product, [2], poison=[7, 5])
    product.finish()
    told = status(tmp_path / "q")
    assert (told["status"], told["poison"], told["panels"][0]["poison"]) == ("incomplete", [5, 7], [2])


def test_status_tells_each_panel(tmp_path):
    product = begin(tmp_path / "p", panel=32)
    fill(product, panel=1)
    fill(product, [0, 1], panel=0)
    one, other = status(tmp_path / "p")["panels"]
    assert (one["columns"], one["missing"]) == ([0, 32], [2, 3])
    assert (other["columns"], other["missing"]) == ([32, 40], [])


def test_the_last_run_is_told(tmp_path):
    out = tmp_path / "p"
    simulate(out, rows=16, cols=16, bands=3, plants=1)
    told = status(out)
    assert (told["command"]["verb"], told["last_run"]) == ("simulate", None)
    Ledger.find(str(out)).note("simulate", {"seconds": 1})
    assert status(out)["last_run"] == {"seconds": 1}


def test_an_object_of_no_length_after_a_power_cut_is_missing_without_being_read(tmp_path):
    out = make(tmp_path / "p")
    (out / "labels/c/3/1").write_bytes(b"")
    assert status(out)["panels"][0]["missing"] == [3]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda out, folder: shutil.rmtree(out),
        lambda out, folder: os.truncate(out / "zarr.json", 50),
        lambda out, folder: (folder / "lock").write_text("{"),
        lambda out, folder: (folder / "layout.json").unlink(),
        lambda out, folder: (folder / "layout.json").write_text("{"),
        lambda out, folder: (folder / "command.json").write_text("[1]"),
        lambda out, folder: next(folder.rglob("row-000001.json")).write_text('{"objects": {"cu'),
        lambda out, folder: shutil.rmtree(next(folder.glob("*/"))),
        lambda out, folder: shutil.rmtree(out / "cube"),
    ],
)
def test_status_never_fails_on_what_is_half_written(tmp_path, spoil):
    out = make(tmp_path / "p")
    spoil(out, tmp_path / "p.tilespec")
    assert json.dumps(status(out))


def test_status_may_be_asked_while_a_run_writes(tmp_path):
    product, failed = begin(tmp_path / "p"), []
    over = threading.Event()

    def ask():
        while not over.is_set():
            try:
                status(tmp_path / "p")
                verify(tmp_path / "p")
            except Exception as error:  # noqa: BLE001 - whatever it is
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(4):
        for row in range(ROWS):
            product.ledger.drop(row)
            fill(product, [row])
    product.finish()
    over.set()
    asking.join()
    assert failed == []


def test_a_raw_folder_has_a_status_too(tmp_path):
    simulate(tmp_path / "raw", rows=16, cols=16, bands=3, plants=1, raw=True)
    assert status(tmp_path / "raw")["rows_done"] == 1
