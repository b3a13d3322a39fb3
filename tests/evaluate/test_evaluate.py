"""Evaluate on stores: the protocol, alignment, refusals, and one pass over large maps."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    adjusted_rand_score,
    cohen_kappa_score,
    jaccard_score,
    mean_absolute_error,
    mean_squared_error,
    normalized_mutual_info_score,
    r2_score,
    recall_score,
)
from stored_predictions import NAMES, write_field, write_map

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED
from tilespec.evaluate.bootstrap import spatial_folds
from tilespec.evaluate.class_names import common_classes
from tilespec.evaluate.clusters import agreement, best_assignment
from tilespec.evaluate.evaluate import evaluate
from tilespec.evaluate.metrics.confusion import Patches
from tilespec.evaluate.seams import seam_score
from tilespec.storage.layer import Layer
from tilespec.storage.product import publish
from tilespec.storage.scene import Scene


@pytest.fixture
def maps():
    """Return a truth of blobs with unlabelled pixels, and a prediction with errors and nodata."""
    rng = np.random.default_rng(1)
    truth = np.kron(rng.integers(0, 2, (6, 8)), np.ones((12, 11))).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.1, 1 - truth, truth).astype(np.uint8)
    truth[:3, :5] = UNLABELLED
    predicted[20:24, 30:40] = UNLABELLED
    return truth, predicted


@pytest.fixture
def stores(tmp_path, maps):
    truth, predicted = maps
    return write_map(tmp_path / "p", predicted, chunk=24), write_map(tmp_path / "t", truth, "labels", chunk=7)


def patch_ious(truth, predicted, patches):
    """Score the plant class of every patch by cutting it out, as the paper defines it."""
    scores, kept = [], []
    for y, x in patches.origins:
        t, p = (m[y : y + patches.size, x : x + patches.size] for m in (truth, predicted))
        labelled = t != UNLABELLED
        t, p = (t == 1)[labelled], (p == 1)[labelled]
        scores.append(((t & p).sum() + 1) / ((t | p).sum() + 1))
        kept.append(0 < t.sum() < t.size)
    return np.array(scores), np.array(kept)


def test_the_published_protocol_equals_brute_force_and_scikit_learn(stores, maps):
    truth, predicted = maps
    result = evaluate(*stores, patches=200, patch_size=9, seed=3)
    patches = Patches.draw(truth.shape, count=200, size=9, seed=3)
    scores, kept = patch_ious(truth, predicted, patches)
    assert 0 < kept.sum() < 200
    drawn = scores[patches.redraw(kept)]
    assert result["iou_mean"] == pytest.approx(drawn.mean())
    assert result["iou_std"] == pytest.approx(drawn.std())
    assert result["iou_mean_all"] == pytest.approx(scores.mean())
    assert result["iou_std_all"] == pytest.approx(scores.std())
    assert result["kept"] == kept.sum()
    labelled = truth != UNLABELLED
    t, p = truth[labelled], predicted[labelled]
    assert result["scene_iou"] == pytest.approx(jaccard_score(t == 1, p == 1))
    assert result["miou"] == pytest.approx(jaccard_score(t, p, labels=[0, 1], average="macro"))
    assert result["kappa"] == pytest.approx(cohen_kappa_score(t, p))
    assert result["oa"] == pytest.approx((t == p).mean())
    assert (result["nodata"], result["nodata_labelled"], result["labelled"]) == (40, 40, labelled.sum())
    assert np.sum(result["confusion"]) == labelled.sum()


def test_the_result_is_kept_beside_the_prediction_as_it_was_returned(stores):
    result = evaluate(*stores, patches=10, patch_size=20)
    kept = Path(f"{stores[0]}.tilespec/evaluation.json")
    assert json.loads(kept.read_text()) == result
    assert set(result) >= {
        "iou_mean",
        "iou_std",
        "iou_mean_all",
        "iou_std_all",
        "patches",
        "scene_iou",
        "miou",
        "oa",
        "kappa",
        "overlaps_training",
        "kept",
    }


def test_a_result_that_cannot_be_kept_is_returned_with_a_note(stores, monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system")

    whole = evaluate(*stores, patches=10, patch_size=20)
    monkeypatch.setattr("tilespec.evaluate.evaluate.write_atomic", read_only)
    result = evaluate(*stores, patches=10, patch_size=20)
    assert (result["oa"], result["iou_mean"]) == (whole["oa"], whole["iou_mean"])
    assert any("not kept" in note and "Read-only file system" in note for note in result["notes"])


def test_a_dry_run_says_what_would_run_and_writes_nothing(stores):
    plan = evaluate(*stores, patches=10, patch_size=20, dry_run=True)
    assert plan["pixels"] == 72 * 88
    assert not Path(f"{stores[0]}.tilespec/evaluation.json").exists()


def test_every_method_is_scored_on_the_same_patches(tmp_path, maps, monkeypatch):
    truth, predicted = maps
    seen = []
    draw = Patches.draw.__func__
    monkeypatch.setattr(Patches, "draw", classmethod(lambda *a, **k: seen.append(draw(*a, **k)) or seen[-1]))
    labels = write_map(tmp_path / "t", truth, "labels")
    for name, plane, chunk in (("a", predicted, 16), ("b", 1 - (truth == 1), 64)):
        evaluate(write_map(tmp_path / name, plane, chunk=chunk), labels, patches=50, patch_size=16, seed=5)
    assert (seen[0].origins == seen[1].origins).all()
    kept = patch_ious(truth, predicted, seen[0])[1]
    assert (seen[0].redraw(kept) == seen[1].redraw(kept)).all()


def test_chunks_and_strips_do_not_change_a_figure(tmp_path, maps, monkeypatch):
    truth, predicted = maps
    labels = write_map(tmp_path / "t", truth, "labels")
    results = []
    for chunk in (5, 16, 72):
        monkeypatch.setattr("tilespec.evaluate.class_maps.PIXELS", chunk * 400)
        result = evaluate(write_map(tmp_path / f"p{chunk}", predicted, chunk=chunk), labels, patch_size=20)
        results.append({k: v for k, v in result.items() if k not in {"pred", "seconds", "peak_memory"}})
    assert results[0] == results[1] == results[2]


def test_a_region_scores_as_if_it_were_cut_out(tmp_path, maps, stores):
    truth, predicted = maps
    part = np.s_[10:60, 4:80]
    cut = evaluate(
        write_map(tmp_path / "cp", predicted[part]),
        write_map(tmp_path / "ct", truth[part], "labels"),
        patch_size=9,
    )
    asked = evaluate(*stores, rows="10:60", cols="4:80", patch_size=9)
    placed = write_map(tmp_path / "placed", predicted[part], origin=[10, 4])
    whole = evaluate(placed, stores[1], patch_size=9)
    for key in ("iou_mean", "iou_std", "iou_mean_all", "oa", "kappa", "confusion", "nodata"):
        assert cut[key] == asked[key] == whole[key], key
    assert whole["region"] == {"rows": [10, 60], "cols": [4, 80]}


@pytest.mark.parametrize(
    ("regions", "rows", "expected"),
    [
        ([{"digest": "T", "rows": "0:30", "cols": None}], "30:72", False),
        ([{"digest": "T", "rows": "0:31", "cols": None}], "30:72", True),
        ([{"digest": "T", "rows": [0, 31], "cols": [0, 9]}], "30:72", True),
        ([{"digest": "other", "rows": None, "cols": None}], "30:72", False),
        ([{"digest": None, "rows": "0:31", "cols": None}], "30:72", None),
        ([], None, False),
        (None, None, None),
    ],
)
def test_it_says_whether_the_region_taught_the_model(tmp_path, maps, regions, rows, expected):
    truth, predicted = maps
    labels = write_map(tmp_path / "t", truth, "labels")
    digest = zarr.open_group(labels).attrs["tilespec_digest"]
    attrs = {} if regions is None else {"train_regions": [dict(r) for r in regions]}
    for region in attrs.get("train_regions", []):
        region["digest"] = digest if region["digest"] == "T" else region["digest"]
    found = evaluate(write_map(tmp_path / "p", predicted, **attrs), labels, rows=rows, patch_size=9)
    assert found["overlaps_training"] is expected


def test_three_classes_score_by_the_mean_over_classes_of_the_truth(tmp_path):
    truth = np.repeat([[0, 1, 2, 2]], 4, axis=0).astype(np.uint8)
    predicted = np.repeat([[0, 1, 2, 1]], 4, axis=0).astype(np.uint8)
    names = ("a", "b", "c")
    result = evaluate(
        write_map(tmp_path / "p", predicted, classes=names),
        write_map(tmp_path / "t", truth, "labels", classes=names),
        patches=3,
        patch_size=4,
    )
    assert result["iou_mean"] == pytest.approx(np.mean([1.0, 5 / 9, 5 / 9]))
    assert result["scene_iou"] == result["miou"] == pytest.approx(np.mean([1.0, 0.5, 0.5]))


def test_a_method_is_named_in_its_result(tmp_path, maps):
    pred = write_map(tmp_path / "p", maps[1], method="plsda")
    assert evaluate(pred, write_map(tmp_path / "t", maps[0], "labels"), patch_size=9)["method"] == "plsda"


def test_a_scene_without_a_patch_of_two_classes_has_no_published_figure(tmp_path):
    plane = np.ones((20, 20), np.uint8)
    pred = write_map(tmp_path / "p", plane)
    result = evaluate(pred, write_map(tmp_path / "t", plane, "labels"), patch_size=9)
    assert (result["iou_mean"], result["iou_std"], result["kept"]) == (None, None, 0)
    assert result["iou_mean_all"] == 1.0


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as caught:
        evaluate(*args, **kwargs)
    return str(caught.value)


def test_a_region_smaller_than_a_patch_is_refused_naming_the_largest_that_fits(stores):
    message = refusal(*stores, patch_size=512)
    assert "512 for a region of 72 x 88" in message
    assert "--patch-size 72" in message
    assert "--patch-size 8 " in refusal(*stores, rows="0:8", patch_size=9)


def test_without_a_size_patches_are_as_large_as_published_or_as_there_is_room_for(stores):
    found = evaluate(*stores)
    assert found["patch_size"] == 72
    asked = evaluate(*stores, patch_size=72)
    assert all(asked[name] == found[name] for name in ("iou_mean", "iou_std", "kept"))


def test_maps_of_different_planes_are_refused(tmp_path, maps, stores):
    small = write_map(tmp_path / "small", maps[0][:50], "labels")
    assert "rows 0:72" in refusal(stores[0], small, patch_size=9)
    placed = write_map(tmp_path / "placed", maps[1], origin=[1, 0])
    assert "inside rows 0:72" in refusal(placed, stores[1], patch_size=9)
    part = write_map(tmp_path / "part", maps[1][:50], origin=[0, 0])
    assert "a part of rows 0:50" in refusal(part, stores[1], rows="40:60", patch_size=9)


def test_a_part_of_another_scene_is_refused(tmp_path, make_scene, maps):
    scene = make_scene(tmp_path / "s", 80, 90, 4)
    part = write_map(tmp_path / "p", maps[1], origin=[0, 0], scene_digest="of another scene")
    assert "Name the scene that was predicted" in refusal(part, scene, patch_size=9)


def test_classes_that_do_not_match_are_refused(tmp_path, maps, stores):
    swapped = write_map(tmp_path / "swapped", maps[1], classes=NAMES[::-1])
    assert "plant, background" in refusal(swapped, stores[1], patch_size=9)
    maps[1][40, 40] = 7
    assert "the value 7" in refusal(write_map(tmp_path / "seven", maps[1]), stores[1], patch_size=9)


def test_a_class_map_as_mask_selects_what_is_labelled_and_a_cube_is_no_mask(tmp_path, make_scene, maps, stores):
    """Class 0 is a class like the others; bands are no pixels."""
    same = evaluate(*stores, patch_size=9)
    masked = evaluate(*stores, patch_size=9, mask="labels")
    assert masked["confusion"] == same["confusion"]
    assert masked["pixels_masked"] == (maps[0] == UNLABELLED).sum()
    assert any("labels is a class map" in note for note in masked["notes"])
    scene = make_scene(tmp_path / "s", 72, 88, 4)
    found = Scene.open(scene).labels()
    assert "of 4 bands" in refusal(write_map(tmp_path / "p2", found), scene, patch_size=9, mask="cube")
    assert "of 4 bands" in refusal(scene, scene, patch_size=9, mask="cube")


def test_the_prediction_of_another_scene_of_the_same_size_is_refused(tmp_path, make_scene):
    scenes = [make_scene(tmp_path / name, 72, 88, 4, noise=noise) for name, noise in (("a", 0.01), ("b", 0.02))]
    first, other = map(Scene.open, scenes)
    pred = write_map(tmp_path / "p", first.labels(), scene_digest=first.digest, origin=[0, 0])
    assert first.digest != other.digest
    assert evaluate(pred, scenes[0], patch_size=9)["oa"] == 1
    assert "the prediction of another scene" in refusal(pred, scenes[1], patch_size=9)
    beside = write_map(tmp_path / "q", first.labels(), scene_digest=other.digest, origin=[0, 0])
    assert "the prediction of another scene" in refusal(pred, beside, patch_size=9)


def test_figures_of_classes_stand_under_their_names(tmp_path):
    """Scikit-learn averages the recall; a class that only the prediction has is in no mean, and a note says so."""
    rng = np.random.default_rng(3)
    truth = rng.choice([0, 1, 3], (40, 50)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 4, truth.shape)).astype(np.uint8)
    names = ("soil", "plant", "stone", "water")
    truths = write_map(tmp_path / "t", truth, "labels", classes=names)
    found = evaluate(write_map(tmp_path / "p", predicted, classes=names), truths, patch_size=9)
    assert found["aa"] == pytest.approx(
        recall_score(truth.ravel(), predicted.ravel(), labels=[0, 1, 3], average="macro")
    )
    assert [row["class"] for row in found["per_class"]] == list(names)
    assert [row["iou"] for row in found["per_class"]] == found["iou"]
    assert [row["pixels"] for row in found["per_class"]] == np.bincount(truth.ravel(), minlength=4).tolist()
    assert found["miou_over"] == ["soil", "plant", "water"]
    assert found["miou"] == pytest.approx(np.mean([found["iou"][i] for i in (0, 1, 3)]))
    assert any("predicted besides: stone" in note for note in found["notes"])


NAMED = st.lists(st.sampled_from(["soil", "plant", "water", "road", "roof"]), min_size=2, max_size=4, unique=True)


@given(NAMED, NAMED)
def test_classes_are_compared_only_where_a_name_has_one_number(ours, theirs):
    """The truth may have more classes behind; and unnamed ones may be any."""
    same = ours == theirs[: len(ours)]
    try:
        found = common_classes("pred", ours, "truth", theirs)
    except UserError:
        assert not same
    else:
        assert same
        assert found == tuple(theirs)
    unnamed = [f"class_{i}" for i in range(len(ours))]
    assert common_classes("pred", unnamed, "truth", theirs)[: len(theirs)] == tuple(theirs)
    assert common_classes("pred", ours, "truth", unnamed)
    assert common_classes("pred", ours, "truth", ())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_clusters_are_judged_as_scikit_learn_and_every_assignment_judge_them(classes, clusters, seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, 60)
    found = np.where(rng.random(60) < 0.6, truth % clusters, rng.integers(0, clusters, 60))
    counts = np.zeros((classes, clusters), np.int64)
    np.add.at(counts, (truth, found), 1)
    agreed = agreement(counts)
    assert agreed["ari"] == pytest.approx(adjusted_rand_score(truth, found), abs=1e-9)
    assert agreed["nmi"] == pytest.approx(normalized_mutual_info_score(truth, found), abs=1e-9)
    best = best_assignment(counts)
    assert len(set(best.values())) == len(best)
    if max(classes, clusters) <= 5:
        size = max(classes, clusters)
        square = np.zeros((size, size), np.int64)
        square[:classes, :clusters] = counts
        most = max(sum(square[order[k], k] for k in range(size)) for order in permutations(range(size)))
        assert sum(counts[number, cluster] for cluster, number in best.items()) == most


def test_clusters_are_scored_by_their_best_assignment(tmp_path, maps):
    """Numbers of clusters mean nothing: any renaming scores the same, and as the classes would."""
    truth, predicted = maps
    labels = write_map(tmp_path / "t", truth, "labels")
    names = tuple(f"cluster_{i}" for i in range(4))
    renamed = np.where(predicted == UNLABELLED, UNLABELLED, np.array([3, 1])[predicted % 2]).astype(np.uint8)
    renamed[60:66, 60:70] = 0  # a third cluster, without a class
    expected = predicted.copy()
    expected[60:66, 60:70] = UNLABELLED
    found = evaluate(
        write_map(tmp_path / "c", renamed, classes=names), labels, patch_size=9, bootstrap=20, block_size=20
    )
    same = evaluate(write_map(tmp_path / "p", expected), labels, patch_size=9, bootstrap=20, block_size=20)
    assert found["assignment"] == {
        "cluster_0": None,
        "cluster_1": "plant",
        "cluster_2": None,
        "cluster_3": "background",
    }
    for name in ("oa", "aa", "kappa", "miou", "iou", "iou_mean", "confusion", "bootstrap"):
        assert found[name] == same[name], name
    assert (found["nodata_labelled"], found["unassigned"]) == (same["nodata_labelled"] - 60, 60)
    seen = truth != UNLABELLED
    both = seen & (renamed != UNLABELLED)
    assert found["ari"] == pytest.approx(adjusted_rand_score(truth[both], renamed[both]))
    assert found["classes"] == list(NAMES)
    assert evaluate(write_map(tmp_path / "d", renamed, classes=names), labels, patch_size=9, dry_run=True)["dry_run"]


def test_stores_that_are_no_class_maps_or_not_complete_are_refused(tmp_path, make_scene, stores):
    scene = make_scene(tmp_path / "s", 72, 88, 4, labelled=False)
    assert "labels(y, x)" in refusal(stores[0], scene, patch_size=9)
    assert "prediction(y, x)" in refusal(scene, stores[1], patch_size=9)
    publish(stores[0], {"tilespec_status": "writing"})
    assert "status 'writing'" in refusal(*stores, patch_size=9)
    assert "found nothing" in refusal(str(tmp_path / "nowhere"), stores[1])


GRID = {"tile": 16, "overlap": 8, "window": "cosine", "scale": "1", "kind": "approximate"}


def test_the_seam_score_stands_beside_the_score(tmp_path, maps, stores):
    pred = write_map(tmp_path / "tiled", maps[1], grid=GRID)
    result = evaluate(pred, stores[1], patch_size=9, rows="10:60")
    seams = seam_score(pred, truth=stores[1], rows="10:60")
    assert seams["seam_score"] is not None
    assert seams["seam_score_truth"] is not None
    assert {key: result[key] for key in seams} == seams
    whole = evaluate(stores[0], stores[1], patch_size=9)
    assert whole["seam_score"] is None
    assert whole["seam_note"] == "no seam score: not tiled"


def test_an_incomplete_prediction_is_scored_and_said_to_be_incomplete(stores):
    publish(stores[0], {"tilespec_status": "incomplete"})
    assert evaluate(*stores, patch_size=9)["status"] == "incomplete"


def test_every_pixel_is_read_once_for_the_scores_and_once_for_the_seams(tmp_path, maps, stores, monkeypatch):
    """The contract that makes a thousand patches cheap: their number does not matter to what is read."""
    read, pixels = Layer.read, []

    def counted(self, roi):
        out = read(self, roi)
        pixels.append(np.size(out))
        return out

    monkeypatch.setattr(Layer, "read", counted)
    monkeypatch.setattr("tilespec.evaluate.class_maps.PIXELS", 1000)
    evaluate(*stores, patches=300, patch_size=40)
    assert sum(pixels) == 2 * 72 * 88
    pixels.clear()
    evaluate(write_map(tmp_path / "tiled", maps[1], grid=GRID), stores[1], patches=300, patch_size=40)
    assert sum(pixels) == 4 * 72 * 88


@pytest.fixture
def fields(tmp_path, make_scene):
    """Return a scene, and a scene like it with errors and holes."""
    truth = make_scene(tmp_path / "truth", 72, 88, 5, nan=0.02)
    predicted = make_scene(tmp_path / "pred", 72, 88, 5, noise=0.1, nan=0.01, labelled=False)
    return predicted, truth


def cubes(*urls):
    return [Scene.open(url).read(Scene.open(url).roi).astype(np.float64) for url in urls]


def test_channels_are_scored_as_scikit_learn_scores_them(fields):
    result = evaluate(*fields, patches=200, patch_size=9, seed=3)
    p, t = cubes(*fields)
    known = np.isfinite(p[..., 0]) & np.isfinite(t[..., 0])
    assert result["task"] == "reconstruct"
    assert result["rmse"] == pytest.approx(np.sqrt(mean_squared_error(t[known], p[known])))
    assert result["mae"] == pytest.approx(mean_absolute_error(t[known], p[known]))
    assert result["bias"] == pytest.approx((p - t)[known].mean(), abs=1e-12)
    each = r2_score(t[known], p[known], multioutput="raw_values")
    assert result["channels"]["r2"] == pytest.approx(each.tolist())
    assert result["r2"] == pytest.approx(r2_score(t[known], p[known], multioutput="variance_weighted"))
    assert result["values"] == 5 * known.sum()
    assert result["missing"] == 5 * (np.isfinite(t[..., 0]) & ~known).sum()
    patches = Patches.draw((72, 88), count=200, size=9, seed=3)
    cut = [np.nanmean((p - t)[y : y + 9, x : x + 9] ** 2) ** 0.5 for y, x in patches.origins]
    assert (result["rmse_mean"], result["rmse_std"]) == pytest.approx((np.mean(cut), np.std(cut)))
    assert result["seam_score"] is None
    assert json.loads(Path(f"{fields[0]}.tilespec/evaluation.json").read_text()) == result


def test_channels_of_a_region_and_in_any_pieces_score_the_same(fields, monkeypatch):
    options = {"patch_size": 9, "rows": "10:61", "cols": "3:80"}
    one = evaluate(*fields, **options)
    monkeypatch.setattr("tilespec.evaluate.channels.VALUES", 1 << 30)
    other = evaluate(*fields, **options)
    p, t = (cube[10:61, 3:80] for cube in cubes(*fields))
    assert one["rmse"] == pytest.approx(np.sqrt(np.nanmean((p - t) ** 2)))
    for key in ("rmse", "mae", "r2", "psnr", "sam", "rmse_mean", "rmse_std"):
        assert one[key] == pytest.approx(other[key], rel=1e-12)


def test_one_quantity_is_scored_against_a_layer(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.normal(20, 3, (40, 50))
    predicted = (truth + rng.normal(0.5, 1, truth.shape)).astype(np.float32)
    layer = write_field(tmp_path / "t", truth, "moisture")
    pred = write_field(tmp_path / "p", predicted[5:30, 7:40], origin=[5, 7])
    result = evaluate(pred, layer, layer="moisture", patch_size=9, patches=20)
    error = predicted[5:30, 7:40] - truth[5:30, 7:40].astype(np.float32)
    assert (result["rmse"], result["bias"]) == pytest.approx((np.sqrt((error**2).mean()), error.mean()), rel=1e-5)
    assert result["r2"] == pytest.approx(r2_score(truth[5:30, 7:40].ravel(), predicted[5:30, 7:40].ravel()), rel=1e-5)
    assert result["sam"] is None
    assert result["region"] == {"rows": [5, 30], "cols": [7, 40]}


def test_a_prediction_of_another_scale_is_scored_against_a_truth_of_its_own_scale_only(tmp_path):
    values, whole = np.random.default_rng(0).normal(size=(20, 30, 3)), np.zeros((24, 36, 3))
    whole[2:22, 2:32] = values  # half the scene's pixels along each axis: 4 pixels of the scene are 2 of the truth
    grid = {"scale": "1/2", "tile": 8, "overlap": 0, "window": "none"}
    pred = write_field(tmp_path / "p", values, origin=[4, 4], plane=[48, 72], grid=grid)
    assert evaluate(pred, write_field(tmp_path / "t", whole, "cube"), patch_size=9)["rmse"] == 0
    message = refusal(pred, write_field(tmp_path / "large", np.zeros((48, 72, 3)), "cube"), patch_size=9)
    assert "one of rows 0:48" in message


def test_channels_that_do_not_match_are_refused(tmp_path, make_scene, fields):
    other = make_scene(tmp_path / "other", 72, 88, 4)
    assert "expected 4, as the cube" in refusal(fields[0], other, patch_size=9)
    assert "numbers nothing(y, x)" in refusal(*fields, layer="nothing", patch_size=9)
    assert "numbers probability(y, x)" in refusal(*fields, layer="probability", patch_size=9)
    moved = write_field(tmp_path / "f", np.zeros((72, 88)))
    assert "found 1 channels; expected 5" in refusal(moved, fields[1], patch_size=9)


def test_intervals_and_folds_of_blocks_leave_the_figures_as_they_are(stores, maps):
    plain = evaluate(*stores, patch_size=9)
    asked = evaluate(*stores, patch_size=9, bootstrap=200, blocks=4, block_size=16, seed=1)
    assert {k: asked[k] for k in ("oa", "miou", "confusion", "nodata")} == {
        k: plain[k] for k in ("oa", "miou", "confusion", "nodata")
    }
    found = asked["bootstrap"]
    assert (found["blocks"], found["draws"], found["level"]) == (5 * 6, 200, 0.95)
    for key in ("oa", "kappa", "miou"):
        low, high = found["intervals"][key]
        assert low < plain[key] < high
    lines = asked["folds"]["scores"]
    assert sum(line["labelled"] for line in lines) == plain["labelled"]
    assert sum(line["oa"] * line["labelled"] for line in lines) / plain["labelled"] == pytest.approx(plain["oa"])
    assert asked["folds"]["mean"]["oa"] == pytest.approx(np.mean([line["oa"] for line in lines]))
    truth, predicted = maps
    member = np.kron(spatial_folds((5, 6), 4, 1), np.ones((16, 16)))[:72, :88]
    first = (member == 0) & (truth != UNLABELLED)
    assert lines[0]["oa"] == pytest.approx((truth == predicted)[first].mean())


def test_blocks_keep_their_fold_in_any_region(stores):
    whole = evaluate(*stores, patch_size=9, blocks=2, block_size=16)
    halves = [evaluate(*stores, patch_size=9, blocks=2, block_size=16, rows=rows) for rows in ("0:40", "40:72")]
    for fold in range(2):
        parts = [half["folds"]["scores"][fold]["labelled"] for half in halves]
        assert sum(parts) == whole["folds"]["scores"][fold]["labelled"]


def test_channels_have_intervals_and_folds_too(fields):
    result = evaluate(*fields, patch_size=9, bootstrap=100, blocks=3, block_size=20)
    low, high = result["bootstrap"]["intervals"]["rmse"]
    assert low < result["rmse"] < high
    assert sum(line["values"] for line in result["folds"]["scores"]) == result["values"]
    assert json.dumps(result)


def test_few_blocks_are_noted_and_too_few_refused(stores):
    note = evaluate(*stores, patch_size=9, bootstrap=10, block_size=40)["notes"]
    assert "intervals over 6 blocks are too narrow" in note[0]
    assert "1 block;" in refusal(*stores, patch_size=9, bootstrap=10, block_size=100)
    assert "7 folds of 6 blocks" in refusal(*stores, patch_size=9, blocks=7, block_size=40)
    assert "1 folds" in refusal(*stores, patch_size=9, blocks=1, block_size=40)
    assert "--bootstrap" in refusal(*stores, patch_size=9, bootstrap=-1)


@pytest.mark.parametrize("margin", [0, 4])
@pytest.mark.parametrize("options", [{}, {"mask": "selected"}])
def test_a_map_of_half_the_size_is_compared_with_means_of_the_truth(make_scene, tmp_path, margin, options):
    rng = np.random.default_rng(margin)
    truth, chosen = rng.uniform(0, 100, (41, 66)).astype(np.float32), rng.random((41, 66)) < 0.7
    truth[7, 9] = np.nan
    scene = zarr.open_group(make_scene(tmp_path / "scene", 41, 66, 3), mode="a")
    for name, plane in (("fat", truth), ("selected", chosen.astype(np.uint8))):
        scene.create_array(name, shape=plane.shape, dtype=plane.dtype, dimension_names=("y", "x"))[...] = plane
    means = truth[:40].reshape(20, 2, 33, 2).mean(axis=(1, 3), dtype=np.float64)
    most = 2 * chosen[:40].reshape(20, 2, 33, 2).sum(axis=(1, 3)) >= 4 if options else np.ones((20, 33), bool)
    cut = np.s_[margin // 2 : 20 - margin // 2, margin // 2 : 33 - margin // 2]
    noisy = (means + rng.normal(0, 3, means.shape))[cut].astype(np.float32)
    grid = {"scale": "1/2", "origin": margin, "tile": 8, "overlap": 0, "window": "none"}
    half = write_field(tmp_path / "half", noisy[..., None], origin=[0, 0], plane=[41, 66], grid=grid)
    found = evaluate(half, str(tmp_path / "scene"), layer="fat", patch_size=8, patches=5, **options)
    errors = np.where(most, means, np.nan)[cut] - noisy
    assert found["rmse"] == pytest.approx(np.sqrt(np.nanmean(errors**2)), rel=1e-5)
    assert found["values"] == np.isfinite(errors).sum()
    assert found["region"] == {"rows": [margin // 2, 20 - margin // 2], "cols": [margin // 2, 33 - margin // 2]}
