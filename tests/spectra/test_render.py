"""Render: a scene as sRGB, object by object, resumable, the same bytes however it is cut and shared."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from interrupts import After
from locations import DATA
from PIL import Image
from typer.testing import CliRunner

from tilespec.api import export, repair, verify
from tilespec.cli import app
from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.spectra import transform as transform_module
from tilespec.spectra.colour import render
from tilespec.spectra.colour.observer import Observer
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.transform import transform
from tilespec.storage.layout import constants, cube_spec, layer_spec
from tilespec.storage.product import Product
from tilespec.storage.rasters import shift_georeference
from tilespec.storage.scene import Scene

pytest.importorskip("colour", reason="colour-science has the observers: the extra `color`")

verb = render.render
CAVE = DATA / "cave_chart_and_stuffed_toy" / "chart_and_stuffed_toy_ms.npz"
NM = tuple(range(400, 701, 10))
PLACE = {"crs_wkt": "LOCAL_CS[]", "GeoTransform": "500.0 2.0 0.0 900.0 0.0 -2.0"}


def axis_of(nm, **changes):
    return SpectralAxis(**({"name": "wavelength", "unit": "nm", "values": tuple(map(float, nm))} | changes))


def write(path, cube, axis, *, chunk=32, georef=None, scale=1.0, nodata=None, **layers):
    """Write a scene with layers, and return its path as text."""
    specs = [
        cube_spec(
            cube.shape, str(cube.dtype), spectral=axis, scale=scale, nodata=nodata, georeferenced=georef is not None
        ),
        *(layer_spec(name, plane.shape, str(plane.dtype)) for name, plane in layers.items()),
    ]
    specs = [replace(s, chunks=(min(chunk, s.shape[0]), min(chunk, s.shape[1]), *s.shape[2:])) for s in specs]
    product = Product.open(
        str(path), specs, settings={"test": str(path)}, attrs={"title": "test"}, constants=constants(axis, georef)
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {name: block[y0:y1] for name, block in {"cube": cube, **layers}.items()})
    product.finish()
    return str(path)


def smooth(rows=150, cols=90, bands=31, seed=0):
    """Return reflectance of smooth spectra, some pixels NaN, some bands below 0."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform(0, 1, size=(rows * cols, 5))
    places, knot = np.linspace(0, 4, bands), np.arange(5)
    low = np.minimum(places.astype(int), 3)
    cube = knots[:, low] + (knots[:, low + 1] - knots[:, low]) * (places - knot[low])
    cube = (cube - 0.02).reshape(rows, cols, bands).astype(np.float32)
    cube[rng.random((rows, cols)) < 0.03] = np.nan
    return cube


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene with nodata pixels, whose sides are no multiples of its chunks."""
    cube = smooth()
    plant = (np.arange(150 * 90).reshape(150, 90) % 7).astype(np.int32)
    return write(tmp_path_factory.mktemp("scene") / "scene", cube, axis_of(NM), georef=PLACE, plant=plant)


def values(url, roi=None):
    opened = Scene.open(str(url))
    return opened.read(roi or opened.roi)


def expected(cube, nm=NM, **options):
    return Observer.at(nm, **options).rgb(cube.reshape(-1, cube.shape[2])).reshape(*cube.shape[:2], 3)


def test_a_rendering_is_the_observer_on_every_pixel_and_carries_the_rest(scene, tmp_path):
    found = verb(scene, str(tmp_path / "rgb"))
    cube, rgb, out = values(scene), values(tmp_path / "rgb"), Scene.open(str(tmp_path / "rgb"))
    np.testing.assert_allclose(rgb, expected(cube), atol=2e-6)
    assert np.nanmin(rgb) >= 0
    assert np.nanmax(rgb) <= 1
    np.testing.assert_array_equal(np.isnan(rgb[..., 0]), np.isnan(cube[..., 0]))
    assert found["invalid_pixels"] == int(np.isnan(cube[..., 0]).sum()) > 0
    assert (out.spectral.name, out.spectral.unit, len(out.spectral.values)) == ("channel", "1", 3)
    assert out.attrs["channels"] == ["red", "green", "blue"]
    assert out.georef == Scene.open(scene).georef
    np.testing.assert_array_equal(out.layer("plant"), Scene.open(scene).layer("plant"))
    with xr.open_zarr(tmp_path / "rgb") as plain:
        assert plain.cube.dims == ("y", "x", "band")
        assert plain.attrs["rendering"]["illuminant"] == "D65"


def test_the_step_light_gives_what_is_in_proportion_to_the_spectra(tmp_path):
    """A net learns on it what holds for brighter places, too."""
    cube, light = np.nan_to_num(smooth(40, 30)) * 0.4, []
    for name, factor in (("dim", np.float32(1)), ("bright", np.float32(2))):
        url = write(tmp_path / name, factor * cube, axis_of(NM))
        verb(url, str(tmp_path / f"{name}-rgb"))
        with pytest.raises(UserError, match="not marked as sRGB"):  # reflectance is not encoded
            fit(url, str(tmp_path / "never"), steps="light")
        fit(str(tmp_path / f"{name}-rgb"), str(tmp_path / f"{name}-recipe"), steps="light")
        recipe = Recipe.load(str(tmp_path / f"{name}-recipe"))
        light.append(recipe.apply(values(tmp_path / f"{name}-rgb").reshape(-1, 3)))
    inside = (light[0] > 0) & (light[1] < 1)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(light[1][inside], 2 * light[0][inside], rtol=1e-4, atol=1e-6)


def test_pixels_out_of_gamut_are_clipped_counted_and_told(scene, tmp_path):
    found = verb(scene, str(tmp_path / "rgb"))
    cube = values(scene).reshape(-1, 31)
    linear = Observer.at(NM).linear(cube[np.isfinite(cube[:, 0])].astype(np.float64))
    out = ((linear < -1e-9) | (linear > 1 + 1e-9)).any(axis=1)
    assert abs(found["clipped_pixels"] - int(out.sum())) <= 2  # values on the very edge
    assert found["clipped_pixels"] > 100
    assert f"{found['clipped_pixels'] / len(linear):.2%}" in " ".join(found["notes"])


@pytest.mark.parametrize(
    "options",
    [
        {"illuminant": "E"},
        {"illuminant": "A", "degrees": 2},
        {"illuminant": "D65", "radiance": True},
    ],
)
def test_lights_and_observers_are_passed_on(scene, tmp_path, options):
    named = {"observer" if name == "degrees" else name: value for name, value in options.items()}
    verb(scene, str(tmp_path / "rgb"), **named)
    np.testing.assert_allclose(values(tmp_path / "rgb"), expected(values(scene), **options), atol=2e-6)


def test_the_scale_of_an_image_is_that_of_its_region(scene, tmp_path):
    found = verb(scene, str(tmp_path / "rgb"), scale="image", rows="20:101", cols="7:60")
    roi = Roi(y0=20, y1=101, x0=7, x1=60)
    cube = values(scene, roi)
    low, high = np.nanmin(cube), np.nanmax(cube)
    assert (found["black"], found["white"]) == (pytest.approx(low), pytest.approx(high))
    np.testing.assert_allclose(values(tmp_path / "rgb"), expected((cube - low) / (high - low)), atol=3e-6)


def test_the_scale_of_an_image_looks_at_the_mask_and_at_the_visible_alone(tmp_path):
    nm = (*range(400, 901, 10),)
    cube = np.clip(smooth(60, 50, len(nm)), 0.1, 0.6)
    cube[:, :, 31:] += 5
    cube[0, 0] = 50.0
    plant = np.ones((60, 50), np.uint8)
    plant[0, 0] = 0
    url = write(tmp_path / "s", cube, axis_of(nm), plant=plant)
    found = verb(url, str(tmp_path / "rgb"), scale="image", mask="plant")
    assert (found["black"], found["white"]) == (pytest.approx(0.1), pytest.approx(0.6))
    assert (values(tmp_path / "rgb")[0, 0] == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_region_lies_where_it_lay(scene, tmp_path, dtype):
    verb(scene, str(tmp_path / "whole"), dtype=dtype)
    verb(scene, str(tmp_path / "part"), rows="33:140", cols="11:85", dtype=dtype)
    roi = Roi(y0=33, y1=140, x0=11, x1=85)
    np.testing.assert_array_equal(values(tmp_path / "part"), values(tmp_path / "whole", roi))
    part = Scene.open(str(tmp_path / "part"))
    np.testing.assert_array_equal(part.layer("plant"), Scene.open(scene).layer("plant", roi))
    assert part.attrs["origin"] == [33, 11]
    assert [float(v) for v in part.georef["GeoTransform"].split()] == [522.0, 2.0, 0.0, 834.0, 0.0, -2.0]


def test_a_corner_that_moves_twice_has_moved_once():
    twice = shift_georeference(shift_georeference(PLACE, (3, 4)), (5, 6))
    assert twice == shift_georeference(PLACE, (8, 10))
    assert shift_georeference(None, (1, 1)) is None
    assert shift_georeference(PLACE, (0, 0)) == PLACE


# The same bytes


@pytest.mark.parametrize("chunk", [24, 50, 128])
@pytest.mark.parametrize("options", [{}, {"scale": "image", "dtype": "uint8"}, {"dtype": "uint16"}])
def test_a_scene_in_other_objects_gives_the_same_bytes(scene, tmp_path, chunk, options):
    other = write(tmp_path / "other", values(scene), axis_of(NM), chunk=chunk)
    alone = write(tmp_path / "alone", values(scene), axis_of(NM), chunk=32)
    for url in (other, alone):
        verb(url, f"{url}.rgb", **options)
    assert Scene.open(f"{other}.rgb").digest == Scene.open(f"{alone}.rgb").digest


def test_workers_change_no_byte(scene, tmp_path):
    with connect(2, None) as client:
        for name, options in {"a": {"scale": "image"}, "b": {"dtype": "uint8", "rows": "10:150"}}.items():
            alone, two = tmp_path / name / "alone", tmp_path / name / "two"
            verb(scene, str(alone), **options)
            verb(scene, str(two), cluster=client.scheduler.address, **options)
            assert Scene.open(str(two)).digest == Scene.open(str(alone)).digest
            objects = [path.relative_to(two) for path in two.rglob("c/**/*") if path.is_file()]
            assert len(objects) >= 4
            assert all((two / name).read_bytes() == (alone / name).read_bytes() for name in objects)


KILLED = """
import os, signal
from tilespec import api
from tilespec.spectra import transform as applied
right, rows = applied._write_row, []
def killed(work, product, row):
    rows.append(row)
    if len(rows) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return right(work, product, row)
applied._write_row = killed
api.render({scene!r}, {out!r}, scale="image")
"""


def test_a_rendering_that_was_killed_resumes_to_the_same_product(tmp_path):
    url = write(tmp_path / "s", smooth(300, 40), axis_of(NM))
    whole = verb(url, str(tmp_path / "whole"), scale="image")
    code = KILLED.format(scene=url, out=str(tmp_path / "out"))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with pytest.raises(UserError, match="writing"):
        Scene.open(str(tmp_path / "out"))
    assert verb(url, str(tmp_path / "out"), scale="image")["clipped_pixels"] == whole["clipped_pixels"]
    assert Scene.open(str(tmp_path / "out")).digest == Scene.open(str(tmp_path / "whole")).digest


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_rendering_that_was_interrupted_resumes_to_the_same_product(scene, tmp_path, monkeypatch, dtype):
    whole = verb(scene, str(tmp_path / "whole"), scale="image", dtype=dtype)
    right, rows = transform_module._write_row, []

    def fails_once(*args):
        rows.append(args[-1])
        if len(rows) == 2:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(transform_module, "_write_row", fails_once)
    with pytest.raises(KeyboardInterrupt):
        verb(scene, str(tmp_path / "out"), scale="image", dtype=dtype)
    with pytest.raises(UserError, match="writing"):
        Scene.open(str(tmp_path / "out"))
    monkeypatch.setattr(transform_module, "_write_row", right)
    with pytest.raises(UserError, match="settings"):
        verb(scene, str(tmp_path / "out"), illuminant="A", dtype=dtype)
    again = verb(scene, str(tmp_path / "out"), scale="image", dtype=dtype)
    same = ("pixels", "invalid_pixels", "clipped_pixels", "black", "white", "notes")
    assert [again[key] for key in same] == [whole[key] for key in same]
    assert Scene.open(str(tmp_path / "out")).digest == Scene.open(str(tmp_path / "whole")).digest


def test_a_damaged_rendering_is_found_and_repaired(scene, tmp_path):
    verb(scene, str(tmp_path / "rgb"), dtype="uint8", scale="image")
    digest = Scene.open(str(tmp_path / "rgb")).digest
    path = tmp_path / "rgb" / "cube" / "c" / "1" / "0" / "0"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert verify(str(tmp_path / "rgb"))["whole"] is False
    assert repair(str(tmp_path / "rgb"))["whole"] is True
    assert Scene.open(str(tmp_path / "rgb")).digest == digest


# Integers


@pytest.mark.parametrize(("dtype", "steps"), [("uint8", 255), ("uint16", 65535)])
def test_integers_are_the_nearest_and_say_where_there_is_data(scene, tmp_path, dtype, steps):
    verb(scene, str(tmp_path / "float"))
    verb(scene, str(tmp_path / "whole"), dtype=dtype)
    exact, found = values(tmp_path / "float"), values(tmp_path / "whole")
    out = Scene.open(str(tmp_path / "whole"))
    assert out.dtype == np.dtype(dtype)
    assert out.scale == pytest.approx(1 / steps)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    np.testing.assert_array_equal(out.layer("valid"), np.isfinite(exact[..., 0]))
    assert np.nanmax(np.abs(found - exact)) <= 0.5 / steps + 1e-6
    assert np.nanmax(found) <= 1
    stored = np.asarray(out.array[:])
    known = np.isfinite(exact)
    np.testing.assert_array_equal(stored[known], np.rint(exact[known] * np.float32(steps)).astype(dtype))


def test_integer_scenes_with_nodata_and_a_layer_valid_are_rendered_in_reflectance(tmp_path):
    cube = smooth(40, 50)
    hidden = np.zeros((40, 50), bool)
    hidden[5:9] = True
    counts = np.nan_to_num(np.rint(cube.clip(0) * 1e4), nan=65535).astype(np.uint16)
    options = {"scale": 1e-4, "nodata": 65535, "valid": (~hidden).astype(np.uint8)}
    url = write(tmp_path / "s", counts, axis_of(NM), **options)
    for dtype in ("float32", "uint8"):
        verb(url, str(tmp_path / dtype), dtype=dtype)
        found = values(tmp_path / dtype)
        np.testing.assert_array_equal(np.isnan(found[..., 0]), np.isnan(cube[..., 0]) | hidden)
        np.testing.assert_allclose(found, expected(values(url)), atol=0.003)
        assert (Scene.open(str(tmp_path / dtype)).layer("valid") == 0).any()


def test_white_is_a_value_of_the_scene(tmp_path):
    cube = smooth(40, 50)
    url = write(tmp_path / "s", cube * np.float32(4095), axis_of(NM))
    verb(url, str(tmp_path / "rgb"), white=4095.0)
    np.testing.assert_allclose(values(tmp_path / "rgb"), expected(cube), atol=1e-5)


def test_a_picture_of_a_rendering_is_not_stretched(tmp_path):
    url = write(tmp_path / "s", np.nan_to_num(smooth(40, 50) / 3), axis_of(NM))
    verb(url, str(tmp_path / "rgb"), dtype="uint8")
    export(str(tmp_path / "rgb"), str(tmp_path / "rgb.png"))
    with Image.open(tmp_path / "rgb.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(Scene.open(str(tmp_path / "rgb")).array[:]))


def test_bands_that_the_eye_does_not_see_or_that_are_bad_are_not_looked_at(tmp_path):
    nm = (*range(400, 701, 10), 900, 1000)
    cube = smooth(40, 50, len(nm))
    cube[:, :, 31:] = np.nan
    cube[:, :, 4] = np.nan
    good = tuple(i != 4 for i in range(len(nm)))
    url = write(tmp_path / "s", cube, axis_of(nm, good=good))
    found = verb(url, str(tmp_path / "rgb"))
    assert found["bands_seen"] == 30
    index = [i for i in range(31) if i != 4]
    np.testing.assert_allclose(
        values(tmp_path / "rgb"), expected(cube[..., index], np.asarray(nm, float)[index]), atol=2e-6
    )
    unmarked = write(tmp_path / "u", cube, axis_of(nm))
    assert "all of the product is nodata" in " ".join(verb(unmarked, str(tmp_path / "empty"))["notes"])


# Real data, the command line, memory


@pytest.mark.skipif(not CAVE.exists(), reason="the CAVE scene is not here")
def test_a_measured_scene_is_rendered_as_the_whole_at_once(tmp_path):
    with np.load(CAVE) as stored:
        cube, nm = stored["cube"], stored["wavelength_nm"]
    url = write(tmp_path / "cave", cube, axis_of(nm), chunk=128, scale=1 / 65535)
    found = verb(url, str(tmp_path / "rgb"), scale="image", dtype="uint8")
    share = (cube - float(cube.min())) / float(cube.max() - cube.min())
    np.testing.assert_allclose(values(tmp_path / "rgb"), expected(share, nm.astype(float)), atol=0.003)
    assert found["clipped_pixels"] < 0.2 * found["pixels"]
    export(str(tmp_path / "rgb"), str(tmp_path / "cave.png"))
    with Image.open(tmp_path / "cave.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(Scene.open(str(tmp_path / "rgb")).array[:]))


def test_the_command_line_says_what_it_did_and_what_it_would(scene, tmp_path):
    out = str(tmp_path / "rgb")
    planned = CliRunner().invoke(app, ["render", scene, out, "--dry-run", "--json"])
    assert planned.exit_code == 0, planned.output
    assert '"shape": [150, 90, 3]' in planned.stdout
    assert not Path(out).exists()
    done = CliRunner().invoke(app, ["render", scene, out, "--dtype", "uint8", "--illuminant", "E", "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    assert "out of gamut" in done.stderr
    refused = CliRunner().invoke(app, ["render", scene, str(tmp_path / "b"), "--illuminant", "F99", "--quiet"])
    assert refused.exit_code == 2
    assert "expected one of" in refused.stderr


def test_memory_does_not_grow_with_the_scene(tmp_path, monkeypatch):
    held, right = [], transform_module.run

    def watched(operators, x, width, *, own):
        held.append(x.nbytes)
        return right(operators, x, width, own=own)

    monkeypatch.setattr(transform_module, "run", watched)
    for rows in (128, 512):
        url = write(tmp_path / str(rows), np.tile(smooth(128, 64), (rows // 128, 1, 1)), axis_of(NM), chunk=128)
        held.clear()
        verb(url, f"{url}.rgb")
        assert sum(held) == rows * 64 * 31 * 4
        assert max(held) <= 2048 * 31 * 4


# Bad input


def test_a_sensor_that_begins_at_427_nm_has_colours_and_a_note(tmp_path):
    """Grey stays nearly grey; what is missing is little, and is said."""
    nm = np.arange(427.0, 760.0, 10.0)
    url = write(tmp_path / "s", np.full((20, 20, len(nm)), 0.5, np.float32), axis_of(nm))
    found = verb(url, str(tmp_path / "rgb"))
    assert any("no band near 400 nm" in note for note in found["notes"])
    rgb = values(tmp_path / "rgb")
    assert np.ptp(rgb[0, 0]) < 0.05


@pytest.mark.parametrize(
    ("axis", "match"),
    [
        (axis_of(np.arange(900, 1210, 10.0)), "31 bands from 900 to 1200 nm, none within 20 nm of 400 nm"),
        (axis_of(np.arange(450, 760, 10.0)), "31 bands from 450 to 750 nm, none within 20 nm of 400 nm"),
        (axis_of(np.arange(31) * 100 + 4000, name="wavenumber", unit="cm-1"), "bands by wavenumber in 'cm-1'"),
        (axis_of(np.arange(31), name="channel", unit="1"), "bands by channel"),
        (None, "31 bands with no spectral axis"),
    ],
)
def test_scenes_without_the_visible_have_no_colour(tmp_path, axis, match):
    url = write(tmp_path / "s", smooth(20, 20), axis)
    for dry_run in (True, False):
        with pytest.raises(UserError, match=match):
            verb(url, str(tmp_path / "rgb"), dry_run=dry_run)
    assert not (tmp_path / "rgb").exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scale": "each"}, "fixed or image"),
        ({"scale": "image", "white": 2.0}, "--white.*--scale image"),
        ({"mask": "plant"}, "--mask.*--scale fixed"),
        ({"white": 0.0}, "above 0"),
        ({"white": float("nan")}, "above 0"),
        ({"dtype": "float16"}, "float32, uint8, uint16"),
        ({"scale": "image", "mask": "nothing"}, "a layer 'nothing'"),
        ({"observer": 5}, "10 .CIE 1964. or 2"),
        ({"camera": "none.csv"}, "no such file"),
        ({"rows": "0:999"}, "0 <= A < B <= 150"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(scene, tmp_path, options, match):
    with pytest.raises(UserError, match=match):
        verb(scene, str(tmp_path / "rgb"), **options)
    assert not (tmp_path / "rgb").exists()


@pytest.mark.parametrize("factor", [4095.0, 1e-5])
def test_counts_are_not_taken_for_reflectance(tmp_path, factor):
    url = write(tmp_path / "s", smooth(20, 20) * np.float32(factor), axis_of(NM))
    with pytest.raises(UserError, match="--white VALUE"):
        verb(url, str(tmp_path / "rgb"))
    assert verb(url, str(tmp_path / "rgb"), white=factor)["pixels"] == 400


def test_a_scene_of_one_value_or_none_has_no_scale_of_its_own(tmp_path):
    flat = write(tmp_path / "flat", np.full((20, 20, 31), 0.5, np.float32), axis_of(NM))
    empty = write(tmp_path / "empty", np.full((20, 20, 31), np.nan, np.float32), axis_of(NM))
    for url, match in ((flat, "values from 0.5 to 0.5"), (empty, "no pixel with data")):
        with pytest.raises(UserError, match=match):
            verb(url, str(tmp_path / "rgb"), scale="image")


def test_a_rendering_is_not_rendered_again_and_a_recipe_is_told(scene, tmp_path):
    verb(scene, str(tmp_path / "rgb"))
    with pytest.raises(UserError, match="bands by channel"):
        verb(str(tmp_path / "rgb"), str(tmp_path / "again"))
    fit(scene, str(tmp_path / "r"), steps="drop=#30")
    transform(str(tmp_path / "r"), scene, str(tmp_path / "t"))
    assert "recipe" in " ".join(verb(str(tmp_path / "t"), str(tmp_path / "t.rgb"))["notes"])
    assert Scene.open(str(tmp_path / "t.rgb")).raw().shape == (150, 90, 3)


def test_another_scene_or_light_is_another_product(scene, tmp_path):
    verb(scene, str(tmp_path / "rgb"))
    for other in ({"observer": 2}, {"white": 2.0}, {"dtype": "uint8"}, {"rows": "0:128"}):
        with pytest.raises(UserError, match="settings"):
            verb(scene, str(tmp_path / "rgb"), **other)
    assert verb(scene, str(tmp_path / "rgb"))["pixels"] == 150 * 90


def test_ctrl_c_leaves_what_resumes(scene, tmp_path):
    verb(scene, str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        verb(scene, str(tmp_path / "out"), progress=After(1))
    verb(scene, str(tmp_path / "out"))
    assert Scene.open(str(tmp_path / "out")).digest == Scene.open(str(tmp_path / "whole")).digest
