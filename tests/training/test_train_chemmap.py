"""Chemical maps are trained from one number for each sample, with the command's functions and nothing else."""

import json

import numpy as np
import pytest
import torch
import zarr
from numpy.testing import assert_array_equal
from reference_scenes import write_samples
from short_trainings import interrupted

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.models.tensors import read
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene
from tilespec.training.config import resolve
from tilespec.training.data.sample_stream import SampleReader
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.player import Player
from tilespec.training.setup import Setup, prepared, stream_of

UNET = {"net": {"name": "spectral_unet", "base_width": 2, "depth": 2}, "task": {"name": "chemmap", "scale": "1/2"}}
PIXEL = {"net": {"name": "mlp", "hidden": [8]}, "task": {"name": "chemmap"}}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"))


def settings(samples, kind=PIXEL, **tables):
    base = {
        **kind,
        "data": {"scene": samples[0], "references": samples[1], "columns": "fat", "samples": "sample"},
        "objective": {"name": "mean_reference", "smoothness": 0.1},
        "train": {"steps": 8, "batch": 2, "rate": 1e-2, "warmup": 0, "schedule": "constant", "checkpoint_every": 3},
    }
    return {name: {**base.get(name, {}), **tables.get(name, {})} for name in {*base, *tables}}


def stream(tables):
    """Return the stream of a training, the function that reads it, and its setup."""
    config, corpus, _ = prepared(resolve(tables), 1)
    setup = Setup.of(config, corpus.bands)
    found = stream_of(config, corpus, setup)
    blocks = ScoreCache(corpus.regions, Recipe.empty(corpus.bands, None), 1 << 24)
    return found, SampleReader(found, blocks, setup.task), setup


def gradient(tables, index, dtype=torch.float64):
    """Return the losses and the gradient of one sample."""
    _, reader, setup = stream(tables)
    net = setup.nets(0)["generator"].to(dtype)
    batch = reader((index,), 0)
    player = Player(module=net, net=net, optimiser=torch.optim.SGD(net.parameters(), 1.0))

    class Cast(torch.nn.Module):
        def forward(self, x):
            return net(x.to(dtype))

    (move,) = setup.objective.moves({"generator": Player(module=net, net=Cast(), optimiser=player.optimiser)}, batch)
    terms = []
    for term in move.terms:
        term.backward()
        terms.append(term.item())
    return sum(terms), torch.cat([p.grad.flatten() for p in net.parameters()]), len(terms) - 1


@pytest.mark.parametrize("kind", [PIXEL, UNET], ids=["pixelwise", "spectral_unet"])
@pytest.mark.parametrize("form", ["default", "paper"])
@pytest.mark.parametrize("tile", [3, 5])
def test_tiles_of_any_size_have_the_loss_and_the_gradient_of_the_whole_sample(samples, kind, form, tile):
    tables = settings(samples, kind, objective={"form": form})
    for index in (0, 13):
        whole = gradient(tables, index)
        tiled = gradient({**tables, "data": {**tables["data"], "tile": tile}}, index)
        assert tiled[2] > whole[2] == 1
        assert tiled[0] == pytest.approx(whole[0], rel=1e-10)
        torch.testing.assert_close(tiled[1], whole[1], rtol=1e-10, atol=1e-10 * whole[1].abs().max().item())


def test_single_precision_differs_by_rounding_alone(samples):
    tables = settings(samples, UNET)
    whole = gradient(tables, 1, torch.float32)
    tiled = gradient({**tables, "data": {**tables["data"], "tile": 3}}, 1, torch.float32)
    torch.testing.assert_close(tiled[1], whole[1], rtol=1e-5, atol=1e-5 * whole[1].abs().max().item())


def test_no_tile_is_larger_than_was_asked_for_whatever_the_sample(samples):
    found, reader, _ = stream(settings(samples, UNET, data={"tile": 3}))
    reach = found.grid.reach
    most = reach.size(2 * (3 + 1) + 2 * reach.halo + reach.align - 1)
    for index in range(found.length):
        for sample in reader((index,), 0).samples:
            assert all(max(tile.x.shape[2:]) <= most for tile in sample.tiles())


@pytest.mark.parametrize("kind", [PIXEL, UNET], ids=["pixelwise", "spectral_unet"])
def test_a_mirrored_sample_is_the_sample_with_its_mask_mirrored(samples, kind):
    found, reader, _ = stream(settings(samples, kind))
    ids, cube = samples[3], Scene.open(samples[0]).read(Scene.open(samples[0]).roi)
    step = found.grid.scale.denominator
    for place in found.places[:6]:
        truth = found.regions[0].truth
        region = truth.region(truth.samples[place.number])
        for mirrored in ((False, False), (True, False), (False, True), (True, True)):
            (tile,) = reader.sample(place._replace(mirrored=mirrored)).tiles()
            axes = [axis for axis in (0, 1) if mirrored[axis]]
            mask = np.flip(truth.read(region) == place.number + 1, axes)
            assert_array_equal(tile.mask[: tile.own[0], : tile.own[1]].numpy(), mask)
            margin = found.grid.reach.margin
            top, left = (step * corner + margin for corner in tile.corner)
            here = tile.x[0, :, top:, left:][:, : step * region.shape[0], : step * region.shape[1]].numpy()
            there = cube[step * region.y0 : step * region.y1, step * region.x0 : step * region.x1]
            assert_array_equal(here, np.flip(there, axes).transpose(2, 0, 1))
            assert (ids[step * region.y0 : step * region.y1, step * region.x0 : step * region.x1] > 0).any()


def test_an_epoch_has_each_sample_once_and_depends_on_the_seed_alone(samples):
    found, again = stream(settings(samples))[0], stream(settings(samples))[0]
    other = stream(settings(samples, train={"seed": 1}))[0]
    order = [found.sample(i) for i in range(2 * found.length)]
    assert order == [again.sample(i) for i in range(2 * found.length)]
    assert order != [other.sample(i) for i in range(2 * found.length)]
    for epoch in (order[: found.length], order[found.length :]):
        assert sorted(place.number for place in epoch) == list(range(found.length))
    assert {place.mirrored for place in order} == {(a, b) for a in (False, True) for b in (False, True)}


@pytest.mark.parametrize("kind", [PIXEL, UNET], ids=["pixelwise", "spectral_unet"])
def test_a_map_is_learned_from_means_and_predicted(samples, kind, tmp_path):
    tables = settings(samples, kind, validate={"share": 0.2, "every": 4})
    result = api.train(tables, str(tmp_path / "model"))
    card = Model.load(str(tmp_path / "model"))
    assert list(card.task["quantities"]) == ["fat"]
    assert result["parameters"]["generator"] > 0
    log = [json.loads(line) for line in (tmp_path / "model" / "log.jsonl").read_text().splitlines()]
    assert all({"error", "smoothness", "excess", "decay"} <= set(line) for line in log)
    lines = [json.loads(line) for line in (tmp_path / "model" / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8]
    assert all(line["mse_of_means"] == pytest.approx(line["rmse_of_means"] ** 2) for line in lines)
    api.predict(str(tmp_path / "model"), samples[0], str(tmp_path / "map"))
    step, product = 2 if kind is UNET else 1, zarr.open_group(str(tmp_path / "map"))
    assert product["prediction"].shape == (48 // step, 60 // step, 1)
    assert (product.attrs["quantities"], product.attrs["units"]) == (["fat"], ["%"])


def test_means_teach_a_map(samples, tmp_path):
    linear = {"net": {"name": "linear"}, "task": {"name": "chemmap"}}
    train = {"steps": 100, "batch": 4, "rate": 3.0, "schedule": "cosine", "checkpoint_every": 100}
    tables = settings(samples, linear, train=train, objective={"decay": 0.0, "smoothness": 0.0})
    api.train(tables, str(tmp_path / "model"))
    api.predict(str(tmp_path / "model"), samples[0], str(tmp_path / "map"))
    predicted = np.asarray(zarr.open_group(str(tmp_path / "map"))["prediction"])[..., 0]
    assert np.corrcoef(predicted[samples[3] > 0], samples[2][samples[3] > 0])[0, 1] > 0.9


def test_a_training_that_was_interrupted_equals_one_that_was_not(samples, tmp_path):
    tables = settings(samples, UNET, data={"tile": 4}, validate={"samples": ["1", "7"], "every": 2})
    api.train(tables, str(tmp_path / "whole"))
    interrupted(tables, tmp_path / "parts", 5)
    api.train(tables, str(tmp_path / "parts"))
    whole, parts = (read(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_two_ranks_learn_as_one_though_their_samples_have_different_numbers_of_tiles(tmp_path):
    url, references, _, ids = write_samples(tmp_path / "samples", ragged=True)
    samples = (url, references, None, ids)
    tables = settings(samples, UNET, data={"tile": 3}, train={"steps": 6}, validate={"share": 0.2, "every": 3})
    counts = [len(stream(tables)[0].tiles(place)) for place in stream(tables)[0].places]
    assert len(set(counts)) > 1
    for ranks in (1, 2):
        api.train(tables, str(tmp_path / f"m{ranks}"), ranks=ranks)
    one, two = (read(tmp_path / f"m{ranks}" / "model.safetensors") for ranks in (1, 2))
    for key, value in one.items():
        np.testing.assert_allclose(value, two[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "tables", "text"),
    [
        (PIXEL, {"data": {"columns": "water"}}, "no column 'water'"),
        (PIXEL, {"data": {"rows": "0:20"}}, "data.rows"),
        (PIXEL, {"data": {"patch": 32}}, "data.patch"),
        (PIXEL, {"data": {"labels": "x"}}, "data.labels"),
        (PIXEL, {"validate": {"rows": "0:20"}}, "validate.samples or validate.share"),
        (PIXEL, {"validate": {"samples": ["99"]}}, "99"),
        (PIXEL, {"objective": {"name": "supervised", "loss": "l1"}}, "learns from references"),
        (PIXEL, {"augment": {"noise": 0.1}}, "augment"),
        (PIXEL, {"task": {"quantities": ["water"]}}, "task.quantities"),
        (PIXEL, {"task": {"scale": 2}}, "task.scale"),
        (UNET, {"task": {"margin": 20}}, "has no output pixel"),
        (UNET, {"net": {"align_corners": True}, "data": {"tile": 8}}, "data.tile"),
        (UNET, {"net": {"norm": "batch"}, "data": {"tile": 8}}, "net.norm"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_computed(samples, tmp_path, kind, tables, text):
    given = settings(samples, kind, **tables)
    if "supervised" in str(tables):
        given["objective"] = tables["objective"]
    with pytest.raises(UserError, match=text):
        api.train(given, str(tmp_path / "model"))
    assert not (tmp_path / "model" / "model.json").exists()


def test_a_task_of_pixels_refuses_means(make_scene, samples, tmp_path):
    scene = make_scene(tmp_path / "scene", 40, 40, 8)
    base = {"data": {"scene": scene, "patch": 16}, "net": {"name": "unet", "base_width": 2, "n_down": 1}}
    for table, text in (({"samples": "sample"}, "data.samples"), ({"references": samples[1]}, "data.references")):
        with pytest.raises(UserError, match=text):
            api.train({**base, "data": {**base["data"], **table}}, str(tmp_path / "model"))
    with pytest.raises(UserError, match="learns from pixels"):
        api.train({**base, "validate": {"share": 0.2}, "objective": {"name": "supervised"}}, str(tmp_path / "model"))
