"""What a net should answer: classes or a field, checked before anything is computed, and read beside the spectra."""

import json

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from spectral_pairs import RGB, spectral, write_cube, write_pair

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.core.types import Roi
from tilespec.models.tasks import TASKS, task
from tilespec.spectra.fit import fit_steps
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps import parse
from tilespec.storage.scene import Scene
from tilespec.training.config import resolve
from tilespec.training.data.kinds import KINDS, target_of
from tilespec.training.data.loader import Loader
from tilespec.training.data.patches import PatchStream, turned
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.targets import Target
from tilespec.training.data.training_set import open_training_set
from tilespec.training.setup import prepared
from tilespec.training.train import train


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"), nan=0.02, unknown=0.1)


def tables(pair, **given):
    base = {
        "data": {"scene": pair[0], "target": pair[1], "patch": 16, "patches": 8},
        "task": {"name": "reconstruct"},
        "net": {"name": "unet", "base_width": 2, "n_down": 2, "norm": "none"},
        "objective": {"name": "supervised", "loss": "l1"},
    }
    return {name: {**base.get(name, {}), **given.get(name, {})} for name in {*base, *given}}


def planned(pair, **given):
    return prepared(resolve(tables(pair, **given)), 1)


def test_the_task_is_told_how_many_channels_there_are_and_which_range_they_have(pair):
    config, corpus, plan = planned(pair, data={"rows": "0:40"})
    truth = Scene.open(pair[1]).read(Roi(y0=0, y1=40, x0=0, x1=48))
    told = {"channels": 7, "low": 0.0, "high": float(np.nanmax(truth))}
    assert config.task.model_extra == told
    assert {key: plan[key] for key in ("low", "high")} == {key: told[key] for key in ("low", "high")}
    assert plan["known_pixels"] == np.isfinite(truth).sum(axis=(0, 1)).tolist()
    assert plan["channels"] == [3, 7]
    assert (corpus.classes, corpus.axis) == ((), spectral(7))
    assert json.loads(json.dumps(plan)) == plan
    assert all(isinstance(region.truth, Target) for region in corpus.regions)


def test_values_below_zero_lower_the_range_and_what_the_user_says_stands(pair, tmp_path):
    cube = Scene.open(pair[1]).read(Scene.open(pair[1]).roi) - 100
    other = write_cube(tmp_path / "low.zarr", cube, spectral(7))
    assert planned((pair[0], other))[0].task.model_extra["low"] == float(np.nanmin(cube))
    config, _, plan = planned((pair[0], other), task={"low": -5.0, "high": 70.0})
    assert (config.task.model_extra["low"], config.task.model_extra["high"]) == (-5.0, 70.0)
    assert "known_pixels" not in plan, "nothing was counted"
    assert planned((pair[0], other), task={"high": 70.0})[0].task.model_extra["low"] == float(np.nanmin(cube))


def test_what_is_remembered_of_where_a_net_learned_names_the_target(pair):
    corpus = open_training_set(resolve(tables(pair)))
    (said,) = corpus.provenance()
    assert said["target"] == Scene.open(pair[1]).digest
    assert "labels" not in said


@pytest.fixture(scope="module")
def wrong(pair, make_scene, tmp_path_factory):
    """Stores that do not go with the pair."""
    folder, cube = tmp_path_factory.mktemp("wrong"), np.full((64, 48, 7), np.nan, np.float32)
    return {
        "size": write_cube(folder / "size.zarr", cube[:, :24], spectral(7)),
        "unknown": write_cube(folder / "unknown.zarr", cube, spectral(7)),
        "zero": write_cube(folder / "zero.zarr", np.zeros_like(cube), spectral(7)),
        "bands": write_cube(folder / "bands.zarr", np.ones((64, 48, 6), np.float32), spectral(6)),
        "moved": write_cube(folder / "moved.zarr", np.ones_like(cube), spectral(7).take(slice(None, None, -1))),
        "labelled": make_scene(folder / "labelled.zarr", 64, 48, 3),
    }


@pytest.mark.parametrize(
    ("data", "more", "text"),
    [
        ({"target": None}, {}, "data.target: found nothing; expected 1, one for each of data.scene"),
        ({"target": "size"}, {}, "target of 64 x 24 pixels; expected 64 x 48, the size of .*rgb.zarr"),
        ({"target": "unknown"}, {}, "a training region without a known value of the target"),
        ({"target": "unknown"}, {"task": {"low": 0.0, "high": 1.0}}, "without a known value of the target"),
        ({"target": "zero"}, {}, "values of the training region from 0 to 0; expected a range"),
        ({"target": ["pair", "size"]}, {}, "data.target: found 2 stores; expected 1"),
        ({"scene": ["rgb", "rgb"], "target": ["pair", "bands"]}, {}, "other target bands.*6 bands"),
        ({"scene": ["rgb", "rgb"], "target": ["pair", "moved"]}, {}, "other target bands.*bands moved"),
        (
            {"labels": "labelled"},
            {},
            "data.labels: .*for task reconstruct; expected nothing: the targets of that",
        ),
        ({"balance": "classes"}, {}, "data.balance: found 'classes', for task reconstruct"),
        ({"drop_single_class": True}, {}, "data.drop_single_class: found True"),
        ({}, {"task": {"channels": 31}}, "task.channels: found 31, where .* has 7 bands"),
        ({}, {"task": {"head": "tanh"}}, "net.head, task.head: found 'logits' and 'tanh'"),
        ({}, {"objective": {"loss": "cross_entropy"}}, "objective.loss: found cross_entropy"),
        ({}, {"task": {"name": "segment"}}, "data.target: .*task segment; .* targets of that task are data.labels"),
        ({}, {"validate": {"target": "pair", "rows": "0:4"}}, "validate.target: found target without validate.scene"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_would(pair, wrong, data, more, text):
    places = {"pair": pair[1], "rgb": pair[0], **wrong}

    def placed(given):
        return [places[name] for name in given] if isinstance(given, list) else places.get(given, given)

    found = {key: placed(value) if key in ("scene", "target", "labels") else value for key, value in data.items()}
    more = {name: {k: placed(v) if k == "target" else v for k, v in table.items()} for name, table in more.items()}
    with pytest.raises(UserError, match=text):
        train(tables(pair, data=found, **more), "nowhere", dry_run=True)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), budget=st.sampled_from([0, 20_000, 1 << 30]))
def test_spectra_and_truth_stay_together_under_all_turns_through_any_cache(pair, seed, budget):
    corpus = open_training_set(resolve(tables(pair, data={"rows": "3:61", "cols": "1:47"})))
    (region,) = corpus.regions
    stream = PatchStream(seed=seed, regions=(region.roi,), side=16, patches=8)
    blocks = ScoreCache(corpus.regions, Recipe.empty(3, RGB), budget)
    of = task({"name": "reconstruct", **corpus.options})
    loader = Loader(stream, blocks, of, batch=8, share=range(8), threads=0)
    batch = loader.batch(seed % 5)
    assert batch.step == seed % 5
    assert (batch.x.shape, batch.y.shape) == ((8, 3, 16, 16), (8, 7, 16, 16))
    assert batch.y.is_contiguous(memory_format=torch.channels_last)
    for place, x, y in zip(batch.ids, batch.x, batch.y, strict=True):
        patch = stream.patch(place)
        rgb, truth = (turned(scene.read(stream.roi(patch)), patch.turn) for scene in (region.scene, region.truth.cube))
        gone = np.isnan(rgb).any(axis=2)
        np.testing.assert_array_equal(x.permute(1, 2, 0), np.where(gone[..., None], 0, rgb))
        np.testing.assert_array_equal(y.permute(1, 2, 0), np.where(gone[..., None], np.nan, truth))


def test_a_weight_says_where_patches_lie_without_any_classes(pair, wrong, tmp_path):
    rgb = Scene.open(pair[0]).read(Scene.open(pair[0]).roi)
    weight = np.zeros((64, 48), np.float32)
    weight[20:30, 10:20] = 1
    place = write_cube(tmp_path / "weighted.zarr", rgb, RGB)
    group = zarr.open_group(place, mode="r+", use_consolidated=False)
    group.create_array("likely", data=weight)
    corpus = open_training_set(resolve(tables((place, pair[1]), data={"weight": "likely"})))
    pixels = corpus.density.at(np.random.default_rng(0).random(50))
    assert (weight[pixels[:, 1], pixels[:, 2]] == 1).all()
    group["likely"][:] = 0
    with pytest.raises(UserError, match=r"no pixel in .* that may be drawn"):
        open_training_set(resolve(tables((place, pair[1]), data={"weight": "likely"})))


def test_tasks_name_kinds_that_there_are():
    assert {target_of(load(TASKS, name, "task")) for name in TASKS} <= set(KINDS)


@pytest.mark.parametrize(("name", "published"), [("alvarezgila2017", (19_748_191, 1_573_441)), ("rgb-best", None)])
def test_presets_of_spectra_from_rgb_fit_any_pair_of_31_bands(tmp_path, name, published):
    pair = write_pair(tmp_path, 256, 256, 31)
    config, corpus, plan = prepared(resolve(f"preset:{name}", {"data.scene": pair[0], "data.target": pair[1]}), 1)
    assert plan["channels"] == [3, 31]
    assert config.task.model_extra["high"] == plan["high"] > 1
    if published:
        assert tuple(plan["parameters"].values()) == published
        assert config.objective.model_extra["alternate"] == [50, 25]
        assert (config.train.batch, config.train.rate, config.train.betas) == (1, 2e-4, (0.5, 0.999))
        assert config.data.patch == 256
    assert corpus.axis == spectral(31)


@pytest.mark.parametrize(("span", "low", "high"), [("0:1", 0, 1), ("0:255", 0, 255), ("-2:6", -2, 6)])
def test_a_span_becomes_minus_one_to_one_without_a_look_at_the_data(pair, span, low, high):
    recipe = fit_steps(f"span={span}", [(Scene.open(pair[0]), Roi(y0=0, y1=8, x0=0, x1=8))])
    ends = np.array([[low] * 3, [high] * 3, [(low + high) / 2] * 3], np.float32)
    np.testing.assert_allclose(recipe.apply(ends), [[-1] * 3, [1] * 3, [0] * 3], atol=1e-6)


@pytest.mark.parametrize("text", ["span", "span=1", "span=1:1", "span=1:0", "span=0:inf", "span=a:b", "span=0:1:2"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(UserError, match="span=LOW:HIGH with LOW < HIGH"):
        parse(text)
