"""Recipes: fitted out of core, saved without pickle, applied pixel by pixel, refused where they do not fit."""

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_filter
from sklearn.decomposition import PCA

from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.spectra import passes
from tilespec.spectra import transform as transform_module
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit, fit_steps
from tilespec.spectra.passes import sample
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.transform import transform, transformed, write_scene
from tilespec.storage.blocks import blocks
from tilespec.storage.lock import locked
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    """A scene with nodata pixels, whose sides are no multiples of its chunks."""
    return make_scene(tmp_path_factory.mktemp("scene") / "scene", 150, 90, 24, nan=0.02, noise=0.01)


def spectra(url, roi=None):
    opened = Scene.open(url)
    return opened.read(roi or opened.roi).reshape(-1, opened.shape[2])


def fitted(url, steps, **options):
    opened = Scene.open(url)
    return fit_steps(steps, [(opened, opened.roi)], **options)


def snv(x):
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, ddof=1, keepdims=True)


def test_a_fit_equals_scikit_learn_on_a_scene_that_fits_in_memory(scene, tmp_path):
    found = fit(scene, str(tmp_path / "recipe"), steps="snv,pca=3")
    x = spectra(scene).astype(np.float64)
    valid = snv(x[np.isfinite(x).all(axis=1)])
    theirs = PCA(3, svd_solver="covariance_eigh").fit(valid)
    ours = Recipe.load(str(tmp_path / "recipe")).steps[-1]
    assert found["pixels"] == len(valid)
    assert found["invalid_pixels"] == len(x) - len(valid) > 0
    np.testing.assert_allclose(found["explained_variance_ratio"], theirs.explained_variance_ratio_, rtol=1e-5)
    np.testing.assert_allclose(found["explained_variance"], theirs.explained_variance_, rtol=1e-5)
    cosines = np.abs((ours.loadings * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    assert {"seconds", "peak_memory", "startup_seconds", "digest"} <= found.keys()


def test_a_transform_is_the_recipe_on_every_pixel_and_carries_the_rest(scene, tmp_path):
    fit(scene, str(tmp_path / "recipe"), steps="vsn,pca=3,scale")
    found = transform(str(tmp_path / "recipe"), scene, str(tmp_path / "out"))
    recipe, out = Recipe.load(str(tmp_path / "recipe")), Scene.open(str(tmp_path / "out"))
    np.testing.assert_array_equal(spectra(str(tmp_path / "out")), recipe.apply(spectra(scene)))
    np.testing.assert_array_equal(out.labels(), Scene.open(scene).labels())
    assert out.classes() == Scene.open(scene).classes()
    assert out.attrs["recipe_digest"] == recipe.digest
    assert (out.spectral.name, out.spectral.values) == ("component", (1.0, 2.0, 3.0))
    assert found["invalid_pixels"] == int(np.isnan(spectra(scene)[:, 0]).sum())
    with xr.open_zarr(tmp_path / "out") as plain:
        assert plain.cube.dims == ("y", "x", "band")
        np.testing.assert_array_equal(plain.component, [1, 2, 3])
    valid = spectra(str(tmp_path / "out"))
    np.testing.assert_allclose(np.nanstd(valid, axis=0, ddof=1), 1, rtol=1e-3)


def test_a_transform_that_was_interrupted_resumes_to_the_same_product(scene, tmp_path, monkeypatch):
    fit(scene, str(tmp_path / "recipe"), steps="snv")
    whole = transform(str(tmp_path / "recipe"), scene, str(tmp_path / "whole"))
    right, calls = transform_module._write_row, []

    def fails_once(*args):
        calls.append(args[-1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(transform_module, "_write_row", fails_once)
    with pytest.raises(KeyboardInterrupt):
        transform(str(tmp_path / "recipe"), scene, str(tmp_path / "out"))
    with pytest.raises(UserError, match="writing"):
        Scene.open(str(tmp_path / "out"))
    monkeypatch.setattr(transform_module, "_write_row", right)
    again = transform(str(tmp_path / "recipe"), scene, str(tmp_path / "out"))
    assert again["pixels"] == whole["pixels"]
    assert Scene.open(str(tmp_path / "out")).digest == Scene.open(str(tmp_path / "whole")).digest


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 2500), max_size=4))
def test_rows_split_in_any_way_give_the_same_bits(scene, cuts):
    x = spectra(scene)[:2500]
    recipe = everything(scene)
    parts = [recipe.apply(part) for part in np.split(x, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), recipe.apply(x))


KEPT = {}


def everything(url):
    """Return a recipe of every kind of step, fitted once."""
    if url not in KEPT:
        KEPT[url] = fitted(url, "crop=420:980,drop=#5,sg=5:2:1,minmax,vsn,pca=3,scale")
    return KEPT[url]


def test_a_chain_of_steps_is_what_numpy_makes_of_it(scene):
    x = spectra(scene)
    x = x[np.isfinite(x).all(axis=1)].astype(np.float64)
    nm = np.asarray(Scene.open(scene).spectral.values)
    kept = (nm >= 450) & (nm <= 950)
    smooth = savgol_filter(x[:, kept], 5, 2, deriv=1, delta=nm[1] - nm[0], axis=1, mode="interp")
    expected = snv(smooth)
    found = fitted(scene, "crop=450:950,sg=5:2:1,snv").apply(x.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_saving_and_loading_keeps_every_bit_and_no_pickle(scene, tmp_path):
    recipe = everything(scene)
    recipe.save(str(tmp_path / "r"))
    again = Recipe.load(str(tmp_path / "r"))
    x = spectra(scene)
    np.testing.assert_array_equal(again.apply(x), recipe.apply(x))
    assert (again.digest, again.text, again.axis_out) == (recipe.digest, recipe.text, recipe.axis_out)
    with np.load(tmp_path / "r" / "arrays.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "fi" for name in stored.files)
    assert {p.name for p in (tmp_path / "r").iterdir()} == {"recipe.json", "arrays.npz"}


def test_the_digest_changes_with_any_number(scene, tmp_path):
    a, b = fitted(scene, "vsn,pca=3", seed=0), fitted(scene, "vsn,pca=3", seed=1)
    assert a.digest != b.digest
    assert a.digest == fitted(scene, "vsn,pca=3", seed=0).digest


def spoil_card(folder):
    card = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(card | {"format": 99}))


def spoil_arrays(folder):
    raw = bytearray((folder / "arrays.npz").read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (folder / "arrays.npz").write_bytes(raw)


def change_arrays(folder):
    with np.load(folder / "arrays.npz") as stored:
        arrays = {name: stored[name] * 1.5 if stored[name].dtype.kind == "f" else stored[name] for name in stored.files}
    np.savez(folder / "arrays.npz", **arrays)


def rename_operator(folder):
    card = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(card | {"operators": ["os.system"] * len(card["operators"])}))


def pickled_arrays(folder):
    np.savez(folder / "arrays.npz", **{"0.weights": np.array([{}], object)})


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_card,
        spoil_arrays,
        change_arrays,
        rename_operator,
        pickled_arrays,
        lambda f: (f / "arrays.npz").unlink(),
        lambda f: (f / "arrays.npz").write_bytes(b"not a zip"),
        lambda f: (f / "recipe.json").write_text("{"),
        lambda f: (f / "recipe.json").write_text("[1]"),
        lambda f: (f / "recipe.json").unlink(),
    ],
)
def test_a_folder_that_is_no_whole_recipe_is_refused(scene, tmp_path, spoil):
    fitted(scene, "vsn,pca=2").save(str(tmp_path))
    spoil(tmp_path)
    with pytest.raises(UserError, match="a recipe folder that `tilespec fit` wrote"):
        Recipe.load(str(tmp_path))


# Bad input


def test_other_bands_are_refused_with_both_numbers(scene, tmp_path, make_scene):
    fit(scene, str(tmp_path / "r"), steps="snv")
    other = make_scene(tmp_path / "other", 40, 40, 9)
    with pytest.raises(UserError, match=r"found 9 bands from 400 to 1000 nm; expected 24 bands"):
        transform(str(tmp_path / "r"), other, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def axis(shift=0.0, **changes):
    values = tuple((np.linspace(400, 1000, 24) + shift).tolist())
    return SpectralAxis(**({"name": "wavelength", "unit": "nm", "values": values} | changes))


def test_wavelengths_that_moved_are_refused_with_the_nearest_band(scene):
    recipe = fitted(scene, "snv")
    recipe.check(24, axis(0.3), "here")
    recipe.check(24, axis(2.6), "here")  # a tenth of the spacing of 26 nm
    recipe.check(24, None, "here")
    with pytest.raises(UserError, match=r"24 of 24 bands moved.*within 2.6.*nearest band here is"):
        recipe.check(24, axis(3.0), "here")
    with pytest.raises(UserError, match=r"wavenumber in cm-1.*wavelength in nm"):
        recipe.check(24, axis(name="wavenumber", unit="cm-1"), "here")


def test_nothing_is_read_when_the_steps_cannot_be(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(Scene, "_values", lambda *_: pytest.fail("a read"))
    for steps, match in [("pca=25", "at most 24"), ("vsn,nope", "unknown name"), ("crop=1:2", "no band")]:
        with pytest.raises(UserError, match=match):
            fit(scene, str(tmp_path / "r"), steps=steps)
    assert not (tmp_path / "r").exists()


def test_a_scene_of_nothing_but_nodata_is_refused(tmp_path, make_scene):
    empty = make_scene(tmp_path / "empty", 40, 40, 6, nan=1.0)
    with pytest.raises(UserError, match="every one is nodata or NaN"):
        fit(empty, str(tmp_path / "r"))


def test_a_nodata_tile_is_counted_and_changes_nothing_else(tmp_path, make_scene, monkeypatch):
    clean = make_scene(tmp_path / "clean", 64, 64, 8)
    x = spectra(clean)
    right = Scene._values

    def holed(self, stored, roi, room):
        values = right(self, stored, roi, room)
        hole = Roi(y0=0, y1=32, x0=0, x1=32)
        values[max(hole.y0 - roi.y0, 0) : max(hole.y1 - roi.y0, 0), max(-roi.x0, 0) : max(hole.x1 - roi.x0, 0)] = np.nan
        return values

    monkeypatch.setattr(Scene, "_values", holed)
    found = fit(clean, str(tmp_path / "r"), steps="snv,pca=2")
    left = snv(x.reshape(64, 64, 8).astype(np.float64))
    mask = np.ones((64, 64), bool)
    mask[:32, :32] = False
    theirs = PCA(2, svd_solver="covariance_eigh").fit(snv(x.astype(np.float64))[mask.ravel()])
    assert left.shape == (64, 64, 8)
    assert found["invalid_pixels"] == 1024
    np.testing.assert_allclose(found["explained_variance"], theirs.explained_variance_, rtol=1e-5)


def test_bands_that_are_nan_throughout_are_named_as_the_way_out(tmp_path, make_scene, monkeypatch):
    scene = make_scene(tmp_path / "s", 40, 40, 8)
    right = Scene._values

    def dead(self, stored, roi, room):
        values = right(self, stored, roi, room)
        values[:, :, 2] = np.nan
        return values

    monkeypatch.setattr(Scene, "_values", dead)
    with pytest.raises(UserError, match="drop=FROM:TO"):
        fit(scene, str(tmp_path / "r"), steps="snv,pca=2")
    assert fit(scene, str(tmp_path / "r"), steps="drop=#2,snv,pca=2")["pixels"] == 1600


def test_constant_bands_are_counted(tmp_path, make_scene, monkeypatch):
    scene = make_scene(tmp_path / "s", 40, 40, 8)
    right = Scene._values

    def stuck(self, stored, roi, room):
        values = right(self, stored, roi, room)
        values[:, :, 3] = 0.25
        return values

    monkeypatch.setattr(Scene, "_values", stuck)
    assert fit(scene, str(tmp_path / "a"), steps="pca=2")["constant_bands"] == 1
    assert fit(scene, str(tmp_path / "b"), steps="minmax,pca=2")["constant_bands"] == 1
    assert np.isfinite(Recipe.load(str(tmp_path / "b")).apply(spectra(scene))).all()


# Regions, samples, plans


def test_a_region_is_all_that_a_fit_sees(scene, tmp_path):
    roi = Roi(y0=33, y1=101, x0=7, x1=60)
    found = fit(scene, str(tmp_path / "r"), steps="pca=2", rows="33:101", cols="7:60")
    x = spectra(scene, roi)
    valid = x[np.isfinite(x).all(axis=1)]
    assert found["pixels"] == len(valid)
    variance = PCA(2, svd_solver="covariance_eigh").fit(valid.astype(np.float64)).explained_variance_
    np.testing.assert_allclose(found["explained_variance"], variance, rtol=1e-5)


def test_several_scenes_are_one_set_of_pixels(tmp_path, make_scene):
    urls = [make_scene(tmp_path / name, 50, 40, 8, seed=seed) for seed, name in enumerate("ab")]
    found = fit(urls, str(tmp_path / "r"), steps="pca=2")
    x = np.concatenate([spectra(url) for url in urls]).astype(np.float64)
    theirs = PCA(2, svd_solver="covariance_eigh").fit(x)
    np.testing.assert_allclose(found["explained_variance"], theirs.explained_variance_, rtol=1e-5)


def test_scenes_of_different_bands_are_refused(tmp_path, make_scene):
    urls = [make_scene(tmp_path / str(bands), 40, 40, bands) for bands in (8, 9)]
    with pytest.raises(UserError, match="9 bands"):
        fit(urls, str(tmp_path / "r"), steps="pca=2")


@settings(deadline=None)
@given(y0=st.integers(0, 149), x0=st.integers(0, 89), height=st.integers(1, 150), width=st.integers(1, 90))
def test_blocks_cover_a_region_once(scene, y0, x0, height, width):
    opened = Scene.open(scene)
    roi = Roi(y0=y0, y1=min(y0 + height, 150), x0=x0, x1=min(x0 + width, 90))
    seen = np.zeros((150, 90), int)
    for block in blocks(opened, roi):
        seen[block.roi.slices] += 1
    assert (seen[roi.slices] == 1).all()
    assert seen.sum() == roi.shape[0] * roi.shape[1]


def test_a_sample_holds_valid_pixels_of_the_scene_and_the_seed_decides_them(scene):
    parts = blocks(Scene.open(scene), Scene.open(scene).roi)
    a, b, c = sample(parts, seed=1), sample(parts, seed=1), sample(parts, seed=2)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert len(a) == passes.SAMPLE
    rows = {row.tobytes() for row in spectra(scene)}
    assert np.isfinite(a).all()
    assert all(row.tobytes() in rows for row in a)


def test_a_sample_of_a_scene_that_is_mostly_nodata_is_still_full(tmp_path, make_scene):
    url = make_scene(tmp_path / "s", 300, 300, 4, nan=0.97)
    opened = Scene.open(url)
    assert len(sample(blocks(opened, opened.roi), seed=0, size=300)) == 300


def test_a_dry_run_plans_the_passes_and_writes_nothing(scene, tmp_path):
    planned = fit(scene, str(tmp_path / "r"), steps="minmax,vsn,pca=4,scale", dry_run=True)
    assert (planned["passes"], planned["bands_in"], planned["bands_out"]) == (2, 24, 4)
    assert planned["bytes_to_read"] == 2 * 150 * 90 * 24 * 4
    fit(scene, str(tmp_path / "r"), steps="snv")
    planned = transform(str(tmp_path / "r"), scene, str(tmp_path / "out"), dry_run=True)
    assert planned["shape"] == [150, 90, 24]
    assert not (tmp_path / "out").exists()


def test_a_fit_reads_the_cube_once_for_every_pass_and_little_for_the_sample(tmp_path, make_scene, monkeypatch):
    scene = make_scene(tmp_path / "s", 300, 300, 4, chunk=32)
    right, pixels = Scene._values, []
    monkeypatch.setattr(passes, "SPREAD", 2)

    def counted(self, stored, roi, room):
        pixels.append(roi.shape[0] * roi.shape[1])
        return right(self, stored, roi, room)

    monkeypatch.setattr(Scene, "_values", counted)
    fit(scene, str(tmp_path / "r"), steps="snv,pca=2,scale")
    checked = 3  # blocks of which the self-check looks at some pixels
    assert sum(pixels[2:-checked]) == 300 * 300


def test_the_empty_recipe_gives_what_it_takes(scene):
    opened = Scene.open(scene)
    recipe = Recipe.empty(24, opened.spectral)
    x = spectra(scene)
    np.testing.assert_array_equal(recipe.apply(x), x)
    assert (recipe.bands_out, recipe.axis_out) == (24, opened.spectral)


def test_integer_scenes_are_fitted_in_reflectance(tmp_path, make_scene):
    url = make_scene(tmp_path / "s", 64, 64, 8, dtype="uint16", nan=0.05)
    found = fit(url, str(tmp_path / "r"), steps="pca=2")
    x = spectra(url)
    valid = x[np.isfinite(x).all(axis=1)].astype(np.float64)
    theirs = PCA(2, svd_solver="covariance_eigh").fit(valid)
    np.testing.assert_allclose(found["explained_variance"], theirs.explained_variance_, rtol=1e-5)


def test_workers_change_no_bit(scene, tmp_path):
    alone = fitted(scene, "minmax,vsn,pca=3")
    alone.save(str(tmp_path / "r"))
    transform(str(tmp_path / "r"), scene, str(tmp_path / "alone"))
    with connect(2, None) as client, locked(str(tmp_path / "two")) as hold:
        assert fitted(scene, "minmax,vsn,pca=3", client=client).digest == alone.digest
        opened = Scene.open(scene)
        bands = Bands(count=3, axis=alone.axis_out)
        product = transformed(opened, bands, str(tmp_path / "two"), alone)
        write_scene(opened, alone.steps, product, hold=hold, client=client)
    assert Scene.open(str(tmp_path / "two")).digest == Scene.open(str(tmp_path / "alone")).digest


@pytest.mark.parametrize("where", [0, -1])
def test_a_damaged_object_is_never_transformed(tmp_path, make_scene, where):
    url = make_scene(tmp_path / "s", 40, 30, 8, chunk=128)
    fit(url, str(tmp_path / "r"), steps="snv,pca=2")
    path = tmp_path / "s" / "cube" / "c" / "0" / "0" / "0"
    whole = path.read_bytes()
    path.write_bytes(bytes([*whole[:where], whole[where] ^ 1, *whole[where:][1:]]))
    with pytest.raises(UserError, match="damaged object"):
        transform(str(tmp_path / "r"), url, str(tmp_path / "out"))
    path.write_bytes(whole)
    assert transform(str(tmp_path / "r"), url, str(tmp_path / "out"))["pixels"] == 1200


@pytest.mark.parametrize("chunk", [24, 50])
@pytest.mark.parametrize("steps", ["mean", "snv,pca=2"])
def test_a_scene_in_other_objects_gives_the_same(tmp_path, make_scene, chunk, steps):
    urls = [make_scene(tmp_path / name, 150, 140, 8, chunk=edge) for name, edge in (("a", 128), ("b", chunk))]
    fit(urls[0], str(tmp_path / "r"), steps=steps)
    for url in urls:
        transform(str(tmp_path / "r"), url, f"{url}.out")
    a, b = (Scene.open(f"{url}.out") for url in urls)
    np.testing.assert_array_equal(a.read(a.roi), b.read(b.roi))
    np.testing.assert_array_equal(
        a.read(a.roi).reshape(-1, a.shape[2]), Recipe.load(str(tmp_path / "r")).apply(spectra(urls[0]))
    )
