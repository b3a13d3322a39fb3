"""Figures of spectra: NumPy over whole arrays and colour-science as oracles; what is left out changes nothing."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from spectral_scenes import NM, write_cube
from stored_predictions import write_field

from tilespec.core.errors import UserError
from tilespec.evaluate.evaluate import evaluate
from tilespec.evaluate.metrics.spectral_errors import SpectralErrors
from tilespec.storage.layout import layer_spec
from tilespec.storage.product import Product

reals = st.floats(-100, 100, width=32).map(lambda v: np.float32(round(v, 2)))
SPECTRA = (
    "rmse",
    "rmse_pixel",
    "rmse_relative",
    "rmse_relative_mean",
    "gfc",
    "gfc_very_good",
    "gfc_exact",
    "mrae",
    "psnr",
    "psnr_peak",
    "sam",
    "delta_e",
    "delta_e_std",
)


@st.composite
def blocks(draw, least=1):
    """Truth and prediction with holes and zeros."""
    shape = (2, draw(st.integers(least, 6)), draw(st.integers(least, 6)), draw(st.integers(1, 5)))
    return draw(arrays(np.float32, shape, elements=reals | st.sampled_from([np.float32(np.nan), np.float32(0)])))


def of(block, floor=0.0):
    return SpectralErrors.zero(floor).of(block)


def whole_array(block, floor=0.0):
    """The formulas of systems.md 4.5 and of NTIRE, pixel after pixel."""
    truth, predicted = (plane.reshape(-1, block.shape[3]).astype(np.float64) for plane in block)
    rows = {name: [] for name in ("rmse_pixel", "rmse_relative", "rmse_relative_mean", "gfc", "mrae")}
    pixels = left = 0
    for s, p in zip(truth, predicted, strict=True):
        if not (np.isfinite(s).all() and np.isfinite(p).all()):
            continue
        pixels, over = pixels + 1, s > floor
        left += int((~over).sum())
        rmse = np.sqrt(((s - p) ** 2).mean())
        rows["rmse_pixel"].append(rmse)
        rows["mrae"].extend(np.abs(s - p)[over] / s[over])
        if over.any():
            rows["rmse_relative"].append(np.sqrt((((s - p)[over] / s[over]) ** 2).mean()))
        if s.mean() > floor:
            rows["rmse_relative_mean"].append(rmse / s.mean())
        if s.any() and len(s) > 1:
            norm = np.sqrt((s**2).sum()) * np.sqrt((p**2).sum())
            rows["gfc"].append(abs((s * p).sum()) / norm if norm else 0.0)
    found = {name: np.mean(values) if values else None for name, values in rows.items()}
    return {**found, "pixels": pixels, "ratios_left_out": left}


@given(block=blocks(), floor=st.sampled_from([0.0, 0.5, 30.0]))
def test_the_figures_are_those_of_whole_arrays(block, floor):
    found = of(block, floor).finish()
    for name, value in whole_array(block, floor).items():
        assert found[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), name


@given(block=blocks(least=2), cut=st.integers(1, 5), axis=st.sampled_from([1, 2]))
def test_two_blocks_add_to_both(block, cut, axis):
    cut = min(cut, block.shape[axis] - 1)
    a, b = np.split(block, [cut], axis=axis)
    both, whole = of(a) + of(b), of(block)
    assert (both.counts == whole.counts).all()
    assert both.sums == pytest.approx(whole.sums, rel=1e-12, abs=1e-12)
    assert both.ratios == pytest.approx(whole.ratios, rel=1e-12, abs=1e-12)


@given(
    spectra=arrays(np.float32, (3, 4, 6), elements=st.floats(0.0625, 1, width=32)),
    gain=st.sampled_from([0.125, 0.5, 2.0, 8.0]),
)
def test_goodness_of_fit_knows_no_brightness_and_an_offset_of_1_is_an_rmse_of_1(spectra, gain):
    found = of(np.stack([spectra, spectra * np.float32(gain)])).finish()
    assert found["gfc"] == pytest.approx(1, abs=1e-12)
    assert (found["gfc_very_good"], found["gfc_exact"]) == (1, 1)
    lifted = of(np.stack([spectra, spectra + np.float32(1)])).finish()
    assert lifted["rmse_pixel"] == pytest.approx(1, abs=1e-6)


def test_a_mean_of_roots_is_not_the_root_of_a_mean():
    truth = np.full((1, 2, 3), 10, np.float32)
    predicted = truth + np.array([[[1], [3]]], np.float32)
    assert of(np.stack([truth, predicted])).finish()["rmse_pixel"] == pytest.approx(2)  # not sqrt(5)


def test_shares_of_good_fits_are_of_pixels():
    truth = np.tile(np.array([1, 0], np.float32), (1, 4, 1))
    angles = np.arccos([1, 0.99995, 0.9995, 0.9])
    predicted = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)[None]
    found = of(np.stack([truth, predicted])).finish()
    assert (found["gfc_very_good"], found["gfc_exact"]) == (0.75, 0.5)
    nothing = of(np.stack([truth, np.zeros_like(truth)])).finish()
    assert (nothing["gfc"], nothing["gfc_very_good"]) == (0, 0)


@pytest.fixture(scope="module")
def spectra():
    """Return smooth true spectra of 0.05 to 0.9, and predictions with errors, some of them below 0."""
    rng = np.random.default_rng(4)
    knots = rng.uniform(0.05, 0.9, (12, 14, 6))
    places = np.linspace(0, 5, len(NM))
    truth = np.stack([np.interp(places, np.arange(6), k) for k in knots.reshape(-1, 6)]).reshape(12, 14, -1)
    predicted = truth + rng.normal(0, 0.05, truth.shape)
    return truth.astype(np.float32), predicted.astype(np.float32)


def judged(tmp_path, truth, predicted, *, region=None, **options):
    pred = write_cube(tmp_path / "p", predicted)
    return evaluate(pred, write_cube(tmp_path / "t", truth, mask=region), patch_size=5, patches=10, **options)


def figures(result):
    return {name: result[name] for name in SPECTRA if result[name] is not None}


def test_every_figure_is_in_the_result_and_kept(tmp_path, spectra):
    result = judged(tmp_path, *spectra)
    expected = whole_array(np.stack(spectra))
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=1e-9)
    assert result["psnr_peak"] is None
    assert result["notes"] == []
    assert json.loads((tmp_path / "p.tilespec" / "evaluation.json").read_text()) == result


def test_colours_differ_as_colour_science_says(tmp_path, spectra):
    colour = pytest.importorskip("colour", reason="needs the extra [color]")
    from tilespec.spectra.colour.observer import Observer

    observer = Observer.at(NM, "D65")
    lab = [observer.lab(np.clip(plane.reshape(-1, len(NM)), 0, None).astype(np.float64)) for plane in spectra]
    expected = colour.difference.delta_E_CIE2000(*lab)
    result = judged(tmp_path, *spectra)
    assert result["delta_e"] == pytest.approx(expected.mean(), rel=1e-4)
    assert result["delta_e_std"] == pytest.approx(expected.std(), rel=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_black_pixels_change_no_figure(tmp_path, spectra, axis):
    pytest.importorskip("colour", reason="needs the extra [color]")
    plain = judged(tmp_path / "plain", *spectra, peak=1.0)
    padded = [np.concatenate([p, fill * np.ones_like(p)], axis=axis) for p, fill in zip(spectra, (0, 0.3), strict=True)]
    black = judged(tmp_path / "black", *padded, peak=1.0)
    assert figures(black) == pytest.approx(figures(plain), rel=1e-9)
    assert (plain["pixels_black"], black["pixels_black"]) == (0, spectra[0][..., 0].size)
    assert black["channels"]["rmse"] == pytest.approx(plain["channels"]["rmse"], rel=1e-12)
    kept = judged(tmp_path / "kept", *padded, keep_black=True)
    assert kept["rmse_pixel"] > 0.1
    assert kept["pixels_black"] == 0


def test_pixels_outside_a_mask_or_without_data_change_no_figure(tmp_path, spectra):
    truth, predicted = (plane.copy() for plane in spectra)
    mask = np.ones(truth.shape[:2], bool)
    mask[:, 9:] = False
    inside = figures(judged(tmp_path / "in", truth[:, :9], predicted[:, :9]))
    assert figures(judged(tmp_path / "mask", truth, predicted, region=mask, mask="region")) == pytest.approx(inside)


def test_a_peak_brings_both_to_a_scale_of_255(tmp_path, spectra):
    counts = [np.round(plane * 4095) for plane in spectra]
    scaled = judged(tmp_path / "a", *counts, peak=4095)
    by_hand = judged(tmp_path / "b", *(plane * np.float32(255 / 4095) for plane in counts))
    for name in ("rmse", "rmse_pixel", "rmse_relative", "gfc", "mrae", "mae", "sam"):
        assert scaled[name] == pytest.approx(by_hand[name], rel=1e-5), name
    assert scaled["psnr_peak"] == pytest.approx(20 * np.log10(255 / scaled["rmse"]))
    reflectance = judged(tmp_path / "c", *(plane / np.float32(4095) for plane in counts))
    if reflectance["delta_e"] is not None:
        assert scaled["delta_e"] == pytest.approx(reflectance["delta_e"], rel=1e-5)


def test_zero_labels_leave_relative_errors_finite_and_are_counted(tmp_path, spectra):
    truth, predicted = (plane.copy() for plane in spectra)
    truth[3, 4, :7] = 0
    truth[5, 5, 2] = -0.01
    result = judged(tmp_path / "zero", truth, predicted)
    assert np.isfinite([result["mrae"], result["rmse_relative"]]).all()
    assert result["mrae"] < 1
    assert result["ratios_left_out"] == 8
    assert any("8 true values are not above the floor" in note for note in result["notes"])
    floored = judged(tmp_path / "floor", truth * 1000, predicted * 1000, floor=100.0)
    assert floored["ratios_left_out"] == (truth * np.float32(1000) <= 100).sum()


def test_one_quantity_that_is_0_is_a_value(tmp_path):
    truth = np.zeros((12, 12), np.float32)
    result = evaluate(
        write_field(tmp_path / "p", truth + 1),
        write_field(tmp_path / "t", truth, "content"),
        layer="content",
        patch_size=5,
    )
    assert (result["rmse_pixel"], result["pixels"], result["gfc"], result["pixels_black"]) == (1, 144, None, 0)


def test_colours_are_left_out_with_a_reason(tmp_path, spectra, monkeypatch):
    truth, predicted = spectra
    pytest.importorskip("colour", reason="needs the extra [color]")
    bright = judged(tmp_path / "bright", truth * 4095, predicted * 4095)
    assert bright["delta_e"] is None
    assert any("--peak says what white is" in note for note in bright["notes"])
    infrared = tuple(np.linspace(900, 1700, len(NM)).tolist())
    stores = [write_cube(tmp_path / name, p, nm=infrared) for name, p in (("ip", predicted), ("it", truth))]
    result = evaluate(*stores, patch_size=5)
    assert result["delta_e"] is None
    assert any("no colour difference" in note and "700 nm" in note for note in result["notes"])
    assert judged(tmp_path / "none", truth, predicted, illuminant="none")["notes"] == []
    with pytest.raises(UserError, match="D66"):
        judged(tmp_path / "unknown", truth, predicted, illuminant="D66")
    from tilespec.spectra.colour import cie_tables

    cie_tables._observer.cache_clear()
    cie_tables._illuminant.cache_clear()
    monkeypatch.setitem(sys.modules, "colour", None)
    without = judged(tmp_path / "without", truth, predicted)
    assert without["delta_e"] is None
    assert "tilespec[color]" in without["notes"][0]


def test_intervals_are_of_spectra_too_and_pieces_change_nothing(tmp_path, spectra, monkeypatch):
    one = judged(tmp_path / "a", *spectra, bootstrap=50, blocks=2, block_size=4)
    for name in ("rmse_pixel", "rmse_relative", "gfc", "mrae"):
        low, high = one["bootstrap"]["intervals"][name]
        assert low < one[name] < high
        assert name in one["folds"]["mean"]
    assert sum(line["pixels"] for line in one["folds"]["scores"]) == one["pixels"]
    for module in ("metrics.channel_errors", "colours"):
        monkeypatch.setattr(f"tilespec.evaluate.{module}.PIECE", 100)
    other = judged(tmp_path / "b", *spectra)
    assert figures(other) == pytest.approx(figures(one), rel=1e-9)


def test_a_mask_counts_for_classes_and_options_of_values_do_not(tmp_path, make_scene):
    rng = np.random.default_rng(0)
    scene = make_scene(tmp_path / "s", 40, 40, 4)
    from stored_predictions import write_map

    truth, region = rng.integers(0, 2, (40, 40)), np.zeros((40, 40), np.uint8)
    region[:20] = 1
    pred = write_map(tmp_path / "p", np.where(region, truth, 1 - truth))
    labels = write_map(tmp_path / "t", truth, "labels")
    assert evaluate(pred, labels, patch_size=9)["oa"] == 0.5
    both = write_two(tmp_path / "two", truth, region)
    masked = evaluate(pred, both, patch_size=9, mask="region")
    assert (masked["oa"], masked["labelled"], masked["pixels_masked"]) == (1.0, 800, 800)
    with pytest.raises(UserError, match="--peak"):
        evaluate(pred, labels, patch_size=9, peak=255)
    with pytest.raises(UserError, match="nothing"):
        evaluate(pred, labels, patch_size=9, mask="nothing")
    with pytest.raises(UserError, match="--peak"):
        evaluate(scene, scene, patch_size=9, peak=0)


def write_two(path, truth, region):
    """Write labels and a layer ``region`` into one store."""
    planes = {"labels": truth.astype(np.uint8), "region": region}
    names = {"labels": ("background", "plant"), "region": ()}
    specs = [layer_spec(name, plane.shape, classes=names[name]) for name, plane in planes.items()]
    product = Product.open(str(path), specs, settings={"two": 1}, attrs={}, constants={})
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {name: plane[y0:y1] for name, plane in planes.items()})
    product.finish()
    return str(path)
