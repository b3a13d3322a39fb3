"""Studies of augmentation: splits of labelled pixels, and classifiers with and without synthetic spectra."""

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tilespec import api
from tilespec.cli import app
from tilespec.core.errors import UserError
from tilespec.storage.layer import label_map
from tilespec.storage.scene import Scene
from tilespec.workflows.study.pixel_splits import PIXEL_SPLITS, pixel_split
from tilespec.workflows.study.splits import StudyScene

BANDS, CLASSES = 6, 3
GENERATOR = {
    "task": {"name": "synthesize"},
    "recipe": {"steps": "minmax=shared"},
    "net": {"name": "spectrum_mlp", "hidden": [8], "head": "sigmoid"},
    "objective": {"name": "wgan_gp", "critic": {"hidden": [8]}, "classifier": {"hidden": [8]}},
    "data": {"patch": 1, "patches": 16, "balance": "labelled", "augment": False},
    "train": {"steps": 2, "batch": 4, "warmup": 0},
}
maps = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def plane(rng):
    """Return a random label map with rare classes and unlabelled pixels."""
    height, width = rng.integers(2, 20, 2)
    return rng.choice([0, 1, 2, 7, 255], p=[0.4, 0.2, 0.05, 0.05, 0.3], size=(height, width)).astype(np.uint8)


@settings(max_examples=60)
@given(maps, st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_random_split_has_the_share_of_each_class_and_one_pixel_at_least(rng, share, seed):
    labels = plane(rng)
    chosen = PIXEL_SPLITS["random"](str(share), labels, seed)
    assert not chosen[labels == 255].any()
    for number in np.unique(labels[labels != 255]):
        own = labels == number
        assert chosen[own].sum() == max(1, round(share * own.sum()))
    assert np.array_equal(chosen, PIXEL_SPLITS["random"](str(share), labels, seed))


@given(maps, st.integers(0, 9))
def test_halves_share_no_pixel_and_all_four_take_their_turn(rng, seed):
    labels = plane(rng)
    left, right, upper, lower = (PIXEL_SPLITS["halves"]("", labels, 4 * seed + turn) for turn in range(4))
    assert np.array_equal(left, ~right)
    assert np.array_equal(upper, ~lower)
    assert left[:, : labels.shape[1] // 2].all()
    assert upper[: labels.shape[0] // 2].all()
    assert left.sum() == labels.shape[0] * (labels.shape[1] // 2)


@given(maps, st.integers(0, 9))
def test_halves_of_classes_leave_none_out_and_share_no_line(rng, seed):
    labels = plane(rng)
    chosen = [PIXEL_SPLITS["class-halves"]("", labels, 4 * seed + turn) for turn in range(4)]
    for number in np.unique(labels[labels != 255]):
        own = labels == number
        for axis, (first, second) in ((1, chosen[:2]), (0, chosen[2:])):
            one, other = (np.unique(np.nonzero(own & half)[axis]) for half in (first, second))
            if len(np.unique(np.nonzero(own)[axis])) == 1:
                assert len(one) == len(other) == 1
                continue
            assert one.max() < other.min()
            widest = np.bincount(np.nonzero(own)[axis]).max()
            assert abs(int((own & first).sum()) - int((own & second).sum())) <= widest
    assert not any(half[labels == 255].any() for half in chosen)


@given(maps, st.integers(0, 99), st.integers(1, 9))
def test_a_block_is_on_one_side_and_a_class_on_both_if_it_has_two_of_its_own(rng, seed, side):
    labels = plane(rng)
    chosen, known = PIXEL_SPLITS["blocks"](str(side), labels, seed), labels != 255
    assert not chosen[~known].any()
    classes: dict[tuple[int, int], set[int]] = {}
    for y, x in np.argwhere(known):
        classes.setdefault((y // side, x // side), set()).add(int(labels[y, x]))
    sides = {place: chosen[_block(place, side)][known[_block(place, side)]] for place in classes}
    assert all(len(np.unique(one)) == 1 for one in sides.values())
    for number in np.unique(labels[known]):
        own = [place for place, there in classes.items() if there == {number}]
        if len(own) == sum(number in there for there in classes.values()):
            taught = sum(bool(sides[place][0]) for place in own)
            assert taught == -(-len(own) // 2)


def _block(place, side):
    return tuple(slice(one * side, (one + 1) * side) for one in place)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("s") / "scene", 24, 30, BANDS, classes=CLASSES, unlabelled=0.2)


def item(scene, **more):
    return StudyScene(**{"name": "scene", "scene": scene, "truth": None, **more})


@pytest.mark.parametrize("text", ["random:0.1", "halves", "class-halves", "blocks:5"])
def test_the_two_sides_of_a_split_are_stores_without_a_labelled_pixel_in_common(scene, tmp_path, text):
    labels = Scene.open(scene).labels()
    split = pixel_split(text, [item(scene)], 1, tmp_path)
    train, test = (label_map(side[0].truth) for side in (split.train, split.test))
    taught, judged = (np.asarray(each.array[...]) for each in (train, test))
    assert not ((taught != 255) & (judged != 255)).any()
    assert np.array_equal(np.minimum(taught, judged), labels)
    assert train.attrs["flag_meanings"] == label_map(scene).attrs["flag_meanings"]
    again = pixel_split(text, [item(scene)], 1, tmp_path)
    assert again == split
    elsewhere = pixel_split(text, [item(scene)], 1, tmp_path / "other")
    assert (
        zarr.open_group(elsewhere.train[0].truth).attrs["tilespec_digest"]
        == zarr.open_group(train.store).attrs["tilespec_digest"]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("third", "one of random:SHARE, halves, class-halves, blocks:SIDE"),
        ("blocks", "a number of pixels"),
        ("blocks:0", "a number of pixels"),
        ("blocks:-3", "a number of pixels"),
        ("random", "a share above 0"),
        ("random:3", "a share above 0"),
        ("random:much", "a share above 0"),
        ("halves:2", "halves alone"),
        ("class-halves:2", "class-halves alone"),
    ],
)
def test_splits_that_are_none_are_refused(scene, tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        pixel_split(text, [item(scene)], 0, tmp_path)


def test_a_side_without_labels_and_a_scene_with_a_target_are_refused(scene, make_scene, tmp_path):
    with pytest.raises(UserError, match="with a target"):
        pixel_split("halves", [item(scene, truth=scene, key="target")], 0, tmp_path)
    path = make_scene(tmp_path / "left", 8, 8, BANDS, classes=2)
    group = zarr.open_group(path, mode="r+")
    labels = np.full((8, 8), 255, np.uint8)
    labels[0, 0], labels[1, 1] = 0, 1
    group["labels"][...] = labels
    api.repair(path, accept=True)
    with pytest.raises(UserError, match="no labelled pixel"):
        pixel_split("halves", [item(path)], 0, tmp_path / "labels")


def augmented(scene, out, **more):
    given = {
        "overrides": {"data.scene": scene},
        "vary": {"task.unlabelled": [False, True]},
        "baselines": ["svm"],
        "baseline_options": {"recipe": "", "samples": 300},
        "synthetic": ["gaussians"],
        "split": ["random:0.2", "halves"],
        "seeds": 2,
    }
    return api.study(GENERATOR, str(out), **{**given, **more})


def test_a_study_that_discards_leaves_no_store_beside_its_models(scene, tmp_path):
    augmented(scene, tmp_path / "s", split=["halves"], seeds=1, vary={}, discard=True)
    assert not [left for end in ("zarr", "tilespec") for left in (tmp_path / "s" / "models").glob(f"*.{end}")]
    assert list((tmp_path / "s" / "models").iterdir())


@pytest.fixture(scope="module")
def done(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "s"
    return out, augmented(scene, out)


@pytest.mark.slow
def test_classifiers_alone_and_with_spectra_are_judged_on_the_same_pixels(scene, done):
    _, result = done
    names = ["svm", "svm + gaussians", "svm + unlabelled=false", "svm + unlabelled=true"]
    assert list(dict.fromkeys(row["variant"] for row in result["scores"])) == names
    labelled = int((Scene.open(scene).labels() != 255).sum())
    for fold, most in (("random:0.2", 0.81), ("halves", 0.6)):
        rows = [row for row in result["scores"] if row["fold"] == fold]
        assert len({row["pixels"] for row in rows}) == 1
        assert rows[0]["pixels"] <= most * labelled
        assert all(row["seeds"] == 2 and row["std"]["oa"] is not None for row in rows)
    assert result["status"] == "complete"
    assert "svm + unlabelled=true" in result["table"]


def test_the_row_of_a_classifier_is_what_baseline_and_evaluate_say(scene, done, tmp_path):
    _, result = done
    scores = []
    for seed in range(2):
        split = pixel_split("random:0.2", [item(scene)], seed, tmp_path)
        out, own = tmp_path / f"svm{seed}", {"recipe": "", "samples": 300, "seed": seed}
        api.baseline("svm", scene, out, labels=split.train[0].truth, synthetic="gaussians", **own)
        scores.append(api.evaluate(out, split.test[0].truth)["oa"])
    row = next(one for one in result["scores"] if (one["variant"], one["fold"]) == ("svm + gaussians", "random:0.2"))
    assert row["mean"]["oa"] == pytest.approx(np.mean(scores))


def test_a_generator_fills_the_training_labels_alone_and_is_trained_once_for_all_classifiers(scene, done, monkeypatch):
    out, before = done
    filled = sorted((out / "models").glob("*.filled.zarr"))
    assert len(filled) == 2 * 2 * 2  # generators, splits, seeds
    for one in filled:
        made = Scene.open(str(one))
        inside = np.isfinite(made.read(made.roi)[..., 0])
        assert np.array_equal(inside, made.labels() != 255)
        assert inside.sum() < (Scene.open(scene).labels() != 255).sum()
    trained = []
    monkeypatch.setattr(api, "train", lambda *_, **more: trained.append(more) or {"dry_run": True})
    after = augmented(scene, out)
    assert [one for one in trained if not one.get("dry_run")] == []
    assert after["scores"] == before["scores"]


def test_a_generator_that_learns_from_a_region_fills_the_labels_of_that_region(scene, tmp_path):
    region = {"rows": "12:24", "test_rows": "0:12"}
    result = augmented(scene, tmp_path / "s", split=[], seeds=1, vary={}, synthetic=[], **region)
    assert [row["variant"] for row in result["scores"]] == ["svm", "svm + configuration"]
    (filled,) = (tmp_path / "s" / "models").glob("*.filled.zarr")
    made = Scene.open(str(filled))
    assert (made.labels()[:12] == 255).all()
    assert np.array_equal(made.labels()[12:], Scene.open(scene).labels()[12:])


def test_generators_without_a_classifier_that_learns_from_them_and_two_ways_to_split_are_refused(scene, tmp_path):
    for baselines in ([], ["sam"]):
        with pytest.raises(UserError, match="svm, logistic, mlp"):
            augmented(scene, tmp_path / "a", baselines=baselines)
    with pytest.raises(UserError, match="one of them"):
        augmented(scene, tmp_path / "b", test_rows="0:4")
    with pytest.raises(UserError, match="--baseline-option seed"):
        augmented(scene, tmp_path / "c", baseline_options={"seed": 3})
    assert not list(tmp_path.iterdir())


def test_the_command_plans_an_augmentation_study_and_writes_nothing(scene, tmp_path):
    line = ["study", "preset:audebert2018", "--out", str(tmp_path / "s"), "--set", f"data.scene={scene}"]
    line += ["--baseline", "svm,mlp", "--synthetic", "gaussians,mixtures", "--split", "random:0.1", "--split", "halves"]
    line += ["--seeds", "1", "--set", "data.patches=512"]  # few: here the types of every call are checked
    result = CliRunner().invoke(app, [*line, "--baseline-option", "recipe=", "--dry-run", "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert len(plan["variants"]) == 2 * 4
    assert list(plan["folds"]) == ["random:0.1", "halves"]
    assert not (tmp_path / "s").exists()
