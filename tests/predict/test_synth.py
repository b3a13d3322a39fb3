"""Synthetic spectra: what a table and a filled label map hold, for any count, tiling and number of workers."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from command_line import tilespec
from cube_scenes import write
from generators import CLASSES, generator
from untrained_models import objects, save_model

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.models.model import Model
from tilespec.predict.draws import BETWEEN, _on_circle, _on_line
from tilespec.predict.filling import Filling, _block, _shares, _textured
from tilespec.predict.generator import Generator
from tilespec.storage.layer import Layer
from tilespec.storage.scene import Scene

BANDS = 9


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    """A labelled scene of more than one object, with unlabelled pixels and a class map of three classes."""
    return make_scene(tmp_path_factory.mktemp("s") / "scene", 140, 150, BANDS, classes=CLASSES, unlabelled=0.1)


@pytest.fixture(scope="module")
def gan(tmp_path_factory, scene):
    return generator(tmp_path_factory.mktemp("gan"), scene)


def cube(url):
    return np.asarray(zarr.open_group(str(url), mode="r")["cube"])


def test_a_table_tells_its_classes_and_its_axis(gan, scene, tmp_path):
    api.synth(gan, tmp_path / "t", count=4, classes="2,0")
    api.synth(gan, tmp_path / "p", between="0,1", count=5)
    names, told = Scene.open(scene).classes(), api.info(tmp_path / "t")
    assert (told["spectra"], told["path"]) == ({names[2]: 4, names[0]: 4}, False)
    assert told["spectral"] == api.info(scene)["spectral"]
    assert "crs" not in told
    assert api.info(tmp_path / "p")["path"]


def test_a_longer_table_begins_with_a_shorter_one_and_a_class_has_its_spectra_alone_too(gan, tmp_path):
    for count in (3, 7):
        api.synth(gan, tmp_path / f"t{count}", count=count)
    long, short = cube(tmp_path / "t7").reshape(CLASSES, 7, BANDS), cube(tmp_path / "t3").reshape(CLASSES, 3, BANDS)
    np.testing.assert_array_equal(long[:, :3], short)
    api.synth(gan, tmp_path / "one", count=7, classes="2")
    np.testing.assert_array_equal(cube(tmp_path / "one"), long[2])


def test_spectra_are_of_the_seed_and_of_the_class_and_within_the_range_of_the_training(gan, scene, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        api.synth(gan, tmp_path / name, count=40, seed=seed)
    a, b, c = (cube(tmp_path / name) for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.isclose(a, c).all(axis=1).any()
    by_class = a.reshape(CLASSES, 40, BANDS)
    assert np.abs(by_class[0] - by_class[1]).max() > 1e-3
    values = Scene.open(scene).read(Scene.open(scene).roi)
    assert np.nanmin(values) <= a.min() < a.max() <= np.nanmax(values) + 1e-6


def test_a_table_opens_in_xarray_and_is_the_same_as_text(gan, scene, tmp_path):
    result = api.synth(gan, tmp_path / "t", count=4)
    assert (result["shape"], result["spectra"]) == ([12, BANDS], 12)
    with xr.open_zarr(tmp_path / "t") as table:
        assert table["cube"].dims == ("spectrum", "band")
        assert table["class"].values.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        np.testing.assert_allclose(table["wavelength"], Scene.open(scene).spectral.values)
    api.synth(gan, tmp_path / "t.csv", count=4)
    rows = list(csv.reader((tmp_path / "t.csv").read_text().splitlines()))
    assert rows[0][0] == "class"
    np.testing.assert_allclose(np.array(rows[0][1:], float), Scene.open(scene).spectral.values)
    assert [row[0] for row in rows[1:]] == [name for name in Scene.open(scene).classes() for _ in range(4)]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows[1:]], np.float32), cube(tmp_path / "t"))
    assert api.verify(tmp_path / "t")["intact"]


def steps(url):
    """Return the largest difference of neighbours along a path."""
    return np.abs(np.diff(cube(url), axis=0)).max()


@pytest.mark.parametrize("spherical", [False, True])
def test_a_path_within_a_class_leads_from_its_first_spectrum_to_its_second(gan, tmp_path, spherical):
    api.synth(gan, tmp_path / "t", count=2)
    for count in (101, 201):
        api.synth(gan, tmp_path / f"p{count}", between="1,1", count=count, spherical=spherical)
    path = cube(tmp_path / "p101")
    np.testing.assert_array_equal(path[[0, -1]], cube(tmp_path / "t")[2:4])
    assert 0.4 < steps(tmp_path / "p201") / steps(tmp_path / "p101") < 0.6, "half the step, half the difference"
    np.testing.assert_array_equal(cube(tmp_path / "p201")[::2][[0, 50, 100]], path[[0, 50, 100]])


def test_a_path_between_classes_keeps_the_random_numbers(gan, tmp_path):
    for count in (101, 201):
        api.synth(gan, tmp_path / f"p{count}", between="2,0", count=count)
    with xr.open_zarr(tmp_path / "p101") as table:
        assert (table["share"].values[[0, 50, 100]].tolist(), table["class"].values[[0, 100]].tolist()) == (
            [0, 0.5, 1],
            [2, 0],
        )
    made = Generator.of(gan, 0)
    latent = np.repeat(made.latent(np.array([2 * BETWEEN]), "table"), 2, axis=0)
    np.testing.assert_array_equal(cube(tmp_path / "p101")[[0, -1]], made.spectra(latent, np.array([2, 0])))
    assert 0.4 < steps(tmp_path / "p201") / steps(tmp_path / "p101") < 0.6


def test_a_path_on_a_circle_keeps_the_length_of_random_numbers():
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(2, 30)).astype(np.float32)
    last *= np.linalg.norm(first) / np.linalg.norm(last)
    share = np.linspace(0, 1, 41)[:, None]
    lengths = np.linalg.norm(_on_circle(first, last, share), axis=1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-6)
    assert np.linalg.norm(_on_line(first, last, share), axis=1).min() < 0.9 * lengths[0]
    np.testing.assert_array_equal(_on_circle(first, first, share), np.repeat(first[None], 41, axis=0))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=SLOW),
        pytest.param({"texture": 1.5}, marks=SLOW),
        pytest.param({"mixing": 1.0}, marks=SLOW),
        {"mixing": 0.7, "texture": 2.0},
    ],
)
def test_a_filled_map_has_the_same_bytes_for_any_number_of_workers(gan, scene, tmp_path, options):
    alone = api.synth(gan, tmp_path / "alone", labels=scene, **options)
    api.synth(gan, tmp_path / "two", labels=scene, workers=2, **options)
    held = [objects(tmp_path / name) for name in ("alone", "two")]
    assert {k: v for k, v in held[0].items() if "/c/" in k} == {k: v for k, v in held[1].items() if "/c/" in k}
    filled, source = Scene.open(str(tmp_path / "alone")), Scene.open(scene)
    np.testing.assert_array_equal(filled.labels(), source.labels())
    assert filled.classes() == source.classes()
    known = source.labels() != 255
    np.testing.assert_array_equal(np.isfinite(filled.read(filled.roi)).all(axis=2), known)
    assert np.isnan(filled.read(filled.roi)[~known]).all()
    assert (alone["spectra"], alone["unlabelled"]) == (known.sum(), (~known).sum())


@pytest.mark.parametrize("options", [{"count": 700}, {"labels": True}])
def test_runs_that_join_draw_what_one_draws(gan, scene, tmp_path, options, monkeypatch):
    monkeypatch.setattr("tilespec.storage.joined.POLL", 0.02)
    options = {**options, **({"labels": scene} if "labels" in options else {})}
    api.synth(gan, tmp_path / "one", **options)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(api.synth, gan, tmp_path / "two", join=True, **options) for _ in range(2)]
        results = [call.result() for call in calls]
    assert objects(tmp_path / "two") == objects(tmp_path / "one")
    assert results[0]["shape"] == results[1]["shape"]


@pytest.mark.parametrize("blur", [(0.0, 0.0), (1.2, 0.0), (0.0, 1.2), (0.8, 1.6)])
def test_a_pixel_has_the_same_bits_in_any_block(gan, scene, blur):
    work = Filling(
        generator=Generator.of(gan, 3),
        labels=Layer.open(scene, "labels"),
        of=(0, 1, 2),
        mixing=blur[0],
        texture=blur[1],
    )
    labels = Scene.open(scene).labels()

    def block(roi):
        part = labels[roi.slices]
        plane = np.full((*part.shape, BANDS), np.nan, np.float32)
        plane[part != 255] = _block(work, roi, part, part != 255)
        return plane

    whole = block(Roi(y0=0, y1=140, x0=0, x1=150))
    for roi in (Roi(y0=0, y1=5, x0=0, x1=150), Roi(y0=33, y1=80, x0=97, x1=98), Roi(y0=100, y1=140, x0=120, x1=150)):
        np.testing.assert_array_equal(block(roi), whole[roi.slices])


def test_shares_add_up_to_one_and_are_whole_away_from_borders(gan, scene):
    work = Filling(
        generator=Generator.of(gan, 0), labels=Layer.open(scene, "labels"), of=(0, 1, 2), mixing=1.0, texture=0.0
    )
    labels = Scene.open(scene).labels()
    shares = dict(_shares(work, Scene.open(scene).roi))
    total = sum(shares.values())
    np.testing.assert_allclose(total[labels != 255], 1, atol=1e-5)
    padded = np.pad(labels, 4, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (9, 9)).reshape(*labels.shape, -1)
    inside = (windows == labels[..., None]).all(axis=2) & (labels != 255)
    for number, share in shares.items():
        np.testing.assert_allclose(share[inside & (labels == number)], 1, atol=1e-5)


def test_a_texture_keeps_the_variance_and_makes_neighbours_alike(gan, scene):
    work = Filling(
        generator=Generator.of(gan, 0),
        labels=Layer.open(scene, "labels"),
        of=(0, 1, 2),
        mixing=0.0,
        texture=2.0,
    )
    plane = _textured(work, Roi(y0=0, y1=140, x0=0, x1=150))
    np.testing.assert_allclose(plane.var(axis=(0, 1)), 1, atol=0.25)
    neighbours = np.corrcoef(plane[1:, :, 0].ravel(), plane[:-1, :, 0].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 2.0**2)), abs=0.03)  # of white noise blurred by 2 pixels


def test_an_interrupted_scene_goes_on_and_other_settings_are_refused(gan, scene, tmp_path):
    api.synth(gan, tmp_path / "whole", labels=scene)
    api.synth(gan, tmp_path / "torn", labels=scene)
    next(path for path in (tmp_path / "torn" / "cube" / "c").rglob("0") if path.is_file()).unlink()
    api.repair(tmp_path / "torn")
    np.testing.assert_array_equal(cube(tmp_path / "torn"), cube(tmp_path / "whole"))
    with pytest.raises(UserError, match="seed"):
        api.synth(gan, tmp_path / "whole", labels=scene, seed=5)


def test_a_dry_run_writes_nothing(gan, scene, tmp_path):
    for options in ({"count": 5}, {"labels": scene}):
        plan = api.synth(gan, tmp_path / "out", dry_run=True, **options)
        assert plan["dry_run"]
        assert not list(tmp_path.iterdir())
    assert plan["bytes_to_write"] == 140 * 150 * BANDS * 4


def test_classes_are_matched_by_name(scene, tmp_path):
    own = Scene.open(scene).classes()
    turned = generator(tmp_path, scene, names=own[::-1])
    api.synth(turned, tmp_path / "s", labels=scene)
    Path(turned).rename(tmp_path / "old")
    (tmp_path / "recipe").exists()
    straight = generator(tmp_path / "b", scene) if (tmp_path / "b").mkdir() is None else None
    api.synth(straight, tmp_path / "t", labels=scene)
    labels = Scene.open(scene).labels()
    same = (cube(tmp_path / "s") == cube(tmp_path / "t")).all(axis=2)
    assert same[labels == 1].all(), "the middle class is the middle one in both orders"
    assert not same[labels == 0].any()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--classes", "unicorn"], "a class 'unicorn' that the generator never saw"),
        (["--classes", "3"], "never saw"),
        (["--count", "0"], "count"),
        (["--texture", "2"], "--labels"),
        (["--between", "0"], "two classes"),
        (["--between", "0,1", "--count", "1"], "two spectra or more"),
        (["--between", "0,unicorn"], "never saw"),
        (["--between", "0,1", "--spherical"], "within a class"),
        (["--between", "0,1", "--classes", "0"], "one of them"),
        (["--labels", "SCENE", "--between", "0,1"], "one of them"),
        (["--labels", "SCENE", "--count", "3"], "one of them"),
        (["--labels", "SCENE", "--mixing", "1000"], "0 to 64"),
    ],
)
def test_what_cannot_be_followed_is_refused(gan, scene, tmp_path, words, text):
    words = [scene if word == "SCENE" else word for word in words]
    result = tilespec("synth", gan, str(tmp_path / "out"), *words)
    assert result.returncode == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_class_of_the_map_that_the_generator_never_saw_is_refused(scene, make_scene, gan, tmp_path):
    other = make_scene(tmp_path / "other", 20, 20, BANDS, classes=4)
    with pytest.raises(UserError, match="never saw"):
        api.synth(gan, tmp_path / "out", labels=other)


def test_models_that_read_scenes_do_not_synthesize_and_generators_do_not_predict(gan, scene, tmp_path):
    with pytest.raises(UserError, match="which reads a scene"):
        api.synth(save_model(tmp_path / "m", scene), tmp_path / "out")
    with pytest.raises(UserError, match="tilespec synth"):
        api.predict(gan, scene, tmp_path / "out")


@pytest.mark.parametrize(
    ("steps", "good"), [("crop=450:900,minmax", True), ("autoscale", True), ("pca=3", False), ("snv", False)]
)
def test_a_recipe_that_cannot_be_undone_is_refused(scene, tmp_path, steps, good):
    model = generator(tmp_path, scene, steps)
    if not good:
        with pytest.raises(UserError, match="cannot be undone"):
            api.synth(model, tmp_path / "out", count=2)
        return
    api.synth(model, tmp_path / "out", count=2)
    recipe = Model.load(model).recipe
    assert cube(tmp_path / "out").shape == (6, recipe.bands_out)
    if steps == "autoscale":
        again = recipe.apply(cube(tmp_path / "out"))
        assert -1e-4 <= again.min() < again.max() <= 1 + 1e-4


def test_the_card_of_a_table_says_that_it_is_synthetic(gan, tmp_path):
    api.synth(gan, tmp_path / "t", count=2)
    attrs = json.loads((tmp_path / "t" / "zarr.json").read_text())["attributes"]
    assert attrs["synthetic"] is True
    assert attrs["model_digest"] == Model.load(gan).digest


def test_a_generator_without_a_recipe_draws_what_its_net_answers(scene, tmp_path):
    model = generator(tmp_path, scene, "")
    api.synth(model, tmp_path / "out", count=20)
    values = cube(tmp_path / "out")
    assert 0 < values.min() < values.max() < 1


def test_text_of_too_many_spectra_and_labels_of_another_kind_are_refused(gan, scene, tmp_path):
    with pytest.raises(UserError, match="150,000 spectra as text"):
        api.synth(gan, tmp_path / "t.csv", count=50_000)
    numbers = write(tmp_path / "s", np.zeros((8, 8, 3)), layers={"labels": np.zeros((8, 8), np.int32)})
    with pytest.raises(UserError, match="numbers of type int32"):
        api.synth(gan, tmp_path / "out", labels=numbers)
    assert not (tmp_path / "out").exists()
