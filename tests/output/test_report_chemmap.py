"""The report of chemical maps: what it draws and says is what predictions, samples and a hidden truth hold."""

import base64
import io

import numpy as np
import pytest
from cube_scenes import write
from html_page import Page
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sample_scenes import trays

from tilespec.evaluate.metrics.variogram import Variogram
from tilespec.output.measure.measure import measure
from tilespec.output.report.chemmap import PUBLISHED, of_chemmaps
from tilespec.output.report.inputs import Runs
from tilespec.output.report.page import report
from tilespec.output.report.plots import shade
from tilespec.output.report.quantity_maps import quantity_maps
from tilespec.storage.layout import ArraySpec
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene


def write_maps(path, arrays, **attrs):
    """Write arrays ``y, x`` or ``y, x, quantity`` as the stores that predictions and diagnostics make."""
    specs = [
        ArraySpec(
            name=name,
            shape=values.shape,
            dtype="float32",
            dims=("y", "x", "band")[: values.ndim],
            chunks=values.shape,
            attrs={"limit_95": 1.5} if name.startswith("dmodx") else {},
            fill=float("nan"),
        )
        for name, values in arrays.items()
    ]
    product = Product.open(str(path), specs, settings={"maps": [str(path), repr(attrs)]}, attrs=attrs, constants={})
    product.write(0, {name: np.asarray(values, np.float32) for name, values in arrays.items()})
    product.finish()
    return str(path)


@pytest.fixture(scope="module")
def tray(tmp_path_factory):
    """Return paths of a tray and of two predictions, the ids, and the predicted values.

    ``pls`` has noise, an interval of 6 and DModX; ``net`` is at half the size, and covers fat alone.
    """
    root = tmp_path_factory.mktemp("tray")
    scene, table, ids, truth = trays(root, count=6, columns=3)
    attrs = {"task": "chemmap", "scene_digest": Scene.open(scene).digest, "plane": list(ids.shape), "units": ["%", "%"]}
    noisy = truth + np.random.default_rng(0).normal(0, 20, truth.shape)
    noisy[ids == 0] = 1e4
    half = truth[::2, ::2, :1]
    paths = {
        "tray": scene,
        "pls": write_maps(
            root / "pls.zarr",
            {"prediction": noisy, "lower": noisy - 3, "upper": noisy + 3},
            **attrs,
            method="plsr",
            quantities=["fat", "water"],
            interval_level=0.9,
        ),
        "net": write_maps(
            root / "net.zarr",
            {"prediction": half},
            **{**attrs, "units": ["%"]},
            quantities=["fat"],
            grid={"scale": "1/2"},
        ),
    }
    write_maps(root / "pls.zarr.diagnostics", {"dmodx_fat": np.where(ids == 1, 2.0, 1.0)})
    return paths, table, ids, {"pls": noisy, "net": half}


def opened(paths, *names):
    return Runs.open([paths[name] for name in names])


def image_of(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))).convert("RGB"))


def row(section, title):
    (one,) = [one for one in section.rows if one.title.startswith(title)]
    return one


def test_the_page_has_a_section_for_each_quantity_with_maps_and_plots(tray, tmp_path):
    paths, *_ = tray
    result = report([paths[name] for name in ("tray", "pls", "net")], str(tmp_path / "r.html"))
    assert result["chemmaps"] == ["pls", "net"]
    assert result["reconstructions"] == []
    assert result["sections"][:2] == ["chemmap-fat", "chemmap-water"]
    assert "scene-pls" not in result["sections"], "a map is no scene"
    page = Page((tmp_path / "r.html").read_text())
    assert not page.open
    for text in ("Map of fat (%)", "90 % intervals of pixels", "DModX", "Histograms", "Variograms", "99.91 %"):
        assert text in page.text


def test_values_are_those_of_the_stores_inside_of_samples(tray):
    paths, _, ids, values = tray
    runs = opened(paths, "tray", "pls", "net")
    pls, net = (quantity_maps(run, runs, "sample") for run in runs.chemmaps)
    inside = np.where(ids[..., None] > 0, values["pls"], np.nan)
    assert_array_equal(pls.values, inside.astype(np.float32))
    assert_allclose(pls.widths[ids > 0], 6, atol=1e-4)
    assert np.isnan(pls.widths[ids == 0]).all()
    assert_array_equal(np.isnan(net.values[..., 0]), ids[1::2, 1::2] == 0), "what the pixel at the centre belongs to"
    assert_allclose(pls.figures(0)["mean"], np.nanmean(inside[..., 0]), rtol=1e-5)
    outside = np.mean((inside[ids > 0] < 0) | (inside[ids > 0] > 100), axis=0)
    assert_allclose([pls.figures(q)["out_of_range"] for q in (0, 1)], outside)


def test_without_the_scene_all_pixels_count(tray):
    paths, _, _, values = tray
    runs = opened(paths, "pls")
    (only,) = (quantity_maps(run, runs, "sample") for run in runs.chemmaps)
    assert_array_equal(only.values, values["pls"].astype(np.float32))


@pytest.mark.parametrize("edge", [7, 16, 1024])
def test_maps_that_are_read_in_blocks_are_those_read_at_once(tray, monkeypatch, edge):
    monkeypatch.setattr("tilespec.output.report.quantity_maps.EDGE", edge)
    paths, _, ids, values = tray
    runs = opened(paths, "tray", "pls")
    thin = quantity_maps(runs.chemmaps[0], runs, "sample", side=20)
    inside = np.where(ids[..., None] > 0, values["pls"], np.nan).astype(np.float32)
    assert thin.stride == 3
    assert_array_equal(thin.values, inside[::3, ::3])
    plane, limit = thin.dmodx["dmodx_fat"]
    assert_array_equal(plane, np.where(ids > 0, np.where(ids == 1, 2, 1), np.nan)[::3, ::3])
    assert limit == 1.5
    around = np.pad(inside, ((0, Variogram.halo), (0, Variogram.halo), (0, 0)), constant_values=np.nan)
    whole = Variogram.zero(2).of(np.stack([around, around]))
    assert_allclose(thin.sums.semivariance, whole.semivariance, rtol=1e-9)
    assert_array_equal(thin.sums.pairs, whole.pairs)


def test_maps_of_a_quantity_share_one_scale(tray):
    paths, _, ids, values = tray
    fat, _ = of_chemmaps(opened(paths, "tray", "pls", "net"), "sample")
    pls, net = row(fat, "Maps").pictures
    inside = values["pls"][..., 0][ids > 0]
    low, high = np.percentile(inside, (2, 98))
    assert low < 0, "the scale ends at what is possible"
    digit = 10.0 ** (np.floor(np.log10(high)) - 1)
    top = np.ceil(high / digit) * digit
    for picture, plane, belongs in ((pls, values["pls"], ids), (net, values["net"], ids[1::2, 1::2])):
        pixels = image_of(picture)
        step = pixels.shape[0] // belongs.shape[0]
        for y, x in np.argwhere(belongs > 0)[::37]:
            share = np.rint(254 * np.clip(plane[y, x, 0] / top, 0, 1)) / 254
            assert_array_equal(pixels[y * step, x * step], shade(share))
    assert not image_of(pls)[-1, -1].any(), "no sample is black"


def test_figures_stand_beside_the_published_ones_of_fat(tray):
    paths, *_ = tray
    fat, water = of_chemmaps(opened(paths, "tray", "pls", "net"), "sample")
    (table,) = fat.tables
    assert [line[0] for line in table.rows] == ["pls (plsr)", "net", *(name for name, _ in PUBLISHED)]
    assert table.muted == (2, 3)
    lines = [dict(zip(table.head, line, strict=True)) for line in table.rows]
    share = "correlated variance"
    assert [lines[2][share], lines[3][share]] == ["99.91 %", "2.53 %"]
    noisy, smooth = (float(line[share].split()[0]) for line in lines[:2])
    assert noisy < 25
    assert smooth > 90
    assert water.tables[0].muted == ()
    assert any("None of our figures was measured on them" in note for note in table.notes)
    assert row(fat, "DModX").pictures[0].caption.startswith("16.7 %"), "one sample of six"


def test_means_come_from_the_table_of_the_regression_or_of_measure(tray, tmp_path):
    paths, table, ids, values = tray
    runs = opened(paths, "tray", "net")
    assert not quantity_maps(runs.chemmaps[0], runs, "sample").means
    assert "Means of samples" not in repr(of_chemmaps(runs, "sample"))
    measured = measure(paths["net"], paths["tray"], str(tmp_path / "m.csv"), by="sample", references=table)
    assert measured["notes"] == []
    means = quantity_maps(runs.chemmaps[0], runs, "sample").means["fat"]
    own = [values["net"][..., 0][ids[1::2, 1::2] == k].mean() for k in range(1, 7)]
    assert_allclose(means.predicted, own, rtol=1e-5)
    assert means.rmse == pytest.approx(measured["regressions"]["fat"]["rmsep"])
    assert np.isnan(means.lower).all()
    folder = tmp_path / "pls.zarr"
    rows = ["sample,fat_reference [%],fat_predicted [%],fat_cross_validated [%],fat_lower [%],fat_upper [%],fat_set"]
    rows += ["1,10,10.5,11,9,13,fitted", "2,20,19,,17,21,held out", "3,,5,,3,7,no number"]
    (tmp_path / "pls.zarr.model").mkdir()
    (tmp_path / "pls.zarr.model" / "samples.csv").write_text("\n".join(rows))
    attrs = {"task": "chemmap", "quantities": ["fat"]}
    runs = Runs.open([write_maps(folder, {"prediction": values["net"]}, **attrs)])
    means = quantity_maps(runs.chemmaps[0], runs, "sample").means["fat"]
    assert_array_equal(means.predicted, [11, 19]), "what was left out counts"
    assert_array_equal([means.lower, means.upper], [[9, 17], [13, 21]])
    assert "Means of samples" in repr(of_chemmaps(runs, "sample"))


def test_a_hidden_truth_of_the_scene_is_shown_first(tray, tmp_path):
    _, _, ids, values = tray
    fat = np.where(ids > 0, np.repeat(np.repeat(values["net"][..., 0], 2, axis=0), 2, axis=1), np.nan)
    layers = {"sample": ids, "fat": fat.astype(np.float32)}
    hidden = write(tmp_path / "hidden", np.ones((*ids.shape, 3)), layers=layers)
    attrs = {"task": "chemmap", "quantities": ["fat"], "units": ["%"], "scene_digest": Scene.open(hidden).digest}
    path = write_maps(tmp_path / "p.zarr", {"prediction": fat[..., None]}, **attrs)
    (section,) = of_chemmaps(Runs.open([hidden, path]), "sample")
    truth, own = row(section, "Maps").pictures
    assert truth.title == "truth"
    assert_array_equal(image_of(truth), image_of(own))


def test_names_are_text(tray, tmp_path):
    evil = "<script>alert(1)</script>"
    values = {"prediction": np.ones((8, 8, 1))}
    path = write_maps(tmp_path / "x.zarr", values, task="chemmap", quantities=[evil], units=[evil], method=evil)
    report([path], str(tmp_path / "r.html"))
    html = (tmp_path / "r.html").read_text()
    assert evil not in html
    assert "&lt;script&gt;alert(1)" in html


def test_a_map_without_a_number_is_shown(tmp_path):
    values = {name: np.full((8, 8, 1), np.nan) for name in ("prediction", "lower", "upper")}
    path = write_maps(tmp_path / "x.zarr", values, task="chemmap", quantities=["fat"], units=["%"])
    (section,) = of_chemmaps(Runs.open([path]), "sample")
    line = dict(zip(section.tables[0].head, section.tables[0].rows[0], strict=True))
    assert set(line.values()) == {"x", "–"}
