"""Export: what went in comes out, read by GDAL, Spectral Python, xarray and Pillow, and by ingest again."""

import warnings

import numpy as np
import pytest
import rasterio
import spectral.io.envi as spy
import xarray as xr
import zarr
from envi_files import write_envi
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.ingest.ingest import ingest
from tilespec.output.export.export import WRITERS, export
from tilespec.output.pictures import NO_DATA, class_colours, class_picture, false_colour, picture_bands, thumbnail
from tilespec.storage.layout import ArraySpec, layer_spec
from tilespec.storage.product import Product, publish
from tilespec.storage.scene import Scene

MAPS = {
    "utm": "map info = {UTM, 1, 1, 380952, 5820372, 30, 30, 33, South, WGS-84, units=Meters}\n",
    "degrees": "map info = {Geographic Lat/Lon, 1, 1, 13.1, 52.5, 0.001, 0.002, WGS-84, units=Degrees}\n",
    "rotated": "map info = {UTM, 1, 1, 380952, 5820372, 3, 3, 33, North, WGS-84, rotation=-25.5}\n",
    "nowhere": "",
}
SPECTRUM = (
    "wavelength units = nm\nwavelength = {450.5, 550, 650, 860}\nfwhm = {5, 6, 7, 8}\nbbl = {1, 1, 0, 1}\n"
    "sensor type = HySpex VNIR\nmy key = {a, b}\n"
)


PACKED = "reflectance scale factor = 10000\ndata ignore value = 7\n"


def make(folder, dtype="uint16", extra="", shape=(140, 70, 4), labels=True):
    """Ingest a cube with labels and return the scene's path."""
    data = np.random.default_rng(0).integers(1, 9000, shape).astype(dtype)
    options = {}
    if labels:
        np.save(folder / "l.npy", np.random.default_rng(1).integers(0, 3, shape[:2]).astype(np.uint8))
        options = {"labels": folder / "l.npy"}
    ingest(write_envi(folder, data, extra=SPECTRUM + extra), folder / "scene", **options)
    return folder / "scene"


def test_every_writer_of_the_table_is_there():
    from tilespec.core.registry import load

    assert all(callable(load(WRITERS, name, "format")) for name in WRITERS)


@pytest.mark.parametrize("place", MAPS)
@pytest.mark.parametrize("suffix", [".tif", ".hdr"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_scene_exported_and_ingested_again_is_the_same_scene(tmp_path, suffix, place, dtype):
    extra = (
        MAPS[place] + "reflectance scale factor = 10000\n" + ("data ignore value = 7\n" if dtype == "uint16" else "")
    )
    first = Scene.open(str(make(tmp_path, dtype, extra)))
    out = tmp_path / f"out{suffix}"
    result = export(first.url, out)
    ingest(out, tmp_path / "again")
    again = Scene.open(str(tmp_path / "again"))
    assert_array_equal(again.array[...], first.array[...])
    assert (again.spectral, again.nodata, again.dtype) == (first.spectral, first.nodata, first.dtype)
    assert abs(again.scale - first.scale) < 1e-18
    assert again.attrs["header"]["sensor type"] == "HySpex VNIR"
    assert again.attrs["header"]["my key"] == "{a, b}"
    assert (again.georef is None) == (first.georef is None)
    if first.georef is not None:
        transforms = [[float(x) for x in s.georef["GeoTransform"].split()] for s in (first, again)]
        assert_allclose(transforms[1], transforms[0], atol=1e-9)
        codes = {rasterio.crs.CRS.from_wkt(s.georef["crs_wkt"]).to_epsg() for s in (first, again)}
        assert len(codes) == 1
    assert str(out) in result["files"]


def test_gdal_reads_the_geotiff_with_names_scale_and_wavelengths(tmp_path):
    scene = make(tmp_path, extra=MAPS["utm"] + "reflectance scale factor = 10000\ndata ignore value = 7\n")
    export(scene, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as raster:
        assert_array_equal(np.moveaxis(raster.read(), 0, -1), Scene.open(str(scene)).array[...])
        assert raster.descriptions[0] == "450.5 nm"
        assert raster.tags(4, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"] == "0.86"
        assert raster.tags(3)["bbl"] == "0"
        assert (raster.nodata, raster.scales[0], raster.crs.to_epsg()) == (7, 1e-4, 32733)
        assert raster.profile["tiled"]
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_spectral_python_and_gdal_read_the_envi_file(tmp_path):
    scene = make(tmp_path)
    export(scene, tmp_path / "out.hdr")
    expected = Scene.open(str(scene)).array[...]
    opened = spy.open(str(tmp_path / "out.hdr"), str(tmp_path / "out.bil"))
    assert_array_equal(np.asarray(opened.open_memmap(interleave="bip")), expected)
    assert opened.bands.centers == [450.5, 550.0, 650.0, 860.0]
    assert opened.metadata["my key"] == ["a", "b"]
    opened.fid.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "out.bil") as raster:
            assert_array_equal(np.moveaxis(raster.read(), 0, -1), expected)


def test_labels_go_out_and_come_back_with_names_and_unlabelled(tmp_path):
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    np.save(tmp_path / "x.npy", np.ones((2, 3, 2), "u2"))
    text = "class names = {none, soil, leaf area}\n"
    header = write_envi(tmp_path, labels[..., None], name="l", extra=text)
    ingest(tmp_path / "x.npy", tmp_path / "scene", labels=header, ignore_label=0)
    for name in ("l.tif", "l.hdr"):
        folder = tmp_path / name.replace(".", "_")
        export(tmp_path / "scene", folder / name, layer="labels")
        ingest(tmp_path / "x.npy", folder / "scene", labels=folder / name)
        again = Scene.open(str(folder / "scene"))
        assert_array_equal(again.labels(), [[255, 0, 1], [1, 0, 255]])
        assert again.classes() == ("soil", "leaf area")


def prediction(folder, *, channels=None):
    """Write a prediction store as `predict` writes it, without a spectral axis."""
    shape = (140, 70) if channels is None else (140, 70, channels)
    if channels is None:
        spec = layer_spec("prediction", shape, classes=("background", "plant"))
        values = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
        values[0, 0] = 255
    else:
        spec = ArraySpec(
            name="prediction", shape=shape, dtype="float32", dims=("y", "x", "channel"), chunks=(64, 64, channels)
        )
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    product = Product.open(str(folder / "p"), [spec], settings={"channels": channels}, attrs={}, constants={})
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"prediction": values[y0:y1]})
    product.finish()
    return folder / "p", values


def test_a_class_map_is_exported_with_colours_and_nodata(tmp_path):
    url, values = prediction(tmp_path)
    export(url, tmp_path / "p.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "p.tif") as raster:
            assert_array_equal(raster.read(1), values)
            assert raster.nodata == 255
            assert raster.colormap(1)[1][:3] == tuple(class_colours(2)[1].tolist())
    export(url, tmp_path / "p.png")
    assert_array_equal(np.asarray(Image.open(tmp_path / "p.png")), class_picture(values))
    export(url, tmp_path / "small.png", max_side=50)
    assert_array_equal(np.asarray(Image.open(tmp_path / "small.png")), class_picture(values[::3, ::3]))


def test_a_prediction_of_several_channels_is_exported_like_a_cube(tmp_path):
    url, values = prediction(tmp_path, channels=2)
    for name in ("p.tif", "p.hdr", "p.nc"):
        export(url, tmp_path / name)
    ingest(tmp_path / "p.hdr", tmp_path / "again")
    assert_array_equal(Scene.open(str(tmp_path / "again")).array[...], values)
    export(url, tmp_path / "p.png", bands=(0, 1, 1))
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (70, 140)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_xarray_reads_the_netcdf_with_coordinates_and_place(tmp_path, dtype):
    scene = Scene.open(str(make(tmp_path, dtype, MAPS["utm"] + PACKED)))
    export(scene.url, tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as dataset:
        assert_allclose(dataset.cube, scene.read(scene.roi), rtol=1e-6)
        assert dataset.cube.dims == ("y", "x", "band")
        assert_array_equal(dataset.wavelength, scene.spectral.values)
        assert dataset.spatial_ref.attrs["crs_wkt"] == scene.georef["crs_wkt"]
    ingest(tmp_path / "out.nc", tmp_path / "again", variable="cube")
    again = Scene.open(str(tmp_path / "again"))
    assert_array_equal(again.array[...], scene.array[...])
    assert again.spectral.values == scene.spectral.values


def test_a_picture_of_a_scene_shows_infrared_as_red(tmp_path):
    export(make(tmp_path), tmp_path / "out.png")
    picture = np.asarray(Image.open(tmp_path / "out.png"))
    values = Scene.open(str(tmp_path / "scene")).array[...]
    assert picture.shape == (140, 70, 3)
    assert np.corrcoef(picture[..., 0].ravel(), values[..., 3].ravel())[0, 1] > 0.99
    assert np.corrcoef(picture[..., 2].ravel(), values[..., 1].ravel())[0, 1] > 0.99


def test_a_thumbnail_is_the_mean_of_squares_whatever_the_objects(tmp_path):
    scene = Scene.open(str(make(tmp_path, "float32", shape=(140, 260, 4))))
    roi = Roi(y0=3, y1=139, x0=5, x1=259)
    found = thumbnail(scene, roi, (3, 1, 0), 64)
    values = scene.read(roi)[..., [3, 1, 0]]
    assert found.shape == (34, 64, 3)
    assert_allclose(found[2, 33], values[8:12, 132:136].mean(axis=(0, 1)), rtol=1e-5)
    assert_allclose(found[-1, -1], values[132:, 252:].mean(axis=(0, 1)), rtol=1e-5)


def test_pixels_without_data_are_black_in_a_picture(tmp_path):
    data = np.random.default_rng(0).uniform(0.2, 1, (6, 5, 3)).astype(np.float32)
    data[2, 3, 0] = np.nan
    ingest(write_envi(tmp_path, data), tmp_path / "scene")
    picture = false_colour(Scene.open(str(tmp_path / "scene")))
    assert tuple(picture[2, 3]) == NO_DATA
    assert (picture.sum(axis=-1) == 0).sum() <= 2


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.arange(400, 1001, 10.0), (46, 25, 15)),
        (np.arange(400, 701, 10.0), (25, 15, 5)),
        (np.arange(900, 1701, 10.0), (67, 40, 13)),
    ],
)
def test_the_bands_of_a_picture_follow_the_wavelengths(values, wanted):
    axis = SpectralAxis(name="wavelength", unit="nm", values=tuple(values.tolist()))
    assert picture_bands(axis, len(values)) == wanted


def test_colours_of_classes_do_not_depend_on_how_many_there_are():
    assert_array_equal(class_colours(3), class_colours(200)[:3])
    assert len({tuple(colour) for colour in class_colours(60).tolist()}) == 60
    assert class_colours(0).shape == (0, 3)
    assert tuple(class_picture(np.array([[255]], np.uint8))[0, 0]) == NO_DATA


def test_wrong_requests_are_refused_and_leave_nothing(tmp_path):
    scene = make(tmp_path)
    with pytest.raises(UserError, match=r"found the end '\.jpg'; expected \.tif, "):
        export(scene, tmp_path / "out.jpg")
    with pytest.raises(UserError, match=r"found arrays .* expected nothing\(y, x\)"):
        export(scene, tmp_path / "out.tif", layer="nothing")
    with pytest.raises(UserError, match="--bands: found"):
        export(scene, tmp_path / "out.png", bands=(0, 1, 9))
    (tmp_path / "out.bil").touch()
    with pytest.raises(UserError, match="a file that is there already"):
        export(scene, tmp_path / "out.hdr")
    publish(str(scene), {"tilespec_status": "writing"})
    with pytest.raises(UserError, match="status 'writing'"):
        export(scene, tmp_path / "out.tif")
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out.bil"]


def test_a_type_that_a_format_cannot_hold_is_refused(tmp_path):
    scene = make(tmp_path)
    group = zarr.open_group(scene, mode="r+")
    group.create_array("odd", data=np.zeros((140, 70), np.int8))
    publish(str(scene), {})
    with pytest.raises(UserError, match="odd: found data type int8"):
        export(scene, tmp_path / "out.hdr", layer="odd")


def test_a_dry_run_writes_nothing(tmp_path):
    plan = export(make(tmp_path), tmp_path / "out.tif", dry_run=True)
    assert plan["shape"] == [140, 70, 4]
    assert not (tmp_path / "out.tif").exists()


def test_a_failed_export_leaves_no_file_of_the_name(tmp_path, monkeypatch):
    scene = make(tmp_path)
    monkeypatch.setattr(
        "tilespec.output.export.export_source.ExportSource.blocks", lambda self: (_ for _ in ()).throw(OSError("disk"))
    )
    for name in ("out.tif", "out.hdr", "out.nc"):
        with pytest.raises(OSError, match="disk"):
            export(scene, tmp_path / name)
        assert not (tmp_path / name).exists()
    assert not (tmp_path / "out.bil").exists()


def test_a_picture_shows_bands_by_wavelength_or_by_number(tmp_path, make_scene):
    scene = make_scene(tmp_path / "s", 20, 30, 13)  # 400 to 1000 nm in steps of 50
    pictures = {}
    for name, bands in {"nm": "660,540,445", "#": "#5,#3,#1", "numbers": (5, 3, 1)}.items():
        export(scene, str(tmp_path / f"{name}.png"), bands=bands)
        pictures[name] = np.asarray(Image.open(tmp_path / f"{name}.png"))
    assert (pictures["nm"] == pictures["#"]).all()
    assert (pictures["nm"] == pictures["numbers"]).all()
    for bad in ("660,540", "660,540,2500", "#1,#2,#13", "a,b,c"):
        with pytest.raises(UserError, match=r"--bands.*from 400 to 1000 nm"):
            export(scene, str(tmp_path / "bad.png"), bands=bad)
    assert "all bands" in str(export(scene, str(tmp_path / "all.tif"), bands="660,540,445")["notes"])
