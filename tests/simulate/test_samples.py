"""Simulated samples of meat: hidden maps with honest means, the same pixels always, spectra like measured ones."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import After, StoppedError, stop
from locations import DATA, real
from scipy.signal import savgol_filter
from scipy.stats import spearmanr
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import cross_val_predict

from tilespec.core.errors import UserError
from tilespec.simulate.constituents import CONSTITUENTS, absorptivity, tray, warming, wavelengths
from tilespec.simulate.layout import EDGE
from tilespec.simulate.references import references_path, write_references
from tilespec.simulate.sample_layout import ADIPOSE, SampleLayout, sample_traits
from tilespec.simulate.samples import ELECTRONS, READ_NOISE, endmembers, marbling, render
from tilespec.simulate.simulate import simulate
from tilespec.storage.references import References
from tilespec.storage.samples import samples_of
from tilespec.storage.scene import Scene

SMALL = {"kind": "samples", "rows": 200, "cols": 300, "bands": 24, "samples": 5}
FIRST = [35.297, 50.301, 13.626]
"""The contents of the first sample in percent."""


def made(folder, **options):
    out = str(folder / "tray.zarr")
    return out, simulate(out, **{**SMALL, **options})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return made(tmp_path_factory.mktemp("simulated"), workers=2)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return the mean absorbance and the mean contents of 40 samples, and the wavelengths."""
    out, _ = made(tmp_path_factory.mktemp("many"), rows=5 * 100, cols=8 * 100, bands=101, samples=40, seed=1)
    data = read(out)
    spectra = np.stack([data["cube"][data["sample"] == k + 1].mean(0) for k in range(40)])
    return -np.log10(spectra.astype(np.float64)), References.read(references_path(out)).values, wavelengths(101)


def read(out):
    with xr.open_zarr(out) as data:
        return {name: data[name].to_numpy() for name in ("cube", "sample", *CONSTITUENTS)}


def slopes(spectra, contents):
    """Return how the shape of spectra (second derivative, SNV) changes with the content of fat."""
    curved = savgol_filter(spectra, 21, 3, deriv=2, axis=1)
    shape = (curved - curved.mean(1, keepdims=True)) / curved.std(1, keepdims=True)
    return shape, np.linalg.lstsq(np.column_stack([contents[:, 0], np.ones(len(contents))]), shape, rcond=None)[0][0]


def test_the_store_is_a_scene_with_samples_and_maps_in_percent(small):
    out, told = small
    scene, data = Scene.open(out), read(out)
    assert scene.shape == (200, 300, 24)
    assert (scene.spectral.values[0], scene.spectral.values[-1]) == (850, 1700)
    assert set(np.unique(data["sample"])) == set(range(6))
    assert told["sample_pixels"] == np.count_nonzero(data["sample"])
    for name in CONSTITUENTS:
        np.testing.assert_array_equal(np.isnan(data[name]), data["sample"] == 0)
        assert scene.plane(name).dtype == np.float32
    with xr.open_zarr(out) as opened:
        assert opened["fat"].attrs["units"] == "%"
    assert 0 < data["cube"][data["sample"] > 0].mean() < 1
    assert data["cube"][data["sample"] == 0].mean() < 0.08


def test_the_references_are_the_means_of_the_maps_over_the_samples(small):
    out, told = small
    table, data = References.read(told["references"]), read(out)
    assert (table.quantities, table.units) == (CONSTITUENTS, ("%",) * 3)
    assert table.samples == ("1", "2", "3", "4", "5")
    for row, number in zip(table.values, range(1, 6), strict=True):
        means = [data[name][data["sample"] == number].mean(dtype=np.float64) for name in CONSTITUENTS]
        np.testing.assert_allclose(row, means, atol=6e-7)
    for sample in samples_of([Scene.open(out)], table, layer="sample"):
        np.testing.assert_array_equal(sample.mask(sample.roi), data["sample"][sample.roi.slices] == int(sample.id))


def test_the_samples_are_frozen_to_a_tolerance(small):
    """A change here is another scene for the same seed: raise VERSION, and measure the methods again."""
    np.testing.assert_allclose(References.read(small[1]["references"]).values[0], FIRST, atol=0.01)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_bytes_do_not_depend_on_the_number_of_workers(small, tmp_path, workers):
    out, told = made(tmp_path, workers=workers)
    assert Scene.open(out).digest == Scene.open(small[0]).digest
    assert references_path(out).read_text() == references_path(small[0]).read_text()
    assert told["memory"] > 0


def test_a_block_rendered_alone_is_that_part_of_the_scene(small):
    block = render(SampleLayout.of(seed=0, **{k: v for k, v in SMALL.items() if k != "kind"}), 1, 2)
    part, data = np.s_[EDGE:200, 2 * EDGE : 300], read(small[0])
    np.testing.assert_array_equal(block.sample[: 200 - EDGE, : 300 - 2 * EDGE], data["sample"][part])
    for name in CONSTITUENTS:
        np.testing.assert_array_equal(block.contents[name][: 200 - EDGE, : 300 - 2 * EDGE], data[name][part])


def test_a_longer_tray_with_the_same_cells_begins_with_the_shorter_one():
    short = SampleLayout.of(seed=3, rows=256, cols=256, bands=5, samples=4)
    long = SampleLayout.of(seed=3, rows=512, cols=256, bands=5, samples=8)
    assert short.cell == long.cell
    np.testing.assert_array_equal(render(short, 0, 1).reflectance, render(long, 0, 1).reflectance)


def test_an_interrupted_run_resumes_to_the_same_bytes(small, tmp_path):
    out = str(tmp_path / "tray.zarr")
    with pytest.raises(StoppedError):
        simulate(out, **SMALL, progress=After(0, stop))
    assert not references_path(out).exists()
    simulate(out, **SMALL)
    assert Scene.open(out).digest == Scene.open(small[0]).digest
    references_path(out).unlink()
    write_references(f"{out}/")
    assert references_path(out).read_text() == references_path(small[0]).read_text()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**61), st.integers(1, 60))
def test_contents_are_percents_whose_sum_is_at_most_100(seed, samples):
    block = render(SampleLayout.of(seed=seed, rows=128, cols=128, bands=2, samples=samples), 0, 0)
    inside = block.sample > 0
    contents = np.stack([block.contents[name][inside] for name in CONSTITUENTS])
    assert contents.min() >= 0
    assert contents[0].max() <= ADIPOSE
    assert contents.sum(0).max() <= 100
    assert contents.sum(0).min() > 97
    assert set(np.unique(block.sample)) == set(range(samples + 1))
    assert 0 < block.reflectance.min() <= block.reflectance.max() < 1


def test_without_noise_absorbance_is_linear_in_the_contents():
    """Unmixing by least squares onto the constituents returns each pixel's contents, up to its path length."""
    block = render(SampleLayout.of(seed=2, rows=128, cols=128, bands=80, samples=4), 0, 0)
    inside = block.sample > 0
    absorbance = -np.log10(block.reflectance[inside].astype(np.float64))
    weights, residual, *_ = np.linalg.lstsq(endmembers(80)[:6].T.astype(np.float64), absorbance.T, rcond=None)
    contents = np.stack([block.contents[name][inside] for name in CONSTITUENTS])
    np.testing.assert_allclose(weights[:3] / weights[:3].sum(0), contents / contents.sum(0), atol=1e-3)
    path = 100 * weights[1] / contents[1]
    assert 1.0 < path.min() < path.max() < 2.1
    assert residual.max() < 1e-9


def test_noise_grows_with_the_signal(small):
    layout = SampleLayout.of(seed=0, **{k: v for k, v in SMALL.items() if k != "kind"})
    clean = render(layout, 0, 0).reflectance
    error = read(small[0])["cube"][:128, :128] - clean
    for dark, light in ((0.03, 0.07), (0.3, 0.6)):
        chosen = (clean > dark) & (clean < light)
        expected = np.sqrt(clean[chosen].mean() / ELECTRONS + (READ_NOISE / ELECTRONS) ** 2)
        assert error[chosen].std() == pytest.approx(expected, rel=0.03)


def test_the_maps_vary_much_within_a_sample_and_smoothly():
    layout = SampleLayout.of(seed=1, rows=384, cols=384, bands=1, samples=9)
    blocks = [[render(layout, row, col) for col in range(3)] for row in range(3)]
    fat = np.block([[block.contents["fat"] for block in row] for row in blocks])
    sample = np.block([[block.sample for block in row] for row in blocks])
    within = np.mean([np.var(fat[sample == k]) for k in range(1, 10)])
    step = np.diff(fat, axis=1)[(sample[:, 1:] == sample[:, :-1]) & (sample[:, 1:] > 0)]
    assert within > 100
    assert 0.5 * np.mean(step**2) < 0.1 * within


def test_marbling_is_centred_and_has_about_unit_spread():
    line = np.arange(0.5, 600)
    field = marbling(SampleLayout.of(seed=4, rows=600, cols=600, bands=1, samples=100), line, line)
    assert abs(field.mean()) < 0.15
    assert field.std() == pytest.approx(1, abs=0.1)


def test_mean_contents_are_those_of_meat_and_pls_finds_fat_well_but_not_perfectly(many):
    spectra, contents, _ = many
    fat = contents[:, 0]
    assert fat.min() < 4
    assert fat.max() > 40
    found = cross_val_predict(PLSRegression(6, scale=False), spectra, fat, cv=10).ravel()
    assert 0.9 < 1 - np.mean((found - fat) ** 2) / fat.var() < 0.999


def test_traits_are_drawn_from_the_number_and_an_empty_cell_has_no_sample():
    layout = SampleLayout.of(seed=5, rows=90, cols=90, bands=1, samples=8)
    fat = [one.lean + one.marbled * (ADIPOSE - one.lean) for one in (sample_traits(layout, k) for k in range(2000))]
    assert 1 <= min(fat) < 2
    assert 45 < max(fat) <= 58
    assert 10 < np.median(fat) < 20
    assert sample_traits(layout, 7).radius > 0 == sample_traits(layout, 8).radius


@pytest.mark.parametrize(
    ("name", "peak"), [("fat", 1210), ("fat", 930), ("water", 970), ("water", 1450), ("protein", 1510)]
)
def test_constituents_absorb_at_published_wavelengths(name, peak):
    nm = np.arange(peak - 20.0, peak + 21)
    assert abs(nm[absorptivity(name, nm).argmax()] - peak) <= 5


def test_warm_water_absorbs_at_shorter_wavelengths():
    nm = np.arange(1400.0, 1500)
    cold, warm = absorptivity("water", nm), absorptivity("water", nm) + warming(nm)
    assert nm[warm.argmax()] == nm[cold.argmax()] - 1
    assert (tray(nm) > 1).all()


@real
def test_absorbance_changes_with_fat_as_in_measured_meat(many):
    """Tecator: 215 samples of pork, 850 to 1050 nm (Borggaard and Thodberg 1992, Anal. Chem. 64, 545)."""
    spectra, contents, nm = many
    with np.load(DATA / "tecator_meat_nir" / "tecator.npz") as file:
        at, measured = file["wavelength_nm"], file["absorbance"].astype(np.float64)
        real_contents = file["chemistry"][:, [1, 0, 2]]
    ours = np.stack([np.interp(at, nm, one) for one in spectra])
    (shape, slope), (real_shape, real_slope) = slopes(ours, contents), slopes(measured, real_contents)
    assert np.corrcoef(slope, real_slope)[0, 1] > 0.85
    assert abs(at[slope.argmin()] - at[real_slope.argmin()]) <= 5
    fat_band = np.abs(at - 930).argmin()
    for shapes, values in ((shape, contents), (real_shape, real_contents)):
        assert np.corrcoef(shapes[:, fat_band], values[:, 0])[0, 1] < -0.9
    np.testing.assert_allclose(spearmanr(contents).statistic, spearmanr(real_contents).statistic, atol=0.15)
    low, high = real_contents.min(0), real_contents.max(0)
    assert np.mean((contents > low - 2) & (contents < high + 2)) > 0.95


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "stones"}, "--kind: found stones; expected one of plants, samples"),
        ({"raw": True}, "--raw: found an option of --kind plants, with --kind samples; expected options of samples"),
        ({"plants": 4}, "--plants"),
        ({"kind": "plants"}, "--samples"),
        ({"samples": 0}, "--samples: found 0; expected at least 1"),
        ({"rows": 20, "cols": 20}, "Give fewer samples"),
        ({"bands": 0}, "--bands"),
    ],
)
def test_what_is_impossible_is_refused(tmp_path, wrong, words):
    with pytest.raises(UserError, match=words):
        made(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_a_table_of_somebody_else_is_refused_and_replaced_on_request(tmp_path):
    table = tmp_path / "tray.zarr.references.csv"
    table.write_text("sample,fat\n1,2\n")
    with pytest.raises(UserError, match="a file that is there already"):
        made(tmp_path, rows=40, cols=60)
    assert table.read_text() == "sample,fat\n1,2\n"
    made(tmp_path, rows=40, cols=60, overwrite=True)
    assert len(References.read(table).samples) == 5


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path):
    plan = made(tmp_path, dry_run=True)[1]
    assert plan["bytes"] == 200 * 300 * (24 * 4 + 16)
    assert plan["references"].endswith("tray.zarr.references.csv")
    assert not list(tmp_path.iterdir())
