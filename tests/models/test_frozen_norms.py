"""Norms over tiles become those of the scene: equal to torch's own statistics, with the same bits for any workers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tilespec.cluster.connect import local
from tilespec.core.errors import UserError
from tilespec.core.registry import from_user
from tilespec.core.types import Roi
from tilespec.models.frozen_norms import FrozenNorm, NormMoments, freeze, norm_statistics
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.models.nets.norms import spatial_norms
from tilespec.models.probe.receptive_field import measured_class
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene


class Grouped(nn.Module):
    """A net of the user's, with group norm, that says nothing about itself."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.first = nn.Conv2d(channels_in, 6, 3, padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.last = nn.Conv2d(6, channels_out, 1)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu())


def model(scene, net=None, **params):
    opened = Scene.open(scene)
    net = net or {"name": "unet", "base_width": 4, "n_down": 3, "norm": "instance", "init": "kaiming", **params}
    torch.manual_seed(0)
    module = build(net["name"], opened.shape[2], 2, **{k: v for k, v in net.items() if k != "name"})
    for weight in module.parameters():
        weight.data += 0.05 * torch.randn(weight.shape)
    return Model(
        net=net,
        task={"name": "segment", "classes": 2, "head": "logits"},
        channels=(opened.shape[2], 2),
        classes=("a", "b"),
        recipe=Recipe.empty(opened.shape[2], opened.spectral),
        weights=module.state_dict(),
        tile=16,
        provenance={},
    )


def whole(scene, roi=None):
    return torch.from_numpy(np.nan_to_num(Scene.open(scene).read(roi or Scene.open(scene).roi))).permute(2, 0, 1)[None]


def statistics(of, scene, tile=16, **options):
    opened = Scene.open(scene)
    return norm_statistics(of, opened, options.pop("roi", opened.roi), tile=tile, prepared=False, **options)


@pytest.fixture
def scene(make_scene, tmp_path):
    return make_scene(tmp_path / "scene", 64, 48, 4)


@pytest.mark.parametrize("params", [{"norm": "instance"}, {"norm": "batch", "live": True, "dropout": 0.0}])
def test_frozen_by_one_tile_the_size_of_the_scene_a_net_answers_as_before(make_scene, tmp_path, params):
    scene = make_scene(tmp_path / "s", 32, 32, 4)
    subject = model(scene, **params)
    before, stats = subject.module(), statistics(subject, scene, tile=32)
    assert set(stats) == {f"{name}.{what}" for name in spatial_norms(before) for what in ("mean", "var")}
    with torch.inference_mode():
        np.testing.assert_allclose(freeze(before, stats)(whole(scene)), before(whole(scene)), atol=1e-4)


def test_the_first_norm_gets_the_mean_and_variance_of_all_pixels_and_the_second_those_after_it(scene):
    net = {"name": from_user(f"{__name__}:Twice")}
    subject = model(scene, net)
    stats, module, x = statistics(subject, scene), subject.module(), whole(scene)
    with torch.inference_mode():
        one = module.first(x)
        np.testing.assert_allclose(stats["norm.mean"], one.mean((0, 2, 3)), atol=1e-5)
        np.testing.assert_allclose(stats["norm.var"], one.var((0, 2, 3), correction=0), rtol=1e-4)
        scaled = (one - one.mean((2, 3), keepdim=True)) / (one.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        two = module.second(scaled.relu())
    np.testing.assert_allclose(stats["again.mean"], two.mean((0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(stats["again.var"], two.var((0, 2, 3), correction=0), rtol=1e-4)


class Twice(nn.Module):
    """Pixelwise but for its two norms, so that tiles leave no borders."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.first, self.norm = nn.Conv2d(channels_in, 5, 1), nn.InstanceNorm2d(5)
        self.second, self.again = nn.Conv2d(5, channels_out, 1), nn.InstanceNorm2d(channels_out)

    def forward(self, x):
        return self.again(self.second(self.norm(self.first(x)).relu()))


def test_group_norm_is_frozen_by_the_moments_of_its_groups(make_scene, tmp_path):
    scene = make_scene(tmp_path / "s", 32, 32, 4)
    subject = model(scene, {"name": from_user(f"{__name__}:Grouped")})
    before = subject.module()
    frozen = freeze(before, statistics(subject, scene, tile=32), channels=4)
    with torch.inference_mode():
        np.testing.assert_allclose(frozen(whole(scene)), before(whole(scene)), atol=1e-5)
    assert (frozen.tile_class.kind, frozen.tile_class.halo) == ("exact", 1)


@pytest.mark.slow
def test_the_same_bits_in_this_process_on_one_and_on_two_workers_and_again(scene, tmp_path):
    subject = model(scene)
    subject.save(str(tmp_path / "m"))
    here = statistics(subject, scene)
    found = [statistics(subject, scene)]
    for workers in (1, 2):
        with local(workers) as client:
            found.append(statistics(subject, scene, client=client, folder=str(tmp_path / "m")))
    for other in found:
        assert {k: v.tobytes() for k, v in other.items()} == {k: v.tobytes() for k, v in here.items()}


def test_threads_of_torch_change_no_bit_and_are_restored(scene):
    before = torch.get_num_threads()
    one = statistics(model(scene), scene)
    torch.set_num_threads(before + 1)
    try:
        two = statistics(model(scene), scene)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert all(one[key].tobytes() == two[key].tobytes() for key in one)


def test_frozen_nets_are_exact_where_their_halo_is_small_and_keep_the_original(scene):
    subject = model(scene)
    module, stats = subject.module(), statistics(model(scene), scene)
    frozen = freeze(module, stats)
    assert (frozen.tile_class.kind, frozen.tile_class.halo) == ("exact", 16)
    assert measured_class(frozen, 4).halo <= 16
    assert module.tile_class.kind == "approximate"
    assert spatial_norms(frozen) == []
    assert spatial_norms(module) == ["downs.1.1", "ups.0.1", "ups.1.1"]
    assert frozen.downs[0][0].weight is module.downs[0][0].weight
    assert all(isinstance(frozen.get_submodule(name), FrozenNorm) for name in spatial_norms(module))


def test_large_and_random_nets_stay_approximate_when_frozen(scene):
    for params in ({"n_down": 5}, {"norm": "batch", "live": True, "dropout": 0.5}):
        subject = model(scene, **params)
        stats = statistics(subject, scene, tile=32, tiles=2)
        assert freeze(subject.module(), stats).tile_class.kind == "approximate"


def test_pixels_without_data_do_not_count(make_scene, tmp_path):
    scene = make_scene(tmp_path / "s", 48, 48, 4, nan=0.3)
    subject = model(scene, {"name": from_user(f"{__name__}:Twice")})
    cube = Scene.open(scene).read(Scene.open(scene).roi).reshape(-1, 4)
    valid = torch.from_numpy(cube[np.isfinite(cube).all(axis=1)]).T[None, :, :, None]
    with torch.inference_mode():
        one = subject.module().first(valid)
    stats = statistics(subject, scene)
    np.testing.assert_allclose(stats["norm.mean"], one.mean((0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(stats["norm.var"], one.var((0, 2, 3), correction=0), rtol=1e-4)


def test_a_region_without_data_is_refused(make_scene, tmp_path):
    scene = make_scene(tmp_path / "s", 32, 32, 4, nan=1.0)
    with pytest.raises(UserError, match="no valid pixel in any tile"):
        statistics(model(scene), scene)


def test_only_the_region_counts_and_a_sample_of_tiles_is_near_the_whole(make_scene, tmp_path):
    scene = make_scene(tmp_path / "s", 192, 160, 4)
    subject = model(scene, {"name": from_user(f"{__name__}:Twice")})
    roi = Roi(y0=17, y1=80, x0=5, x1=90)
    with torch.inference_mode():
        mean = subject.module().first(whole(scene, roi)).mean((0, 2, 3))
    np.testing.assert_allclose(statistics(subject, scene, tile=63, roi=roi)["norm.mean"], mean, atol=0.02)
    every, some = statistics(subject, scene, tiles=None), statistics(subject, scene, tiles=20)
    assert not np.array_equal(every["norm.mean"], some["norm.mean"])
    np.testing.assert_allclose(some["norm.mean"], every["norm.mean"], atol=0.1)


def test_a_scene_that_went_through_the_recipe_already_is_read_as_it_is(scene):
    subject = model(scene)
    opened = Scene.open(scene)
    stats = norm_statistics(replace(subject, recipe=Recipe.empty(9, None)), opened, opened.roi, tile=16, prepared=True)
    expected = statistics(subject, scene)
    assert all(np.array_equal(stats[key], expected[key]) for key in expected)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 100))
def test_moments_add_as_those_of_all_values(sizes, seed):
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(3, 2, size=(2, size)).astype(np.float32) for size in sizes]
    total = NormMoments.zero()
    for block in blocks:
        total = total + NormMoments.zero().of({"layer": block})
    merged, stats = np.concatenate(blocks, axis=1), total.finish()
    np.testing.assert_allclose(stats["layer.mean"], merged.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(stats["layer.var"], merged.var(axis=1), rtol=1e-4, atol=1e-6)
