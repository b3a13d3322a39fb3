"""Ingest: any format to the same scene, resumable, in bounded memory; labels; what is refused and leaves nothing."""

import warnings
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
import scipy.io
import xarray as xr
import zarr
from envi_files import small_cube, write_envi
from ingest_files import UTM, WAVELENGTHS, cube, stored, to_geotiff, to_netcdf, to_npy
from locations import DATA, real
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import info, ingest
from tilespec.ingest.readers.reader_table import READERS
from tilespec.ingest.readers.source import Facts, Source
from tilespec.storage.scene import Scene

matmul = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own


@dataclass(frozen=True)
class FakeSource:
    """The least that ingest needs: a plug-in of one screen."""

    facts: Facts

    def read_rows(self, y0, y1):
        y, x, b = np.meshgrid(np.arange(y0, y1), *map(np.arange, self.facts.shape[1:]), indexing="ij")
        return (100 * y + 10 * x + b).astype(self.facts.dtype)


def read_fake(path, options):
    """A reader: a callable of a path and options."""
    source: Source = FakeSource(Facts(shape=(300, 5, 3), dtype=np.dtype("u2"), files=(path,), read_bytes=600))
    return source


def test_a_reader_is_a_callable_that_anyone_may_name(tmp_path):
    (tmp_path / "x.fake").touch()
    ingest(tmp_path / "x.fake", tmp_path / "scene", reader=f"{__name__}:read_fake")
    found = stored(tmp_path / "scene")
    assert isinstance(read_fake(tmp_path, None), Source)
    assert_array_equal(found, read_fake(tmp_path, None).read_rows(0, 300))


def test_every_reader_of_the_table_is_there():
    from tilespec.core.registry import load

    assert all(callable(load(READERS, name, "reader")) for name in READERS)


def to_envi(folder, data):
    text = "wavelength units = nm\nwavelength = {400, 550, 700, 860}\n"
    return write_envi(folder, data, "bsq", extra=text), {}


def to_npy_fortran(folder, data):
    np.save(folder / "x.npy", np.asfortranarray(data))
    (folder / "w.csv").write_text("400, 550, 700, 860")
    return folder / "x.npy", {"wavelengths": folder / "w.csv"}


def to_npy_turned(folder, data):
    np.save(folder / "x.npy", data.transpose(2, 0, 1))
    (folder / "w.csv").write_text("band;nm\n# all\n400;a\n550;b\n700;c\n860;d\n")
    return folder / "x.npy", {"axes": "band, y, x", "wavelengths": folder / "w.csv"}


def to_npz(folder, data):
    np.savez_compressed(folder / "x.npz", a=data, wavelength_nm=WAVELENGTHS, fwhm_nm=np.ones(4))
    return folder / "x.npz", {}


def to_npz_named(folder, data):
    np.savez(folder / "x.npz", a=data, b=data + 1, centres=WAVELENGTHS)
    return folder / "x.npz", {"variable": "a", "wavelengths": "centres"}


def to_matlab5(folder, data):
    scipy.io.savemat(folder / "x.mat", {"cube_": data, "wavelengths": np.array(WAVELENGTHS)[:, None]})
    return folder / "x.mat", {}


def to_matlab73(folder, data):
    with h5py.File(folder / "x.mat", "w", userblock_size=512) as file:
        file["hsi"] = data.transpose(2, 1, 0)
        file["wavelength"] = np.array([WAVELENGTHS])
        file["#refs#/a"] = np.zeros((3, 3, 3))
    return folder / "x.mat", {}


def to_matlab73_turned(folder, data):
    with h5py.File(folder / "x.mat", "w", userblock_size=512) as file:
        file["hsi"] = data.transpose(1, 0, 2)
        file["wavelength"] = np.array([WAVELENGTHS])
    return folder / "x.mat", {"axes": "band,y,x"}


def to_zarr(folder, data):
    dataset = xr.Dataset(
        {"refl": (("band", "y", "x"), data.transpose(2, 0, 1))},
        coords={"wavelength": ("band", WAVELENGTHS, {"units": "nm"})},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(folder / "x.zarr", zarr_format=3)
    return folder / "x.zarr", {}


def to_zarr2(folder, data):
    root = zarr.create_group(folder / "x", zarr_format=2)
    root.create_array("refl", data=data, chunks=(2, 3, 4)).attrs["_ARRAY_DIMENSIONS"] = ["y", "x", "wavelength"]
    root.create_array("wavelength", data=np.array(WAVELENGTHS)).attrs["units"] = "nm"
    return folder / "x", {}


FORMATS = [
    *(
        to_envi,
        to_npy,
        to_npy_fortran,
        to_npy_turned,
        to_npz,
        to_npz_named,
        to_matlab5,
        to_matlab73,
        to_matlab73_turned,
    ),
    *(to_netcdf, to_zarr, to_zarr2, to_geotiff),
]


@pytest.mark.parametrize("write", FORMATS, ids=lambda f: f.__name__)
def test_every_format_becomes_the_same_scene(tmp_path, write):
    data = cube()
    path, options = write(tmp_path, data)
    result = ingest(path, tmp_path / "scene", **options)
    scene = Scene.open(str(tmp_path / "scene"))
    assert_array_equal(stored(tmp_path / "scene"), data)
    assert scene.spectral.name == "wavelength"
    assert_allclose(scene.spectral.values, WAVELENGTHS)
    assert result["dtype"] == "uint16"
    assert scene.attrs["provenance"]["src"] == path.name


def test_a_scene_is_ingested_with_everything_it_knows(tmp_path):
    extra = (
        "wavelength = {400, 550, 700, 860}\nbbl = {1, 0, 1, 1}\nmy key = kept\n"
        "data ignore value = 3\nreflectance scale factor = 10000\n"
        "map info = {UTM, 1, 1, 380952, 5820372, 30, 30, 33, North, WGS-84}\n"
    )
    ingest(write_envi(tmp_path, cube(), extra=extra), tmp_path / "a")
    ingest(tmp_path / "a", tmp_path / "b")
    first, second = (Scene.open(str(tmp_path / name)) for name in "ab")
    for key in ("shape", "dtype", "spectral", "scale", "nodata", "georef"):
        assert getattr(first, key) == getattr(second, key), key
    assert first.attrs["header"] == second.attrs["header"] == {"my key": "kept"}
    assert_array_equal(first.array[...], second.array[...])


@matmul
def test_what_a_scene_says_is_what_xarray_and_rioxarray_read(tmp_path):
    path, _ = to_geotiff(tmp_path, cube())
    ingest(path, tmp_path / "scene")
    dataset = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    with rasterio.open(path) as raster:
        assert dataset.rio.crs == raster.crs
        assert dataset.rio.transform() == raster.transform
    assert dataset.wavelength.attrs["units"] == "nm"
    assert_array_equal(dataset.cube.sel(band=2), cube()[..., 2])
    assert info(tmp_path / "scene")["crs"] == "EPSG:32633"


@matmul
@pytest.mark.parametrize(
    "transform",
    [rasterio.Affine(30, 0, 10, 0, 30, 20), rasterio.Affine(20, 5, 10, -5, -20, 20)],
    ids=["south-up", "rotated"],
)
def test_a_south_up_or_rotated_raster_keeps_its_transform(tmp_path, transform):
    with rasterio.open(
        tmp_path / "x.tif",
        "w",
        driver="GTiff",
        height=6,
        width=5,
        count=4,
        dtype="uint16",
        crs=UTM,
        transform=transform,
    ) as out:
        out.write(np.moveaxis(cube(), -1, 0))
    ingest(tmp_path / "x.tif", tmp_path / "scene")
    dataset = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    assert dataset.rio.transform() == transform
    assert_array_equal(stored(tmp_path / "scene"), cube())


def test_a_raster_without_a_place_gives_a_scene_without_one(tmp_path):
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(6, 5)).save(tmp_path / "x.png")
    ingest(tmp_path / "x.png", tmp_path / "scene")
    assert Scene.open(str(tmp_path / "scene")).georef is None


@real
def test_indian_pines_has_sixteen_classes_from_0_to_15(tmp_path):
    path = DATA / "indian_pines" / "indian_pines.npz"
    result = ingest(path, tmp_path / "scene", labels=f"{path}:gt", ignore_label=0)
    scene = Scene.open(str(tmp_path / "scene"))
    truth = np.load(path)["gt"]
    assert_array_equal(scene.labels(), np.where(truth == 0, 255, truth.astype(int) - 1))
    assert sum(result["label_counts"]) == 10249
    assert scene.classes()[:2] == ("Alfalfa", "Corn-notill")
    assert len(scene.classes()) == 16
    assert scene.spectral.unit == "nm"
    assert abs(scene.spectral.values[0] - 400.02) < 0.01


@real
def test_houston_needs_the_name_of_its_array(tmp_path):
    path = DATA / "houston2018_subset" / "houston_dataset.mat"
    with pytest.raises(UserError, match=r"hyprImg \(128, 128, 48\) uint16, rgbImg"):
        ingest(path, tmp_path / "scene")
    ingest(path, tmp_path / "scene", variable="hyprImg")
    assert_array_equal(stored(tmp_path / "scene"), scipy.io.loadmat(path)["hyprImg"])
    with pytest.raises(UserError, match="found 512 x 512 labels; expected 128 x 128"):
        ingest(path, tmp_path / "other", variable="hyprImg", labels=f"{path}:clasLabs")


@real
def test_enmap_keeps_place_wavelengths_scale_and_bad_bands(tmp_path):
    result = ingest(DATA / "enmap_potsdam" / "enmap_potsdam_tile_128_128.tif", tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert scene.shape == (32, 32, 224)
    assert abs(scene.spectral.values[0] - 418.24) < 1e-6
    assert scene.spectral.good.count(False) == 6 == result["empty_bands"]
    assert abs(scene.scale - 1e-4) < 1e-12
    assert info(tmp_path / "scene")["crs"] == "EPSG:32633"
    values = scene.read(scene.roi)[..., list(scene.spectral.good)]
    assert 0.0 < np.nanmedian(values) < 0.5
    assert result["nan_pixels"] == 0


@real
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vegetation_aviris_demo/a_hsi_img_for_VI_demo.mat", (90, 90, 224)),
        ("jasper_ridge/jasper_ridge.npz", (100, 100, 224)),
        ("pavia_university/pavia_university_lowres.npz", (80, 50, 103)),
    ],
)
def test_other_real_scenes_need_no_options(tmp_path, name, shape):
    ingest(DATA / name, tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert scene.shape == shape
    assert scene.spectral.name == "wavelength"


@real
def test_a_table_of_spectra_is_refused_as_a_scene(tmp_path):
    with pytest.raises(UserError, match=r"say how: --axes spectrum,band|nor as a table of spectra"):
        ingest(DATA / "corn_nir" / "corn.mat", tmp_path / "scene")


def test_small_cubes_of_the_other_tests_have_every_value():
    assert small_cube("u1", (4, 4, 64)).max() == 255
