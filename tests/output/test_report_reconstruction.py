"""The report of reconstructed spectra: what it draws is what truth and predictions hold, on one scale."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from html_page import Page
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.core.types import SpectralAxis
from tilespec.evaluate.evaluate import evaluate
from tilespec.output.report.inputs import Runs
from tilespec.output.report.metamer_pairs import metamer_pair, of_metamers
from tilespec.output.report.overview import overview
from tilespec.output.report.page import report
from tilespec.output.report.plots import between, enlarged, limits, scale, shade
from tilespec.output.report.reconstructed import QUANTILES, chosen, reconstruction_sets
from tilespec.output.report.reconstruction import of_reconstructions
from tilespec.spectra.colour.metamers import metamers
from tilespec.storage.layout import constants, cube_spec
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

AXIS = SpectralAxis(name="wavelength", unit="nm", values=tuple(float(v) for v in range(400, 701, 10)))


def write_field(path, values, *, name="prediction", axis=AXIS, **attrs):
    shape = values.shape
    spec = replace(cube_spec(shape, "float32", spectral=axis), name=name, chunks=(16, 16, shape[2]))
    product = Product.open(
        str(path), [spec], settings={"field": [str(path), repr(attrs)]}, attrs=attrs, constants=constants(axis)
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {name: values[y0:y1].astype(np.float32)})
    product.finish()
    return str(path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return paths of a truth and of two predictions of it, of which ``good`` is nearer; and their values."""
    root, rng = tmp_path_factory.mktemp("pair"), np.random.default_rng(0)
    truth = np.clip(rng.random((40, 52, 1)) * np.linspace(0.2, 1, 31) + 0.1 * rng.random((40, 52, 31)), 0.05, None)
    values = {"truth": truth.astype(np.float32)}
    for name, error in (("bad", 0.2), ("good", 0.02)):
        size = error * np.linspace(0, 1, 40)[:, None, None] * rng.choice([-1, 1], truth.shape)
        values[name] = (values["truth"] + size).astype(np.float32)
    values["good"][5, 6] = np.nan
    paths = {"truth": write_field(root / "truth.zarr", values["truth"], name="cube", title="hand-made")}
    for name in ("bad", "good"):
        paths[name] = write_field(root / f"{name}.zarr", values[name], method=f"{name} method", task="reconstruct")
        evaluate(paths[name], paths["truth"], patches=4, patch_size=8, rows="8:40", illuminant="none")
    return paths, values


def section(paths, *names, asked=()):
    (found,) = of_reconstructions(Runs.open([paths[name] for name in names]), asked)
    return found


def test_the_page_shows_truth_errors_and_spectra(pair, tmp_path):
    paths, _ = pair
    result = report([paths["truth"], paths["bad"], paths["good"]], str(tmp_path / "r.html"), pixel=["3,4"])
    assert result["reconstructions"] == ["bad", "good"]
    assert "reconstruction-truth" in result["sections"]
    page = Page((tmp_path / "r.html").read_text())
    assert not page.open
    for text in ("Side by side", "Errors by band", "Spectra", "RMSE", "GFC", "hand-made", "E: row 3, column 4"):
        assert text in page.text
    assert page.text.index("good (good method)") < page.text.index("bad (bad method)"), "best first"
    assert all(a.get("src", "data:image/").startswith("data:image/") for _, a in page.elements)


def test_figures_are_those_of_the_evaluation(pair):
    paths, _ = pair
    table = section(paths, "truth", "bad", "good").tables[0]
    lines = {line[0]: dict(zip(table.head, line, strict=True)) for line in table.rows}
    for name in ("bad", "good"):
        scores = Runs.open([paths[name]]).fields[0].scores
        line = lines[f"{name} ({name} method)"]
        assert float(line["RMSE"]) == pytest.approx(scores["rmse"], rel=1e-3)
        assert float(line["SAM (°)"]) == pytest.approx(scores["sam"], rel=1e-2)
    assert table.best == (0,)
    assert "ΔE00" not in table.head, "nobody has it"


def test_maps_hold_the_error_of_each_pixel_and_one_scale(pair):
    paths, values = pair
    (found,) = reconstruction_sets(Runs.open([paths["truth"], paths["bad"], paths["good"]]))
    for one in found.reconstructions:
        error = np.sqrt(np.square(values[one.run.name] - values["truth"]).mean(axis=2))
        assert_allclose(one.errors, error, rtol=1e-5)
    row = next(r for r in section(paths, "truth", "bad", "good").rows if r.title == "Errors")
    brightest = []
    for picture, one in zip(row.pictures, found.reconstructions, strict=True):
        pixels = np.asarray(image_of(picture).convert("RGB"))
        y, x = np.unravel_index(np.nanargmax(one.errors), one.errors.shape)
        step = pixels.shape[0] // 40
        brightest.append(pixels[y * step, x * step])
    assert_array_equal(brightest[0], shade(1.0))
    assert brightest[1].astype(int).sum() < np.sum(shade(0.2)), "a tenth of the error is dark on the same scale"


def image_of(picture):
    import base64

    return Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2])))


def test_colours_are_stretched_as_the_truth_is(pair):
    paths, values = pair
    (found,) = reconstruction_sets(Runs.open([paths["truth"], paths["bad"], paths["good"]]))
    row = section(paths, "truth", "bad", "good").rows[0]
    assert [p.title for p in row.pictures] == ["Truth", "bad", "good"]
    bands, ends = list(found.bands), limits(values["truth"][..., list(found.bands)])
    for picture, name in zip(row.pictures[1:], ("bad", "good"), strict=True):
        wanted = enlarged(between(values[name][..., bands], ends))
        assert_array_equal(np.asarray(image_of(picture)), wanted)
    assert not np.asarray(image_of(row.pictures[2]))[5 * 10 : 6 * 10, 6 * 10 : 7 * 10].any(), "no data is black"


@pytest.mark.parametrize("chunk", [128, 16])
def test_every_nth_pixel_is_that_pixel(pair, monkeypatch, chunk):
    monkeypatch.setattr(
        "tilespec.output.report.reconstructed.CHUNK", chunk
    )  # several blocks, none a multiple of the stride
    paths, values = pair
    runs = Runs.open([paths["truth"], paths["good"]])
    (thin,) = reconstruction_sets(runs, side=9)
    assert thin.stride == 6
    error = np.sqrt(np.square(values["good"] - values["truth"]).mean(axis=2))
    assert_allclose(thin.reconstructions[0].errors, error[::6, ::6], rtol=1e-5)
    assert_array_equal(thin.colours, values["truth"][::6, ::6][..., list(thin.bands)])
    assert_array_equal(thin.sample, [values["truth"][place] for place in thin.places])
    assert sorted(thin.places) == [(y, x) for y in range(0, 40, 6) for x in range(0, 52, 6)]


def test_pixels_lie_at_the_quantiles_of_the_error(pair):
    paths, values = pair
    (found,) = reconstruction_sets(Runs.open([paths["truth"], paths["bad"]]))
    errors, pixels = found.reconstructions[0].errors, list(chosen(found))
    for (y, x), quantile in zip(pixels, QUANTILES, strict=True):
        wanted = np.quantile(errors, quantile)
        assert abs(errors[y, x] - wanted) == np.abs(errors - wanted).min()
    assert chosen(found) == chosen(found)
    truth, bad = found.spectra(*pixels[0])
    assert_array_equal(truth, values["truth"][pixels[0]])
    assert_array_equal(bad, values["bad"][pixels[0]])


def test_a_prediction_of_a_part_is_laid_on_its_place(pair, tmp_path):
    paths, values = pair
    part = write_field(tmp_path / "part.zarr", values["good"][8:24, 20:44], origin=[8, 20], task="reconstruct")
    (found,) = reconstruction_sets(Runs.open([paths["truth"], part]))
    assert (found.roi.y0, found.roi.x0) == (8, 20)
    error = np.sqrt(np.square(values["good"] - values["truth"]).mean(axis=2))
    assert_allclose(found.reconstructions[0].errors, error[8:24, 20:44], rtol=1e-5)
    truth, _ = found.spectra(10, 30)
    assert_array_equal(truth, values["truth"][10, 30])
    assert "row 10, column 30" in str(
        section({"t": paths["truth"], "p": part}, "t", "p", asked=[(10, 30), (0, 0)]).rows
    )
    assert "row 0, column 0" not in str(section({"t": paths["truth"], "p": part}, "t", "p", asked=[(0, 0)]).rows)


def test_a_prediction_without_a_truth_is_shown_as_a_scene(pair, tmp_path):
    paths, values = pair
    other = write_field(tmp_path / "other.zarr", values["good"][..., :7], axis=None, task="reconstruct")
    result = report([paths["truth"], other], str(tmp_path / "r.html"))
    assert "scene-other" in result["sections"]
    assert not [key for key in result["sections"] if key.startswith("reconstruction")]
    shifted = replace(AXIS, values=tuple(v + 300 for v in AXIS.values))
    moved = write_field(tmp_path / "moved.zarr", values["good"], axis=shifted, task="reconstruct")
    assert not reconstruction_sets(Runs.open([paths["truth"], moved])), "the same number of bands, but other ones"


def test_warnings_stand_below_the_table(pair, tmp_path):
    paths, values = pair
    digest = Scene.open(paths["truth"]).digest
    seen = [{"digest": digest, "rows": [0, 20], "cols": [0, 52]}]
    field = write_field(tmp_path / "seen.zarr", values["good"], task="reconstruct", train_regions=seen)
    evaluate(field, paths["truth"], patches=4, patch_size=8, peak=1.0, illuminant="none")
    table = section({**paths, "seen": field}, "truth", "bad", "seen").tables[0]
    assert any("†" in line[0] for line in table.rows)
    notes = " ".join(table.notes)
    for text in ("the model was trained on", "scale of 0 to 255", "Not all lines were measured on the same pixels"):
        assert text in notes


def test_pixels_are_asked_for_as_numbers(pair, tmp_path):
    paths, _ = pair
    for wrong in ("3", "a,b", "3;4", "-1,2"):
        with pytest.raises(UserError, match="--pixel: found"):
            report([paths["truth"]], str(tmp_path / "r.html"), pixel=[wrong])


def test_the_same_report_has_the_same_bytes(pair, tmp_path):
    paths, _ = pair
    for name in ("a.html", "b.html"):
        report([paths["truth"], paths["bad"], paths["good"]], str(tmp_path / name), title="t")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_names_are_text(pair, tmp_path):
    paths, values = pair
    evil = "<script>alert(1)</script>"
    field = write_field(tmp_path / "x.zarr", values["bad"], task="reconstruct", method=evil)
    kept = evaluate(field, paths["truth"], patches=4, patch_size=8, illuminant="none")
    assert json.dumps(kept)
    report([paths["truth"], field], str(tmp_path / "r.html"))
    html = (tmp_path / "r.html").read_text()
    assert evil not in html
    assert "&lt;script&gt;alert(1)" in html


def test_the_bar_and_the_limits_take_anything():
    assert scale(1.0).startswith("data:image/svg+xml;base64,")
    assert limits(np.full((2, 2, 3), np.nan)) == [(0.0, 1.0)] * 3
    assert not between(np.full((2, 2, 3), np.nan), [(0.0, 1.0)] * 3).any()


def test_two_pixels_of_one_colour_are_found(tmp_path):
    centres = np.array(AXIS.values)
    base = 0.4 + 0.2 * np.sin(centres / 60)
    (twin,) = metamers(base, centres, strength=0.9, seed=2)
    truth = np.random.default_rng(0).random((20, 20, 1)) * np.linspace(0.2, 1, 31)
    truth[3, 4], truth[15, 11] = base, twin
    paths = [write_field(tmp_path / "t.zarr", truth, name="cube")]
    paths.append(write_field(tmp_path / "p.zarr", truth * 0.9, task="reconstruct"))
    (found,) = reconstruction_sets(Runs.open(paths))
    pair = metamer_pair(found)
    assert pair.places == ((3, 4), (15, 11))
    assert pair.delta_e < 0.01
    size = np.sqrt((np.mean(base**2) + np.mean(twin**2)) / 2)
    assert pair.apart == pytest.approx(np.sqrt(np.mean((base - twin) ** 2)) / size, rel=1e-4)
    (row,) = of_metamers(found)
    assert [picture.title for picture in row.pictures] == ["row 3, column 4", "row 15, column 11"]
    assert not metamer_pair(replace(found, sample=found.sample[:1]))
    assert not of_metamers(replace(found, truth=replace(found.truth, scene=replace(found.truth.scene, spectral=None))))


def test_a_scene_is_still_looked_at_once(pair):
    assert overview(Scene.open(pair[0]["truth"]), {}, Silent()).planes["rgb"].shape == (40, 52, 3)
