"""Cloud-Optimised GeoTIFF, flags of CF, and maps of many classes, as other programs read them."""

import numpy as np
import pytest
import rasterio
import spectral.io.envi as spy
import xarray as xr
from envi_files import write_envi
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pyproj import CRS
from stored_predictions import write_map

from tilespec.ingest.ingest import ingest
from tilespec.ingest.readers.georeference import grid_mapping
from tilespec.output.export.export import export
from tilespec.output.pictures import class_colours, class_picture
from tilespec.storage.scene import Scene

UTM = (380952.0, 30.0, 0.0, 5820372.0, 0.0, -30.0)
PLACE = grid_mapping(CRS(32733), UTM)
MANY = tuple(f"kind {i}" for i in range(300))


def blocks(count, shape=(700, 600), share=0.1):
    """Return a map of square patches of classes, with a share of pixels of no class."""
    rng = np.random.default_rng(1)
    plane = rng.integers(0, count, (-(-shape[0] // 16), -(-shape[1] // 16))).repeat(16, 0).repeat(16, 1)
    plane = plane[: shape[0], : shape[1]].astype(np.uint16 if count > 255 else np.uint8)
    plane[rng.random(shape) < share] = np.iinfo(plane.dtype).max
    return plane


@pytest.mark.parametrize("names", [("soil", "leaf"), MANY], ids=["uint8", "uint16"])
def test_a_class_map_is_a_cog_with_colours_and_copies_of_its_classes(tmp_path, names):
    plane = blocks(len(names))
    export(write_map(tmp_path / "m", plane, chunk=128, classes=names, georef=PLACE), tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert_array_equal(raster.read(1), plane)
        assert raster.nodata == np.iinfo(plane.dtype).max
        assert raster.crs.to_epsg() == 32733
        assert raster.transform.to_gdal() == UTM
        assert raster.overviews(1)
        colours = class_colours(len(names)).tolist()
        assert [raster.colormap(1)[i][:3] for i in range(len(names))] == [tuple(colour) for colour in colours]
    with rasterio.open(tmp_path / "m.tif", overview_level=0) as coarse:
        inner = coarse.read(1)[4::8, 4::8]
        patches = blocks(len(names), share=0.0)[::16, ::16][: len(inner), : inner.shape[1]]
        assert_array_equal(inner, np.where(inner == raster.nodata, inner, patches))
        assert (inner == raster.nodata).mean() < 0.01
        assert set(np.unique(coarse.read(1))) <= set(np.unique(plane))
    assert (tmp_path / "m.tif.aux.xml").read_text().count("<Category>") == len(names)
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    assert cogeo.cog_validate(tmp_path / "m.tif", strict=True) == (True, [], [])


def test_a_cube_is_a_cog_with_means_and_wavelengths(tmp_path):
    data = np.random.default_rng(0).integers(10, 900, (600, 530, 5)).astype("u2")
    data[:40, :40] = 7
    extra = (
        "wavelength units = nm\nwavelength = {450, 550, 650, 750, 860}\nfwhm = {5, 6, 7, 8, 9}\ndata ignore value = 7\n"
        "map info = {UTM, 1, 1, 380952, 5820372, 30, 30, 33, South, WGS-84, units=Meters}\n"
    )
    ingest(write_envi(tmp_path, data, extra=extra), tmp_path / "scene")
    export(tmp_path / "scene", tmp_path / "x.tif")
    with rasterio.open(tmp_path / "x.tif") as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert_array_equal(np.moveaxis(raster.read(), 0, -1), data)
        assert raster.tags(5, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.86", "FWHM_UM": "0.009"}
        assert raster.descriptions == ("450 nm", "550 nm", "650 nm", "750 nm", "860 nm")
    with rasterio.open(tmp_path / "x.tif", overview_level=0) as coarse:
        values = coarse.read()
    assert (values[:, :20, :20] == 7).all()
    means = data[100:500, 100:500].astype(float).reshape(200, 2, 200, 2, 5).mean(axis=(1, 3))
    assert np.abs(np.moveaxis(values, 0, -1)[50:250, 50:250] - means).max() <= 1
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    assert cogeo.cog_validate(tmp_path / "x.tif", strict=True) == (True, [], [])


def test_a_map_of_many_classes_goes_through_every_format(tmp_path):
    plane = blocks(len(MANY), (90, 70))
    store = write_map(tmp_path / "m", plane, classes=MANY, georef=PLACE)
    for end in ("hdr", "nc", "png", "npy"):
        export(store, tmp_path / f"m.{end}")
    opened = spy.open(str(tmp_path / "m.hdr"), str(tmp_path / "m.bil"))
    assert_array_equal(np.asarray(opened.open_memmap(interleave="bip"))[..., 0], plane)
    assert opened.metadata["class names"] == [*MANY]
    assert len(opened.metadata["class lookup"]) == 900
    assert opened.metadata["data ignore value"] == "65535"
    opened.fid.close()
    colours = np.vstack([class_colours(300), [(0, 0, 0)]])
    assert_array_equal(np.asarray(Image.open(tmp_path / "m.png")), colours[np.minimum(plane, 300)])
    assert_array_equal(class_picture(np.array([[254, 255, 256]])), colours[[[254, 300, 256]]])


def test_the_flags_of_a_netcdf_have_the_type_of_the_array_and_layers_their_grid(tmp_path):
    plane = blocks(3, (40, 30))
    export(write_map(tmp_path / "m", plane, classes=("a", "b c", "d"), georef=PLACE), tmp_path / "m.nc")
    with xr.open_dataset(tmp_path / "m.nc", mask_and_scale=False) as data:
        attrs = data.prediction.attrs
        assert_array_equal(data.prediction, plane)
        assert attrs["flag_values"].dtype == data.prediction.dtype == np.uint8
        assert attrs["flag_meanings"] == "a b_c d"
        assert attrs["_FillValue"] == 255
        assert data.prediction.attrs["grid_mapping"] == "spatial_ref"
        assert data.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
        assert (data.x.attrs["standard_name"], data.x.attrs["units"]) == ("projection_x_coordinate", "metre")
        assert data.attrs["Conventions"].startswith("CF-1")
        assert_allclose(data.x, UTM[0] + 30 * (np.arange(30) + 0.5))


def test_labels_and_masks_beside_a_cube_lie_on_its_grid(tmp_path, make_scene):
    scene = Scene.open(make_scene(tmp_path / "s", 20, 30, 4))
    export(scene.url, tmp_path / "s.nc")
    with xr.open_dataset(tmp_path / "s.nc") as data:
        assert_allclose(data.cube, scene.read(scene.roi), rtol=1e-6)
        assert data.wavelength.attrs["units"] == "nm"
        assert data.wavelength.attrs["standard_name"] == "radiation_wavelength"


def test_spectral_python_finds_every_field_of_an_envi_header(tmp_path):
    extra = (
        "wavelength units = nm\nwavelength = {450.5, 550, 860}\nfwhm = {5, 6, 8}\nbbl = {1, 0, 1}\n"
        "reflectance scale factor = 10000\ndata ignore value = 7\nsensor type = HySpex VNIR\nmy key = {a, b}\n"
        "map info = {UTM, 1, 1, 380952, 5820372, 30, 30, 33, South, WGS-84, units=Meters}\n"
    )
    data = np.random.default_rng(0).integers(10, 900, (12, 10, 3)).astype("u2")
    ingest(write_envi(tmp_path, data, extra=extra), tmp_path / "scene")
    export(tmp_path / "scene", tmp_path / "x.hdr")
    opened = spy.open(str(tmp_path / "x.hdr"), str(tmp_path / "x.bil"))
    assert_array_equal(np.asarray(opened.open_memmap(interleave="bip")), data)
    assert_allclose(opened.read_pixel(3, 4), data[3, 4] / 1e4, rtol=1e-6)
    opened.fid.close()
    assert (opened.bands.centers, opened.bands.bandwidths) == ([450.5, 550.0, 860.0], [5.0, 6.0, 8.0])
    fields = opened.metadata
    assert (fields["wavelength units"], fields["bbl"]) == ("Nanometers", [1, 0, 1])
    assert (fields["data ignore value"], fields["reflectance scale factor"]) == ("7", "10000")
    assert (fields["sensor type"], fields["my key"]) == ("HySpex VNIR", ["a", "b"])
    assert fields["map info"][:1] + fields["map info"][7:10] == ["UTM", "33", "South", "WGS-84"]
    assert [float(number) for number in fields["map info"][1:7]] == [1, 1, 380952, 5820372, 30, 30]
    assert "UTM_Zone_33S" in ",".join(fields["coordinate system string"])
