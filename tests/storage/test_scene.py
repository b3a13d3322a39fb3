"""Scene: what a store says is what is read: scaled, NaN without data, the axis with its unit, labels with names."""

import json
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.storage import scene as reading
from tilespec.storage.group import open_group
from tilespec.storage.layout import CHUNK, class_attrs, compressors, constants, cube_spec, layer_spec
from tilespec.storage.product import Product, publish
from tilespec.storage.scene import Scene

AXIS = SpectralAxis(
    name="wavelength", unit="nm", values=(400.0, 550.0, 860.0), fwhm=(3.0, 3.5, 4.0), good=(True, True, False)
)
GEOREF = {"crs_wkt": 'LOCAL_CS["here"]', "GeoTransform": "1 2 0 3 0 -2"}


def make(url, cube, *, axis=AXIS, scale=1.0, nodata=None, layers=None, georef=None, attrs=None):
    """Write a scene and open it."""
    layers = layers or {}
    place = georef is not None
    spec = cube_spec(cube.shape, str(cube.dtype), spectral=axis, scale=scale, nodata=nodata, georeferenced=place)
    specs = [spec, *(layer_spec(n, a.shape, str(a.dtype), classes=c) for n, (a, c) in layers.items())]
    product = Product.open(
        str(url), specs, settings={"url": str(url)}, attrs=attrs or {}, constants=constants(axis, georef)
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"cube": cube[y0:y1], **{n: a[y0:y1] for n, (a, _) in layers.items()}})
    product.finish()
    return Scene.open(str(url))


def counts(shape=(140, 9, 3)):
    return np.random.default_rng(0).integers(1, 9000, shape).astype(np.uint16)


def test_a_scene_gives_back_what_it_was_given(tmp_path):
    cube = counts()
    labels = (cube[..., 0] % 2).astype(np.uint8)
    scene = make(
        tmp_path / "s",
        cube,
        scale=1e-4,
        nodata=7,
        layers={"labels": (labels, ("soil", "green leaf")), "plant": (labels.astype(np.uint16), ())},
        georef=GEOREF,
        attrs={"title": "t", "header": {"a": "b"}},
    )
    assert (scene.shape, scene.dtype, scene.chunks) == ((140, 9, 3), np.uint16, (CHUNK, 9, 3))
    assert (scene.spectral, scene.scale, scene.nodata) == (AXIS, 1e-4, 7)
    assert scene.georef == GEOREF
    assert sorted(scene.layers) == ["labels", "plant"]
    assert scene.attrs["header"] == {"a": "b"}
    assert scene.classes() == ("soil", "green leaf")
    assert scene.classes("plant") == ()
    assert_array_equal(scene.labels(), labels)
    assert_array_equal(scene.layer("plant", Roi(y0=3, y1=5, x0=1, x1=4)), labels[3:5, 1:4])
    assert scene.roi == Roi(y0=0, y1=140, x0=0, x1=9)


def test_reading_is_float32_scaled_and_nan_without_data(tmp_path):
    cube = counts()
    cube[5, 5, 1] = 7
    scene = make(tmp_path / "s", cube, scale=1e-4, nodata=7)
    roi = Roi(y0=120, y1=135, x0=2, x1=8)
    found = scene.read(roi)
    assert found.dtype == np.float32
    assert_allclose(found, np.where(cube == 7, np.nan, cube * 1e-4)[roi.slices], rtol=1e-6)
    assert np.isnan(scene.read(scene.roi)[5, 5, 1])


def test_pixels_that_are_not_valid_read_as_nan(tmp_path):
    valid = np.ones((140, 9), np.uint8)
    valid[3, 4] = 0
    scene = make(tmp_path / "s", counts(), layers={"valid": (valid, ())})
    assert_array_equal(np.isnan(scene.read(scene.roi)).any(axis=-1), valid == 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["float32", "uint16"]),
    chunk=st.integers(2, 9),
    pixels=st.integers(1, 40),
    corners=st.tuples(*[st.integers(0, 19)] * 4),
)
def test_lines_are_the_region_from_its_top(tmp_path, kind, chunk, pixels, corners):
    url, rows, cols = tmp_path / f"{kind}-{chunk}", sorted(corners[:2]), sorted(corners[2:])
    cube = np.random.default_rng(chunk).integers(0, 90, (20, 20, 3)).astype(kind)
    if not url.exists():
        group = zarr.create_group(url)
        codecs = compressors(kind)
        _ = group.create_array("cube", data=cube, chunks=(chunk, chunk, 3), compressors=codecs)
        _ = group.create_array("valid", data=cube[:, :, 0] % 2, chunks=(7, 7))
    scene, roi = Scene.open(str(url)), Roi(y0=rows[0], y1=rows[1] + 1, x0=cols[0], x1=cols[1] + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", pixels)
        found = [part.copy() for part in scene.lines(roi, Buffers())]
    assert_array_equal(np.concatenate(found), scene.read(roi))
    assert {len(part) for part in found[:-1]} <= {max(1, pixels // roi.shape[1])}


@pytest.mark.parametrize("where", [0, 40, 70, -1])
@pytest.mark.parametrize("rows", [(0, 2), (4, 6), (0, 8)])
def test_a_flipped_bit_anywhere_in_an_object_is_found_by_whoever_reads_a_part(tmp_path, where, rows):
    cube = np.random.default_rng(0).normal(size=(8, 4, 3)).astype(np.float32)
    scene = make(tmp_path / "s", cube, axis=None)
    path = tmp_path / "s" / "cube" / "c" / "0" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[where] ^= 8
    path.write_bytes(bytes(data))
    roi = Roi(y0=rows[0], y1=rows[1], x0=0, x1=4)
    with pytest.raises(UserError, match=r"damaged object: other bytes"):
        list(scene.lines(roi, Buffers()))
    path.write_bytes(bytes(data[:-9]))
    with pytest.raises(UserError, match=r"ends early|crc32c"):
        list(scene.lines(roi, Buffers()))


def test_lines_of_an_object_that_was_never_written_are_nodata(tmp_path):
    """In a foreign store, which may leave out what is nodata."""
    make(tmp_path / "s", np.ones((8, 4, 3), np.float32), axis=None)
    (tmp_path / "s" / "cube" / "c" / "0" / "0" / "0").unlink()
    shutil.rmtree(tmp_path / "s.tilespec")
    root = json.loads((tmp_path / "s" / "zarr.json").read_text())
    (tmp_path / "s" / "zarr.json").write_text(json.dumps(root | {"attributes": {}}))
    scene = Scene.open(str(tmp_path / "s"))
    assert np.isnan(np.concatenate(list(scene.lines(scene.roi, Buffers())))).all()


def test_floats_read_as_they_are(tmp_path):
    cube = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    cube[0, 0] = np.nan
    scene = make(tmp_path / "s", cube, axis=None)
    assert_array_equal(scene.read(scene.roi), cube)
    assert scene.spectral is None
    assert scene.nodata is None or np.isnan(scene.nodata)


@pytest.mark.parametrize(
    ("name", "unit"), [("wavelength", "nm"), ("wavenumber", "cm-1"), ("component", "1"), ("channel", "1")]
)
def test_every_kind_of_spectral_axis_survives(tmp_path, name, unit):
    axis = SpectralAxis(name=name, unit=unit, values=(3.0, 2.0, 1.0))
    scene = make(tmp_path / "s", counts(), axis=axis)
    assert scene.spectral == axis
    assert_array_equal(scene.to_xarray()[name], axis.values)


def test_plain_xarray_shows_scaled_values_coordinates_and_place_without_a_warning(tmp_path):
    scene = make(tmp_path / "s", counts(), scale=1e-4, nodata=7, georef=GEOREF)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(tmp_path / "s", decode_coords="all")
    assert_allclose(dataset.cube, scene.read(scene.roi), rtol=1e-6)
    assert set(dataset.coords) == {"wavelength", "fwhm", "good", "spatial_ref"}
    assert dataset.wavelength.attrs == {"units": "nm", "standard_name": "radiation_wavelength"}


def test_a_foreign_store_with_a_cube_is_a_scene(tmp_path):
    dataset = xr.Dataset(
        {"cube": (("y", "x", "band"), counts()), "labels": (("y", "x"), np.zeros((140, 9), np.uint8))},
        coords={"wavelength": ("band", [400.0, 500.0, 600.0], {"units": "nm"})},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(tmp_path / "s", zarr_format=3)
    scene = Scene.open(str(tmp_path / "s"))
    assert_array_equal(scene.read(scene.roi), counts())
    assert scene.spectral.values == (400.0, 500.0, 600.0)
    assert scene.layers == ("labels",)
    assert scene.digest == Scene.open(shutil.copytree(tmp_path / "s", tmp_path / "t").as_posix()).digest


def test_a_prediction_of_several_channels_opens_as_a_scene(tmp_path):
    group = zarr.create_group(tmp_path / "p")
    group.create_array("prediction", data=np.ones((4, 5, 2), np.float32))
    assert Scene.open(str(tmp_path / "p")).shape == (4, 5, 2)


def test_what_is_no_scene_is_refused_with_what_it_is(tmp_path):
    with pytest.raises(UserError, match="found nothing; expected a Zarr v3 store"):
        open_group(str(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="found something that is no Zarr v3 store"):
        open_group(str(tmp_path / "file"))
    zarr.create_group(tmp_path / "p").create_array("labels", data=np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match=r"found arrays \['labels'\]; expected an array cube"):
        Scene.open(str(tmp_path / "p"))


@pytest.mark.parametrize("text", ["", "{", '{"zarr_format": 3', "[1, 2]"])
def test_damaged_metadata_is_refused_with_a_message(tmp_path, text):
    make(tmp_path / "s", counts())
    (tmp_path / "s" / "zarr.json").write_text(text)
    with pytest.raises(UserError, match="expected "):
        Scene.open(str(tmp_path / "s"))


def test_a_scene_that_is_being_written_is_refused_unless_asked_for(tmp_path):
    make(tmp_path / "s", counts())
    publish(str(tmp_path / "s"), {"tilespec_status": "writing"})
    with pytest.raises(UserError, match=r"found status 'writing'.*it resumes"):
        Scene.open(str(tmp_path / "s"))
    assert Scene.open(str(tmp_path / "s"), allow_partial=True).shape == (140, 9, 3)


def test_a_layer_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    scene = make(tmp_path / "s", counts(), layers={"plant": (np.zeros((140, 9), np.uint8), ())})
    with pytest.raises(UserError, match=r"found layers \['plant'\]; expected a layer 'labels'.*--labels FILE"):
        scene.labels()


def test_class_maps_have_flags_and_no_fill_value():
    attrs = class_attrs(("soil", " green leaf ", ""))
    assert attrs["flag_meanings"] == "soil green_leaf class_2"
    assert attrs["flag_values"] == [0, 1, 2]
    assert attrs["nodata"] == 255
    assert "_FillValue" not in layer_spec("labels", (4, 5), classes=("a",)).attrs


def test_a_cube_smaller_than_a_chunk_has_chunks_of_its_size():
    assert cube_spec((5, 200, 7), "uint16", spectral=None).chunks == (5, CHUNK, 7)
