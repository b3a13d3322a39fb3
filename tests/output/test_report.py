"""The report: what it shows, that it shows it truly, and that other people's text stays text."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from html_page import Page
from PIL import Image
from spectral_pairs import write_cube

import tilespec.output.report
from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.core.types import UNLABELLED, SpectralAxis
from tilespec.evaluate.evaluate import evaluate
from tilespec.output.report.detail import worst
from tilespec.output.report.inputs import Runs
from tilespec.output.report.maps import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    NO_DATA,
    NO_LABEL,
    RIGHT,
    RIGHT_OTHER,
    WRONG,
    compare,
    judge,
)
from tilespec.output.report.overview import facts, overview
from tilespec.output.report.page import report
from tilespec.output.report.plots import SHADES, enlarged, sequential, shade, top
from tilespec.output.report.training import losses
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.storage.layout import cube_spec, layer_spec
from tilespec.storage.product import Product, publish
from tilespec.storage.scene import Scene

EVIL = "<script>alert('x')</script>\"><img_src=x_onerror=alert(1)>{{7*7}}$\\bad$"


def write_map(path, plane, *, name="prediction", classes=("background", "plant"), poison=(), beside=None, **attrs):
    plane, blocks = np.asarray(plane, np.uint8), dict(beside or {})
    more = [replace(layer_spec(key, plane.shape, "float32", chunk=32), fill=float("nan")) for key in blocks]
    blocks[name] = plane
    product = Product.open(
        str(path),
        [layer_spec(name, plane.shape, classes=classes, chunk=32), *more],
        settings={"map": [name, plane.tolist()]},
        attrs=attrs,
        constants={},
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {key: block[y0:y1] for key, block in blocks.items()}, poison=poison if row == 0 else ())
    product.finish()
    return str(path)


def write_model(folder, recipe, *, name="unet", log=(), **net):
    folder.mkdir()
    recipe.save(str(folder / "recipe"))
    card = {
        "format": 1,
        "net": {"name": name, **net},
        "task": {"name": "segment"},
        "provenance": {"seed": 0},
        "digest": "d",
    }
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return str(folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory, make_scene):
    """Return paths of a scene, a recipe, a model, and two evaluated predictions of which the first is better."""
    root = tmp_path_factory.mktemp("study")
    scene = make_scene(root / "scene.zarr", 70, 90, 12, unlabelled=0.02, nan=0.01)
    fit(scene, str(root / "recipe"), steps="vsn=2:0.02,pca=3")
    log = [{"step": i, "generator": 1 / (i + 1), "adversary": 0.5 + i, "rate": 0.1, "seconds": 1.0} for i in range(9)]
    model = write_model(root / "model", Recipe.load(str(root / "recipe")), log=log)
    truth, rng = Scene.open(scene).labels(), np.random.default_rng(0)
    predictions = []
    for name, share in (("bad", 0.3), ("good", 0.05)):
        plane = np.where(rng.random(truth.shape) < share, 1 - (truth == 1), truth == 1)
        trained = [{"digest": Scene.open(scene).digest, "rows": [0, 40], "cols": [0, 90]}]
        predictions.append(write_map(root / f"{name}.zarr", plane, train_regions=trained, method=f"{name} method"))
        evaluate(predictions[-1], scene, patches=50, patch_size=20, rows="30:70" if name == "bad" else "40:70")
    return {
        "scene": scene,
        "recipe": str(root / "recipe"),
        "model": model,
        "bad": predictions[0],
        "good": predictions[1],
    }


@pytest.fixture
def page(study, tmp_path):
    def made(*keys, **options):
        out = tmp_path / "report.html"
        report([study.get(key, key) for key in keys], str(out), **options)
        return Page(out.read_text())

    return made


def test_a_page_holds_everything_and_loads_nothing(page, study):
    found = page(*study)
    assert not found.open, "every element is closed"
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attrs in found.elements:
        assert not [name for name in attrs if name.startswith("on")]
        assert attrs.get("src", "data:image/").startswith("data:image/")
        assert attrs.get("href", "#").startswith("#")
    policy = next(a["content"] for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    css = next(text for text in found.words if "--ground" in text)
    assert "url(" not in css
    assert "@import" not in css
    for drawing in found.images("svg"):
        assert b"<script" not in drawing
        assert not re.search(rb'(?:href|src)="(?!#)', drawing)


def test_a_page_shows_every_part_of_a_study(page, study):
    text = page(*study).text
    for part in (
        "False colour",
        "Truth",
        "Spectra",
        "Prediction",
        "Errors",
        "VSN weights",
        "PCA loadings",
        "Component 3",
        "Losses",
        "generator",
        "adversary",
        "Class by class",
        "Provenance",
    ):
        assert part in text, part


@pytest.mark.parametrize("key", ["scene", "recipe", "model", "good"])
def test_any_run_alone_makes_a_page(page, key):
    assert len(page(key).text) > 200


def test_methods_are_listed_best_first_above_what_was_published(page, study, tmp_path, make_scene):
    """The published figures are of plants in pots: they stand on the page of such a simulation alone."""
    assert "0.95 ± 0.04" not in page("scene", "bad", "good").text
    scene = make_scene(tmp_path / "s", 70, 90, 4)
    publish(scene, {"simulation": {"seed": 0}})
    text = page(scene, "bad", "good").text
    good = json.loads(Path(f"{study['good']}.tilespec/evaluation.json").read_text())
    assert f"{good['iou_mean']:.3f} ± {good['iou_std']:.3f}" in text
    at = [text.index(name) for name in ("good (good method)", "bad (bad method) †", "0.77 ± 0.10", "0.95 ± 0.04")]
    assert at == sorted(at)
    assert "Scored on pixels that the model was trained on" in text
    assert "Not all lines were measured on the same patches" in text
    assert "not bundled" in text


def test_a_simulated_scene_is_said_to_be_one(page, study, tmp_path, make_scene):
    assert "simulated" not in page("scene", "good").text
    scene = make_scene(tmp_path / "s", 70, 90, 4)
    publish(scene, {"simulation": {"seed": 0}})
    assert "measured on a simulated scene" in page(scene, "good").text


def test_text_of_others_stays_text(tmp_path, make_scene):
    scene = str(tmp_path / "scene.zarr")
    shutil.copytree(make_scene(tmp_path / "made.zarr", 70, 70, 6), scene)  # without the record that vouches for it
    group = zarr.open_group(scene)
    group.attrs.update({"title": EVIL, "description": EVIL, "provenance": {EVIL: [EVIL]}})
    group["labels"].attrs["flag_meanings"] = f"background {EVIL}"
    folder = tmp_path / "<b>model<b>"
    log = [{"step": i, EVIL: 1.0 + i} for i in range(3)]
    fit(scene, str(tmp_path / "recipe"), steps="pca=2")
    model = write_model(folder, Recipe.load(str(tmp_path / "recipe")), name=EVIL, log=log)
    plane = Scene.open(scene).labels()
    pred = write_map(tmp_path / "<i>p<i>", plane, classes=("background", EVIL), method=EVIL)
    evaluate(pred, scene, patches=5, patch_size=20)
    out = tmp_path / "report.html"
    report([scene, model, pred], str(out), title=EVIL)
    found = Page(out.read_text())
    assert not {"script", "b", "i_p"} & {tag for tag, _ in found.elements}
    assert not [a for _, a in found.elements if any(name.startswith("on") for name in a)]
    assert all(a.get("src", "data:").startswith("data:") for _, a in found.elements)
    assert EVIL in found.text
    assert found.text.count(EVIL) >= 8, "title, description, class, method, loss, provenance"
    assert "49" not in re.findall(r"\b49\b", found.text)


def test_a_verdict_says_what_each_pixel_is():
    truth = np.array([[0, 0, 1, 1, 255, 0]], np.uint8)
    predicted = np.array([[0, 1, 1, 0, 1, 255]], np.uint8)
    expected = [[RIGHT_OTHER, FALSE_POSITIVE, RIGHT, FALSE_NEGATIVE, NO_LABEL, NO_DATA]]
    assert judge(truth, predicted, 2).tolist() == expected
    three = judge(np.array([[2, 2, 0]], np.uint8), np.array([[2, 1, 255]], np.uint8), 3)
    assert three.tolist() == [[RIGHT_OTHER, WRONG, NO_DATA]]


def test_an_overview_is_what_every_nth_pixel_of_the_scene_holds(study, monkeypatch):
    monkeypatch.setattr("tilespec.output.report.overview.CHUNK", 32)  # several strips, none a multiple of the stride
    scene, recipe = Scene.open(study["scene"]), Recipe.load(study["recipe"])
    seen = overview(scene, {"r": recipe}, Silent(), side=30)
    assert seen.stride == 3
    values, labels = scene.read(scene.roi)[::3, ::3], scene.labels()[::3, ::3]
    assert (seen.labels == labels).all()
    red, nir = scene.spectral.nearest(670), scene.spectral.nearest(800)
    ndvi = (values[..., nir] - values[..., red]) / (values[..., nir] + values[..., red])
    np.testing.assert_allclose(seen.planes["ndvi"][..., 0], ndvi, rtol=1e-6)
    scores = recipe.apply(values.reshape(-1, values.shape[2])).reshape(*values.shape[:2], -1)
    np.testing.assert_array_equal(seen.planes["r"], scores)
    mean, deviation = seen.spectra.finish()
    known = np.isfinite(values).all(axis=-1)
    for index, group in enumerate([known & (labels == 0), known & (labels == 1), known & (labels == UNLABELLED)]):
        assert seen.spectra.count[index] == group.sum()
        np.testing.assert_allclose(mean[index], values[group].mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(deviation[index], values[group].std(axis=0), atol=1e-4)


def test_pictures_in_the_page_are_the_maps_themselves(page, study):
    truth = Scene.open(study["scene"]).labels()
    predicted = np.asarray(zarr.open_group(study["good"])["prediction"])
    maps = [np.asarray(Image.open(io.BytesIO(data))) for data in page("scene", "good").images()]
    verdicts = enlarged(judge(truth, predicted, 2))
    assert verdicts.shape == (6 * 70, 6 * 90), "small pictures are shown by whole pixels"
    assert any(m.shape == verdicts.shape and (m == verdicts).all() for m in maps)


def test_no_published_figure_stands_beside_other_classes(page, tmp_path, make_scene):
    scene = make_scene(tmp_path / "s", 40, 40, 4, classes=3)
    publish(scene, {"simulation": {"seed": 0}})
    pred = write_map(tmp_path / "p", Scene.open(scene).labels(), classes=Scene.open(scene).classes())
    evaluate(pred, scene, patches=5, patch_size=20)
    text = page(scene, pred).text
    assert "Mishra" not in text
    assert "0.95 ± 0.04" not in text
    assert all(word in text for word in ("OA", "AA", "overall accuracy"))


def test_a_matrix_of_many_classes_is_narrow_shaded_and_without_absent_ones(page, tmp_path):
    rng = np.random.default_rng(0)
    names = tuple(f"a long name of class {i}" for i in range(17))
    truth = rng.integers(0, 16, (40, 50)).astype(np.uint8)  # the last one does not occur
    truths = write_map(tmp_path / "t", truth, name="labels", classes=names)
    pred = write_map(tmp_path / "p", np.where(rng.random(truth.shape) < 0.9, truth, 3), classes=names)
    evaluate(pred, truths, patches=5, patch_size=20)
    found = page(pred)
    heads = [attrs.get("class") for tag, attrs in found.elements if tag == "table"]
    assert "upright" in heads
    assert "as a long name of class 15" in found.text
    assert "as a long name of class 16" not in found.text
    shaded = [attrs["style"] for tag, attrs in found.elements if tag == "td" and "background" in attrs.get("style", "")]
    assert len(shaded) >= 16


def test_clusters_are_shown_as_what_they_are(page, tmp_path, make_scene):
    """Their numbers are no classes: no error map without an assignment, and then that of the assigned classes."""
    scene = make_scene(tmp_path / "s", 40, 40, 4)
    labels = Scene.open(scene).labels()
    pred = write_map(tmp_path / "p", 1 - labels, classes=("cluster_0", "cluster_1"))
    alone = page(scene, pred).text
    assert "cluster_0" in alone
    assert "Errors" not in alone
    assert evaluate(pred, scene, patches=5, patch_size=20)["oa"] == 1
    runs = Runs.open([scene, pred])
    assert (compare(runs.predictions[0], runs).predicted == labels).all()
    assert "Errors" in page(scene, pred).text


def test_ndvi_is_shown_of_reflectance_with_green_vegetation_only(page, tmp_path):
    rng = np.random.default_rng(0)
    axis = SpectralAxis(name="wavelength", unit="nm", values=tuple(np.linspace(650.0, 850.0, 21)))
    green = np.where(np.asarray(axis.values) > 720, 0.5, 0.05) + rng.uniform(0, 0.02, (30, 40, 21))
    grey = 0.3 + rng.uniform(0, 0.02, (30, 40, 21))
    shown = {}
    for name, cube in {"plants": green, "counts": green * 4000, "stone": grey}.items():
        shown[name] = "NDVI" in page(write_cube(tmp_path / name, cube.astype(np.float32), axis)).text
    assert shown == {"plants": True, "counts": False, "stone": False}


def test_the_frame_is_the_region_that_was_scored(study):
    runs = Runs.open([study["scene"], study["good"]])
    assert compare(runs.predictions[0], runs).scored == pytest.approx((100 * 40 / 70, 0, 100 * 30 / 70, 100))


def test_the_closer_look_is_where_the_errors_are(tmp_path):
    truth = np.zeros((900, 700), np.uint8)
    predicted = truth.copy()
    predicted[500:560, 300:380] = 1
    pred = write_map(tmp_path / "p", predicted)
    labels = write_map(tmp_path / "t", truth, name="labels")
    evaluate(pred, labels, patches=3, patch_size=50)
    runs = Runs.open([pred])
    roi = worst([compare(runs.predictions[0], runs, side=350)])
    assert roi.shape == (288, 288)
    assert roi.y0 <= 500
    assert roi.y1 >= 560
    assert roi.x0 <= 300
    assert roi.x1 >= 380


def tiled(tile=16, overlap=8, kind="approximate"):
    return {"tile": tile, "overlap": overlap, "window": "cosine", "scale": "1", "kind": kind}


def test_the_seam_score_stands_beside_the_iou(page, tmp_path, study):
    truth = Scene.open(study["scene"]).labels()
    pred = write_map(tmp_path / "tiled", np.where(np.arange(90) % 32 < 16, 0, truth == 1), grid=tiled(16, 0))
    found = evaluate(pred, study["scene"], patches=20, patch_size=20)
    cell = f"{found['seam_score']:.2f} ({found['seam_score_truth']:.2f})"
    text = page(pred).text
    assert f"{found['iou_mean']:.3f} ± {found['iou_std']:.3f} {cell}" in text
    assert f"seam score {cell}" in text
    assert "1 is seamless" in text
    assert "1 is seamless" not in page("good").text
    pixelwise = write_map(tmp_path / "one", Scene.open(study["scene"]).labels(), grid=tiled(16, 0, "pixelwise"))
    evaluate(pixelwise, study["scene"], patches=20, patch_size=20)
    assert "seam score exact" in page(pixelwise).text


@pytest.mark.parametrize(
    ("net", "grid", "attrs", "warned"),
    [
        ({"norm": "instance"}, tiled(), {}, True),
        ({"norm": "batch", "live": True}, tiled(), {}, True),
        ({"norm": "batch", "live": False}, tiled(), {}, False),
        ({"norm": "instance"}, tiled(), {"norm": "frozen"}, False),
        ({"norm": "batch"}, tiled(), {"spatial_norms": ["downs.1.1"]}, True),
        ({"norm": "instance"}, tiled(kind="exact"), {}, False),
    ],
)
def test_statistics_of_each_tile_are_warned_of(page, tmp_path, study, net, grid, attrs, warned):
    model = write_model(tmp_path / "m", Recipe.load(study["recipe"]), **net)
    pred = write_map(tmp_path / "p", Scene.open(study["scene"]).labels(), grid=grid, model_digest="d", **attrs)
    evaluate(pred, study["scene"], patches=5, patch_size=20)
    assert ("p normalised every tile by itself" in page(model, pred).text) is warned


def test_disagreement_is_shown_on_one_scale_for_all_predictions(page, tmp_path):
    rng = np.random.default_rng(0)
    planes = [rng.random((40, 50)).astype(np.float32) * share for share in (0.1, 0.4)]
    planes[0][5:9, 7:12] = np.nan
    runs = [
        write_map(tmp_path / f"p{i}", np.ones((40, 50)), beside={"disagreement": plane})
        for i, plane in enumerate(planes)
    ]
    found, end = page(*runs), top(planes)
    assert 0.39 <= end <= 0.41
    assert f"{end:.3g} and more is bright" in found.text
    assert found.text.count("Disagreement of tiles") == 2
    assert {shade(s) for s in (0, 1)} == {(68, 1, 84), (253, 231, 36)}
    shown = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in found.images()]
    for plane in planes:
        steps = np.rint(np.clip(plane / end, 0, 1) * (SHADES - 1)).tolist()
        colours = [[(0, 0, 0) if np.isnan(s) else shade(s / (SHADES - 1)) for s in row] for row in steps]
        expected = enlarged(np.array(colours, np.uint8))
        assert any(one.shape == expected.shape and (one == expected).all() for one in shown)
    assert "Disagreement" not in page(write_map(tmp_path / "without", np.ones((40, 50)))).text


@pytest.mark.parametrize("planes", [[], [np.full((3, 3), np.nan)], [np.zeros((3, 3))]])
def test_disagreement_that_is_nowhere_has_a_scale_too(planes):
    assert top(planes) == 1.0
    assert all(sequential(plane.astype(np.float32), top(planes)).startswith("data:image/png") for plane in planes)


def test_failed_tiles_are_shown_with_their_places(page, tmp_path, study):
    plane = Scene.open(study["scene"]).labels()
    plane[8:24, 16:32] = UNLABELLED
    pred = write_map(tmp_path / "p", plane, poison=[12], origin=[0, 0], grid=tiled())
    evaluate(pred, study["scene"], patches=5, patch_size=20)
    text = page(pred).text
    assert "p ‡" in text
    assert text.count("incomplete: 1 failed tile, no prediction there") == 2, "in the table and beside the picture"
    assert "tile 12 (rows 8:24, columns 8:24)" in text
    many = write_map(tmp_path / "many", plane, poison=list(range(30)), grid=tiled())
    assert "and 18 more" in page(many).text


def test_a_prediction_without_its_truth_is_shown_without_errors(page, tmp_path, make_scene):
    alone = write_map(tmp_path / "alone", np.zeros((40, 40)))
    text = page(alone).text
    assert "not evaluated" in text
    assert "Errors" not in text
    other = make_scene(tmp_path / "other", 30, 30, 4)
    assert "Errors" not in page(alone, other).text.replace("Predictions and their errors", "")


@pytest.mark.parametrize(("bands", "classes", "labelled"), [(1, 2, True), (2, 2, False), (5, 3, True), (31, 5, True)])
def test_scenes_of_any_bands_and_classes_are_shown(page, tmp_path, make_scene, bands, classes, labelled):
    scene = make_scene(tmp_path / "s", 33, 41, bands, classes=classes, labelled=labelled, dtype="uint16", nan=0.05)
    found = page(scene)
    assert ("Truth" in found.text) is labelled
    assert len(found.images()) == 1 + labelled


def test_a_scene_without_a_spectral_axis_is_shown_by_band_numbers(page, tmp_path):
    product = Product.open(
        str(tmp_path / "s"),
        [cube_spec((20, 20, 4), "float32", spectral=None)],
        settings={},
        attrs={},
        constants={},
    )
    product.write(0, {"cube": np.random.default_rng(0).random((20, 20, 4), np.float32)})
    product.finish()
    assert "Bands 1, 2, 3 as red" in page(product.url).text


def test_a_log_that_is_cut_off_or_not_finite_is_drawn_as_far_as_it_goes(tmp_path):
    folder = tmp_path / "m"
    log = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": float("nan")}, {"step": 2, "loss": 0.5}]
    write_model(folder, Recipe.empty(4, None), log=log)
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert losses(Runs.open([str(folder)]).models[0]) == {"loss": ([0.0, 2.0], [1.0, 0.5])}


def test_the_same_study_gives_the_same_bytes(study, tmp_path):
    pages = []
    for name in ("a.html", "b.html"):
        report([study[key] for key in study], str(tmp_path / name), title="same")
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_a_dry_run_lists_what_would_be_shown_and_writes_nothing(study, tmp_path):
    out = tmp_path / "report.html"
    plan = report([study[key] for key in study], str(out), dry_run=True)
    assert (plan["scenes"], plan["predictions"], plan["models"]) == (["scene"], ["bad", "good"], ["model"])
    assert not out.exists()


def test_what_is_no_run_and_no_page_is_refused(study, tmp_path):
    with pytest.raises(UserError, match=r"found nothing; expected a scene, a prediction"):
        report([str(tmp_path / "nowhere")], str(tmp_path / "r.html"))
    with pytest.raises(UserError, match=r"none of the files zarr\.json"):
        report([str(tmp_path)], str(tmp_path / "r.html"))
    with pytest.raises(UserError, match=r"a file NAME\.html"):
        report([study["scene"]], study["good"])
    with pytest.raises(UserError, match="at least one"):
        report([], str(tmp_path / "r.html"))


def test_a_small_scene_has_its_size_and_the_digest_that_products_name(study):
    scene = Scene.open(study["scene"])
    told = facts(scene)
    assert not told["stored as"].endswith(" 0.00 GB")
    assert told["digest of the cube"] == scene.digest


def test_the_first_column_of_a_table_keeps_a_width_on_a_narrow_screen():
    """Words that may break anywhere would otherwise become columns of single letters."""
    css = (Path(tilespec.output.report.__file__).parent / "templates/page.css").read_text()
    rules = [line for line in css.splitlines() if "overflow-wrap: anywhere" in line and line.startswith("th")]
    assert rules
    assert all("min-width" in rule for rule in rules)
