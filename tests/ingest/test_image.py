"""Pictures as scenes: what is stored is what GDAL and Pillow decode; read, sRGB from 0 to 1; bins are of light."""

import warnings
from itertools import product

import numpy as np
import pytest
import rasterio
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.ingest.binning import mean
from tilespec.ingest.ingest import info, ingest
from tilespec.ingest.readers.image import Scan
from tilespec.spectra.numerics.srgb import decode, encode
from tilespec.storage.layout import constants, cube_spec, layer_spec
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

HOUSTON = DATA / "houston2018_subset" / "houston_dataset.mat"
CAVE = DATA / "cave_chart_and_stuffed_toy" / "chart_and_stuffed_toy_ms.npz"


def picture(rows=37, cols=23, bands=3, seed=0, dtype=np.uint8, top=None):
    top = np.iinfo(dtype).max if top is None else top
    values = np.random.default_rng(seed).integers(0, top + 1, (rows, cols, bands)).astype(dtype)
    values[0, 0], values[-1, -1] = top, 0
    return values


def write_raster(path, values, driver="GTiff", **options):
    profile = {"driver": driver, "height": values.shape[0], "width": values.shape[1], "count": values.shape[2]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", dtype=values.dtype, **profile, **options) as file:
            file.write(np.moveaxis(values, -1, 0))
    return path


def save(path, values, mode=None, **options):
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def taken(path, tmp_path, name="scene", **options):
    result = ingest(path, tmp_path / name, **options)
    return Scene.open(str(tmp_path / name)), result


def stored(scene):
    return np.asarray(scene.array[...])


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_eight_bits_are_stored_as_they_are_and_read_from_0_to_1(tmp_path, suffix):
    values = picture()
    scene, result = taken(save(tmp_path / f"x.{suffix}", values), tmp_path)
    assert_array_equal(stored(scene), values)
    assert_allclose(scene.read(scene.roi), values / 255, atol=1e-7)
    assert scene.dtype == np.uint8
    assert scene.read(scene.roi).max() == 1.0
    assert (scene.spectral.name, scene.spectral.values) == ("channel", (0.0, 1.0, 2.0))
    assert scene.attrs["channels"] == ["red", "green", "blue"]
    assert scene.attrs["colour_space"] == "sRGB"
    assert scene.attrs["header"]["band names"] == "{red, green, blue}"
    assert result["notes"] == []


@pytest.mark.parametrize(("progressive", "mode"), list(product([False, True], ["RGB", "L"])))
def test_jpeg_is_what_pillow_decodes(tmp_path, progressive, mode):
    smooth = np.linspace(0, 255, 64 * 48 * 3).reshape(64, 48, 3).astype(np.uint8)
    path = save(tmp_path / "x.jpg", smooth, mode, quality=90, progressive=progressive)
    scene, _ = taken(path, tmp_path)
    oracle = np.asarray(Image.open(path)).reshape(64, 48, -1)
    assert_allclose(stored(scene).astype(int), oracle.astype(int), atol=2)  # two decoders of the cosine transform


def test_sixteen_bits_of_png_and_tiff(tmp_path):
    grey = picture(bands=1, dtype=np.uint16)
    scene, _ = taken(save(tmp_path / "x.png", grey), tmp_path, "grey")
    assert_array_equal(stored(scene), grey)
    assert_allclose(scene.read(scene.roi), grey / 65535, atol=1e-7)
    assert scene.attrs["channels"] == ["grey"]
    colour = picture(dtype=np.uint16)
    for name, options in {"x.tif": {"photometric": "RGB"}, "y.png": {"driver": "PNG"}}.items():
        path = write_raster(tmp_path / name, colour, **options)
        scene, _ = taken(path, tmp_path, name + ".zarr")
        assert_array_equal(stored(scene), colour)
        assert_allclose(scene.read(scene.roi), colour / 65535, atol=1e-7)


@pytest.mark.parametrize(("bits", "named"), [(8, 255), (10, 1023), (12, 4095), (14, 16383)])
def test_values_of_few_bits_in_sixteen_are_not_read_as_black(tmp_path, bits, named):
    values = picture(dtype=np.uint16, top=(1 << bits) - 1)
    path = write_raster(tmp_path / "x.tif", values, photometric="RGB")
    with pytest.raises(
        UserError, match=rf"found {named} of 65535; .*fit in {bits} bits.*--peak {named}; or --peak 65535"
    ):
        ingest(path, tmp_path / "scene")
    assert not (tmp_path / "scene").exists()
    scene, _ = taken(path, tmp_path, peak=named)
    assert_allclose(scene.read(scene.roi), values / named, atol=1e-6)
    dark, _ = taken(path, tmp_path, "dark", peak=65535)
    assert_allclose(dark.read(dark.roi), values / 65535, atol=1e-7)
    with pytest.raises(UserError, match=r"largest value: found \d+; expected at most 100"):
        ingest(path, tmp_path / "other", peak=100)


def test_a_black_picture_is_said_to_be_black(tmp_path):
    path = write_raster(tmp_path / "x.tif", np.zeros((5, 4, 3), np.uint16), photometric="RGB")
    assert ingest(path, tmp_path / "scene")["notes"] == [f"{path}: black everywhere"]


def test_a_peak_must_be_a_number_above_0(tmp_path):
    path = save(tmp_path / "x.png", picture())
    for wrong in (0, -1, float("nan")):
        with pytest.raises(UserError, match="--peak: found"):
            ingest(path, tmp_path / "scene", peak=wrong)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_pixels_that_are_not_opaque_have_no_data(tmp_path, mode):
    values = picture(bands=len(mode))
    clear = values[..., -1] != 255
    Image.fromarray(values).save(tmp_path / "x.png")
    scene, result = taken(tmp_path / "x.png", tmp_path)
    read = scene.read(scene.roi)
    assert np.isnan(read[clear]).all()
    assert_allclose(read[~clear], values[~clear, :-1] / 255, atol=1e-7)
    assert result["empty_pixels"] == clear.sum()
    assert "not opaque" in result["notes"][0]


def test_alpha_of_sixteen_bits_and_a_transparent_colour(tmp_path):
    values = picture(bands=4, dtype=np.uint16)
    values[:9, :, 3] = 65535
    write_raster(tmp_path / "x.png", values, "PNG")
    scene, _ = taken(tmp_path / "x.png", tmp_path)
    assert_allclose(scene.read(scene.roi)[:9], values[:9, :, :3] / 65535, atol=1e-7)
    assert np.isnan(scene.read(scene.roi)[values[..., 3] != 65535]).all()
    plain = picture(seed=4)
    plain[3:5, 2:7] = (9, 8, 7)
    plain[6, 6] = (9, 0, 7)  # of the transparent colour in two bands: not transparent
    save(tmp_path / "y.png", plain, transparency=(9, 8, 7))
    scene, _ = taken(tmp_path / "y.png", tmp_path, "y")
    known = ~(plain == (9, 8, 7)).all(axis=-1)
    read = scene.read(scene.roi)
    assert_array_equal(np.isfinite(read).all(axis=-1), known)
    assert_allclose(read[known], plain[known] / 255, atol=1e-7)


@pytest.mark.parametrize("clear", [False, True])
def test_a_palette_becomes_its_colours(tmp_path, clear):
    index = np.random.default_rng(0).integers(0, 5, (20, 30)).astype(np.uint8)
    table = np.random.default_rng(1).integers(0, 256, (5, 3))
    image = Image.fromarray(index)
    image.putpalette(table.astype(np.uint8).ravel().tolist())
    image.save(tmp_path / "x.png", **({"transparency": 2} if clear else {}))
    scene, _ = taken(tmp_path / "x.png", tmp_path)
    read, known = scene.read(scene.roi), (index != 2) | (not clear)
    assert_allclose(read[known], table[index][known] / 255, atol=1e-7)
    assert_array_equal(np.isfinite(read).all(axis=-1), known)
    labels, _ = taken(tmp_path / "x.png", tmp_path, "labelled", labels=tmp_path / "x.png")
    assert_array_equal(labels.labels(), np.where(index == 2, 255, index) if clear else index)


def test_one_bit_is_0_and_1(tmp_path):
    Image.fromarray(np.eye(9, dtype=np.uint8) * 255).convert("1").save(tmp_path / "x.png")
    scene, result = taken(tmp_path / "x.png", tmp_path)
    assert_array_equal(scene.read(scene.roi)[..., 0], np.eye(9))
    assert "one bit a pixel" in result["notes"][0]


def test_inks_several_pictures_and_damage_are_refused(tmp_path):
    values = picture(300, 200)
    save(tmp_path / "ink.jpg", values, "CMYK")
    save(tmp_path / "ink.tif", values, "CMYK")
    for name in ("ink.jpg", "ink.tif"):
        with pytest.raises(UserError, match="found inks"):
            ingest(tmp_path / name, tmp_path / "scene")
    frames = [Image.fromarray(picture(seed=i)) for i in range(3)]
    for name in ("pages.tif", "moving.png", "moving.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(UserError, match="found 3 pictures in one file"):
            ingest(tmp_path / name, tmp_path / "scene")
    for name in ("cut.jpg", "cut.png"):
        whole = save(tmp_path / name, values).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match="cannot be read"):
            ingest(tmp_path / name, tmp_path / f"{name}.zarr")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_picture_that_viewers_turn_is_noted(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(picture())
    image.save(tmp_path / f"x.{suffix}", exif=exif)
    scene, result = taken(tmp_path / f"x.{suffix}", tmp_path)
    assert scene.shape == (37, 23, 3)
    assert ["EXIF orientation 6" in note for note in result["notes"]] == [True]


def test_a_profile_of_another_colour_space_is_noted(tmp_path):
    image = Image.fromarray(picture())
    image.save(tmp_path / "x.png", icc_profile=b"\0" * 128 + b"Adobe RGB (1998)")
    assert "colour profile is not sRGB" in ingest(tmp_path / "x.png", tmp_path / "scene")["notes"][0]


def test_a_tiff_is_a_picture_only_where_it_could_be_nothing_else(tmp_path):
    values = picture()
    place = {"crs": rasterio.crs.CRS.from_epsg(32633), "transform": rasterio.Affine(2.0, 0.0, 4e5, 0.0, -2.0, 5e6)}
    scene, _ = taken(write_raster(tmp_path / "a.tif", values, photometric="RGB", **place), tmp_path, "a")
    assert scene.attrs["colour_space"] == "sRGB"
    assert scene.georef["GeoTransform"].startswith("400000.0 2.0")
    others = {
        "four bands": (picture(bands=4), {"photometric": "RGB"}),
        "grey": (picture(bands=1), {}),
        "no colours": (values, {"photometric": "MINISBLACK"}),
        "a satellite": (picture(dtype=np.uint16), {"photometric": "RGB", **place}),
    }
    for name, (cube, options) in others.items():
        scene, _ = taken(write_raster(tmp_path / f"{name}.tif", cube, **options), tmp_path, name)
        assert "colour_space" not in scene.attrs, name
        assert scene.scale == 1.0
        assert_array_equal(stored(scene), cube)
    scene, _ = taken(tmp_path / "four bands.tif", tmp_path, "forced", rgb=True)
    clear = picture(bands=4)[..., 3] != 255
    assert_array_equal(np.isnan(scene.read(scene.roi)).all(axis=-1), clear)
    tagged = write_raster(tmp_path / "tagged.tif", values, photometric="RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tagged, "r+") as file:
            for band, centre in enumerate((450, 550, 650), start=1):
                file.update_tags(band, wavelength=str(centre), wavelength_units="nm")
    assert taken(tagged, tmp_path, "tagged")[0].spectral.values == (450.0, 550.0, 650.0)


def test_a_raster_of_more_bands_than_colours_is_not_shown_to_pillow(tmp_path, caplog):
    """Pillow complains of it on stderr, as if reading had failed."""
    values = picture(bands=9)
    scene, _ = taken(write_raster(tmp_path / "a.tif", values), tmp_path, "a")
    assert_array_equal(scene.array[...], values)
    assert caplog.messages == []


def test_a_picture_in_an_array_is_one_when_the_user_says_so(tmp_path):
    values = picture()
    np.savez(tmp_path / "x.npz", cube=np.zeros((2, 2, 5), np.uint16), rgb=values)
    scene, _ = taken(tmp_path / "x.npz", tmp_path, variable="rgb", rgb=True)
    assert_allclose(scene.read(scene.roi), values / 255, atol=1e-7)
    assert scene.attrs["colour_space"] == "sRGB"
    with pytest.raises(UserError, match=r"found 5 bands of uint16; expected three"):
        ingest(tmp_path / "x.npz", tmp_path / "other", variable="cube", rgb=True)
    np.save(tmp_path / "y.npy", values.astype(np.float32))
    with pytest.raises(UserError, match=r"found 255; expected at most 1, which is white"):
        ingest(tmp_path / "y.npy", tmp_path / "other", rgb=True)
    scene, _ = taken(tmp_path / "y.npy", tmp_path, "y", rgb=True, peak=255)
    assert_allclose(scene.read(scene.roi), values / 255, atol=1e-7)


def test_a_peak_scales_any_cube_that_has_no_scale(tmp_path):
    cube = picture(bands=7, dtype=np.uint16, top=4095)
    np.savez(tmp_path / "x.npz", cube=cube)
    scene, _ = taken(tmp_path / "x.npz", tmp_path, peak=4095)
    assert_array_equal(stored(scene), cube)
    assert_allclose(scene.read(scene.roi), cube / 4095, atol=1e-6)
    assert "colour_space" not in scene.attrs
    with pytest.raises(UserError, match="whose own scale is"):
        ingest(tmp_path / "scene", tmp_path / "again", peak=4095)


def test_a_picture_is_not_calibrated(tmp_path):
    path = save(tmp_path / "x.png", picture())
    with pytest.raises(UserError, match="not proportional to light"):
        ingest(path, tmp_path / "scene", white=path)


@settings(max_examples=12)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_bins_of_a_picture_are_means_of_light(tmp_path_factory, pixels, seed):
    tmp_path = tmp_path_factory.mktemp("bins")
    values = picture(seed=seed)
    scene, _ = taken(save(tmp_path / "x.png", values), tmp_path, bin=pixels)
    light = mean(decode(values / 255), pixels, 1)
    assert_allclose(scene.read(scene.roi), encode(light), atol=1e-6)


def test_bins_keep_a_constant_and_are_brighter_than_means_of_what_is_stored(tmp_path):
    flat = np.full((8, 8, 3), 100, np.uint8)
    scene, _ = taken(save(tmp_path / "flat.png", flat), tmp_path, "flat", bin=4)
    assert_allclose(scene.read(scene.roi), 100 / 255, atol=1e-6)
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[::2] = 255
    scene, _ = taken(save(tmp_path / "stripes.png", stripes), tmp_path, "stripes", bin=2)
    assert_allclose(scene.read(scene.roi), 0.7353569, atol=1e-6)  # half of the light, IEC 61966-2-1
    again, _ = taken(tmp_path / "stripes", tmp_path, "again", bin=2, dtype="uint16")
    assert_allclose(again.read(again.roi), 0.7354, atol=1e-6)


def test_bins_leave_out_pixels_without_data(tmp_path):
    values = np.full((4, 4, 4), 200, np.uint8)
    values[..., 3] = 255
    values[:2, :2] = (0, 0, 0, 0)
    values[0, 3] = (0, 0, 0, 0)
    Image.fromarray(values).save(tmp_path / "x.png")
    scene, _ = taken(tmp_path / "x.png", tmp_path, bin=2)
    read = scene.read(scene.roi)
    assert np.isnan(read[0, 0]).all()
    assert_allclose(read[0, 1], 200 / 255, atol=1e-6)


def test_a_line_of_a_picture_is_decoded_once(tmp_path, monkeypatch):
    values = picture(700, 50)
    asked = []
    rows = Scan.rows
    monkeypatch.setattr(Scan, "rows", lambda self, y0, y1: asked.append((y0, y1)) or rows(self, y0, y1))
    scene, _ = taken(save(tmp_path / "x.png", values), tmp_path)
    assert asked == [(y, min(y + 128, 700)) for y in range(0, 700, 128)]
    assert_array_equal(stored(scene), values)


def test_lines_may_be_read_in_any_order(tmp_path):
    values = picture(90, 50)
    for name in ("x.png", "x.jpg"):
        save(tmp_path / name, values)
        whole = Scan(str(tmp_path / name)).rows(0, 90)
        scan = Scan(str(tmp_path / name))
        for y0, y1 in ((40, 60), (0, 20), (80, 90), (10, 30)):
            assert_array_equal(scan.rows(y0, y1), whole[y0:y1])


def test_info_says_what_a_picture_is(tmp_path):
    found = info(save(tmp_path / "x.png", picture(dtype=np.uint8)))
    assert (found["shape"], found["dtype"], found["spectral"]["name"]) == ([37, 23, 3], "uint8", "channel")


@pytest.mark.skipif(not HOUSTON.exists(), reason="the real scenes are not here")
def test_the_houston_pair_comes_to_one_plane(tmp_path):
    cube, _ = taken(f"{HOUSTON}:hyprImg", tmp_path, "cube")
    scene, _ = taken(f"{HOUSTON}:rgbImg", tmp_path, "rgb", rgb=True, bin=4)
    assert scene.shape == (128, 128, 3)
    assert cube.shape == (128, 128, 48)
    light = decode(scipy.io.loadmat(HOUSTON)["rgbImg"] / 255).reshape(128, 4, 128, 4, 3).mean(axis=(1, 3))
    assert_allclose(scene.read(scene.roi), encode(light), atol=2e-6)


@pytest.mark.skipif(not CAVE.exists(), reason="the real scenes are not here")
def test_the_cave_scene_is_from_0_to_1(tmp_path):
    scene, _ = taken(CAVE, tmp_path, variable="cube", peak=65535)
    assert scene.spectral.values[:2] == (400.0, 410.0)
    assert_allclose(scene.read(scene.roi)[::50, ::50], np.load(CAVE)["cube"][::50, ::50] / 65535, atol=1e-7)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pixels_that_a_scene_calls_invalid_do_not_count_in_bins(tmp_path, dtype):
    values = np.full((4, 4, 3), 200, dtype)
    values[1, 1] = values[0, 3] = 0
    valid = (values[..., 0] != 0).astype(np.uint8)
    axis = SpectralAxis(name="channel", unit="1", values=(0.0, 1.0, 2.0))
    cube = cube_spec(values.shape, dtype, spectral=axis, scale=1 / 255)
    facts = {"settings": {"colours": dtype}, "attrs": {"colour_space": "sRGB"}, "constants": constants(axis)}
    product = Product.open(str(tmp_path / "colours"), [cube, layer_spec("valid", (4, 4))], **facts)
    product.write(0, {"cube": values, "valid": valid})
    product.finish()
    scene, result = taken(tmp_path / "colours", tmp_path, bin=2)
    assert_allclose(scene.read(scene.roi), 200 / 255, atol=1e-6)
    assert result["notes"] == []
    whole, _ = taken(tmp_path / "colours", tmp_path, "whole")
    assert_array_equal(np.isnan(whole.read(whole.roi)[..., 0]), valid == 0)
