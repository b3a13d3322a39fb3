"""Inventory: a hole, or an object of another place, is never read as data, whichever way a store is read."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from damage import DAMAGE
from numpy.testing import assert_array_equal

from tilespec import api
from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.storage.group import open_group
from tilespec.storage.inventory import digests
from tilespec.storage.layer import Layer
from tilespec.storage.layout import constants, cube_spec, layer_spec
from tilespec.storage.product import Product, publish
from tilespec.storage.scene import Scene

SHAPE = (200, 150, 3)
AXIS = SpectralAxis(name="wavelength", unit="nm", values=(400.0, 550.0, 860.0))
RNG = np.random.default_rng(0)
CUBES = {
    "float32": RNG.random(SHAPE).astype(np.float32),
    "uint16": RNG.integers(0, 9000, SHAPE).astype(np.uint16),
}
LABELS = RNG.integers(0, 3, SHAPE[:2]).astype(np.uint8)
OBJECT = {"cube": "cube/c/1/0/0", "labels": "labels/c/1/0"}
OTHER = {"cube": "cube/c/0/1/0", "labels": "labels/c/0/1"}
WHOLE = Roi(y0=0, y1=200, x0=0, x1=150)


def write(out, kind="float32", labels=LABELS):
    """Write a scene of four objects for each array."""
    cube = CUBES[kind]
    classes = layer_spec("labels", SHAPE[:2], classes=("soil", "leaf", "stone"))
    specs = [cube_spec(SHAPE, kind, spectral=AXIS, nodata=None), classes]
    product = Product.open(str(out), specs, settings={"a": kind}, attrs={"title": "t"}, constants=constants(AXIS))
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"cube": cube[y0:y1], "labels": labels[y0:y1]})
    product.finish()
    return out


@pytest.fixture(scope="module", params=["float32", "uint16"])
def stored(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("stored") / "scene", request.param)


@pytest.fixture
def scene(stored, tmp_path):
    """A scene with its records."""
    shutil.copytree(f"{stored}.tilespec", tmp_path / "scene.tilespec")
    return shutil.copytree(stored, tmp_path / "scene")


@pytest.fixture
def bare(stored, tmp_path):
    """A copy of a scene without its records."""
    return shutil.copytree(stored, tmp_path / "bare")


def exchange(path, other):
    held = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(held)


def replace_by(make):
    def damage(path, _other):
        path.unlink()
        make(path)

    return damage


FAULTS = {name: lambda path, other, of=of: of(path, other.read_bytes()) for name, (of, _) in DAMAGE.items()} | {
    "exchanged": exchange,
    "link to another object": lambda path, other: (path.unlink(), path.symlink_to(other)),
    "folder": replace_by(Path.mkdir),
    "pipe": replace_by(os.mkfifo),
}
WAYS = {
    "read": lambda url, name: Layer.of(url, open_group(url)[name]).read(WHOLE),
    "read a part": lambda url, name: Layer.of(url, open_group(url)[name]).read(Roi(y0=150, y1=160, x0=3, x1=9)),
    "lines": lambda url, name: [
        len(lines)
        for lines in Layer.of(url, open_group(url)[name]).lines(Roi(y0=130, y1=190, x0=0, x1=100), 7, Buffers())
    ],
    "zarr": lambda url, name: open_group(url)[name][150:160, :9],
    "export": lambda url, name: api.export(url, f"{url}.nc", layer=None if name == "cube" else name),
}


@pytest.mark.parametrize("name", list(OBJECT))
@pytest.mark.parametrize("fault", list(FAULTS))
def test_no_way_of_reading_takes_a_damaged_or_strange_object_for_data(scene, fault, name):
    FAULTS[fault](scene / OBJECT[name], scene / OTHER[name])
    for way in WAYS.values():
        with pytest.raises(UserError, match=f"scene/({OBJECT[name]}|{OTHER[name]})"):
            way(str(scene), name)


@pytest.mark.parametrize("fault", ["deleted", "cut", "emptied", "flipped", "folder", "pipe"])
def test_a_copy_without_records_shows_what_is_missing_or_does_not_hold(bare, fault):
    for name, key in OBJECT.items():
        FAULTS[fault](bare / key, bare / OTHER[name])
        for way in ("read", "lines", "export"):
            with pytest.raises(UserError, match=r"bare.*(c/1/0|damaged)"):
                WAYS[way](str(bare), name)


@pytest.mark.parametrize("key", ["cube/zarr.json", "labels/zarr.json", "wavelength/c/0", "wavelength/zarr.json"])
@pytest.mark.parametrize("fault", ["deleted", "cut", "flipped", "folder", "pipe"])
def test_damaged_metadata_and_coordinates_are_named(scene, key, fault):
    FAULTS[fault](scene / key, scene / OTHER["cube"])
    with pytest.raises(UserError, match=key):
        Scene.open(str(scene))


@pytest.mark.parametrize(
    "change",
    [{"origin": [10, 0]}, {"title": "another"}, {"tilespec_digest": "0" * 32}, {"tilespec_status": "incomplete"}],
)
def test_root_attributes_that_were_changed_are_found_and_restored(scene, change):
    before = json.loads((scene / "zarr.json").read_text())
    root = {**before, "attributes": before["attributes"] | change}
    (scene / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(UserError, match=rf"zarr\.json: found {next(iter(change))} was"):
        Scene.open(str(scene))
    assert api.verify(scene)["whole"] is False
    assert api.repair(scene)["whole"] is True
    assert json.loads((scene / "zarr.json").read_text()) == before


def test_what_tilespec_publishes_is_no_damage(scene):
    publish(str(scene), {"comment": "looks fine"})
    assert Scene.open(str(scene)).attrs["comment"] == "looks fine"
    assert api.verify(scene)["whole"] is True


def test_a_foreign_store_may_leave_out_objects_of_its_fill_value(tmp_path):
    cube = np.full((40, 30, 2), np.nan, np.float32)
    cube[:20] = 1
    data = xr.Dataset({"cube": (("y", "x", "band"), cube)})
    data.to_zarr(tmp_path / "s", zarr_format=3, consolidated=False, encoding={"cube": {"chunks": (10, 30, 2)}})
    assert len(list((tmp_path / "s/cube/c").glob("*"))) == 2, "xarray leaves them out"
    assert_array_equal(
        Layer.find(str(tmp_path / "s"), "cube", dimensions=(3,)).read(Roi(y0=0, y1=40, x0=0, x1=30)), cube
    )


def test_a_scene_that_xarray_wrote_elsewhere_may_leave_them_out_too(bare, tmp_path):
    """Its root attributes travelled along and say complete; its arrays are laid out by xarray."""
    data = xr.open_zarr(bare, consolidated=False).load()
    data["cube"] = (
        data["cube"].astype(np.float32).where(data["y"] < 100 if "y" in data else np.arange(200)[:, None, None] < 100)
    )
    data["cube"].encoding = {"chunks": (50, 150, 3)}
    data.to_zarr(tmp_path / "edited", zarr_format=3, consolidated=False)
    read = Layer.find(str(tmp_path / "edited"), "cube", dimensions=(3,)).read(WHOLE)
    assert np.isnan(read[100:]).all()
    assert np.isfinite(read[:100]).all()


# --- what a digest says --------------------------------------------------------------------------------------------


def test_a_copy_to_the_byte_is_the_same_scene(stored, bare):
    assert digests(str(bare)) == digests(str(stored))


@pytest.mark.parametrize("edit", ["values", "crop", "scale"])
def test_another_content_is_another_scene_whatever_the_attributes_say(stored, bare, tmp_path, edit):
    data = xr.open_zarr(bare, consolidated=False, mask_and_scale=False).load()
    if edit == "values":
        data["cube"] = data["cube"] // 2 if data["cube"].dtype.kind == "u" else data["cube"] / 2
    if edit == "crop":
        data = data.isel(y=slice(50, None))
        del data["cube"].encoding["chunks"], data["labels"].encoding["chunks"]
    if edit == "scale":
        data["cube"].attrs["scale_factor"] = 0.5
    data.to_zarr(tmp_path / "other", zarr_format=3, consolidated=False)
    assert data.attrs["tilespec_digest"] == digests(str(stored)).store, "they travel along"
    other, own = digests(str(tmp_path / "other")), digests(str(stored))
    assert other.cube != own.cube
    assert other.store != own.store


def test_corrected_labels_are_refused_until_they_are_accepted_and_another_store_then(scene):
    before, corrected = digests(str(scene)), LABELS.copy()
    corrected[5:9] = 2
    zarr.open_group(scene, mode="r+")["labels"][...] = corrected
    with pytest.raises(UserError, match=r"labels/c/0/0: found a damaged object.*repair --accept"):
        Scene.open(str(scene)).labels()
    assert api.repair(scene, accept=True)["whole"] is True
    assert_array_equal(Scene.open(str(scene)).labels(), corrected)
    after = digests(str(scene))
    assert (after.cube, after.store == before.store) == (before.cube, False)


@pytest.mark.parametrize("fault", ["deleted", "flipped", "cut"])
def test_a_damaged_object_is_not_accepted(scene, fault):
    FAULTS[fault](scene / OBJECT["cube"], scene / OTHER["cube"])
    with pytest.raises(UserError, match="missing or damaged"):
        api.repair(scene, accept=True)
    assert api.verify(scene)["whole"] is False


# --- a scene that changes while it is read -------------------------------------------------------------------------


@pytest.mark.parametrize("records", [True, False])
def test_a_scene_that_is_replaced_while_it_is_read_is_refused(scene, tmp_path, records):
    if not records:
        shutil.rmtree(f"{scene}.tilespec")
    opened = Scene.open(str(scene))
    opened.read(Roi(y0=0, y1=9, x0=0, x1=9))
    shutil.rmtree(scene)
    shutil.rmtree(f"{scene}.tilespec", ignore_errors=True)
    time.sleep(0.01)
    write(scene, str(opened.dtype), labels=LABELS[::-1])
    with pytest.raises(UserError, match="written again while it was read"):
        opened.read(Roi(y0=150, y1=160, x0=0, x1=9))
    with pytest.raises(UserError, match="written again while it was read"):
        opened.check_unchanged()
    Scene.open(str(scene)).read(WHOLE)


def test_a_scene_that_vanishes_while_it_is_read_is_refused(scene, tmp_path):
    opened = Scene.open(str(scene))
    shutil.move(scene, tmp_path / "aside")
    with pytest.raises(UserError, match="moved, removed or written again"):
        opened.read(Roi(y0=0, y1=9, x0=0, x1=9))


# --- a ledger that was damaged -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    ['{"objects": [1]}', '{"objects": {"cube": [1]}}', '{"objects": {"cube": {"cube/c/0/0/0": 3}}}', '{"poison": 3}'],
)
def test_records_of_other_forms_count_as_absent(scene, record):
    (path,) = Path(f"{scene}.tilespec").rglob("row-000001.json")
    path.write_text(record)
    assert api.status(scene)["rows_missing"] == 1
    assert api.verify(scene)["whole"] is False


@pytest.mark.parametrize("change", [{"height": 10**12}, {"edge": 0}, {"width": "many"}, {"metadata": [1]}])
def test_a_layout_of_absurd_values_is_damaged_and_nothing_waits_for_it(scene, change):
    path = Path(f"{scene}.tilespec/layout.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert api.status(scene)["rows"] is None
    assert "layout.json" in [entry["object"] for entry in api.verify(scene)["metadata"]]


@pytest.mark.parametrize("name", ["layout.json", "settings.json"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{"), lambda path: path.write_text("[]")])
def test_what_follows_from_the_settings_is_written_again_by_the_command_and_by_repair(tmp_path, name, spoil):
    out = tmp_path / "scene"
    api.simulate(out, rows=40, cols=40, bands=3, plants=1)
    before = (out / "zarr.json").read_bytes()
    for mend in (lambda: api.simulate(out, rows=40, cols=40, bands=3, plants=1), lambda: api.repair(out)):
        spoil(tmp_path / "scene.tilespec" / name)
        if name == "settings.json" and spoil is Path.unlink:
            return  # without settings it is not known to be ours
        mend()
        assert api.verify(out)["whole"] is True
        assert (out / "zarr.json").read_bytes() == before
