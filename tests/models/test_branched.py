"""The generator and discriminator of Alvarez-Gila et al. 2017: counts, what a pixel depends on, equal on tiles."""

import numpy as np
import pytest
import torch
from cube_scenes import AXIS, BANDS, values, write
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.models.nets.norms import set_sample_ids
from tilespec.models.nets.unet import EXACT_HALO
from tilespec.models.probe.receptive_field import measure
from tilespec.predict.predict import predict
from tilespec.spectra.recipe import Recipe

WINDOWS = {1: 1, 2: 3, 3: 7, 4: 15, 5: 31, 6: 63, 7: 127, 8: 255}
"""Pixels each way that an output pixel depends on, as the paper's table of pruned branches has them."""


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def small(n_branches=4, **params):
    torch.manual_seed(0)
    return build("branched", 3, 5, **{"n_branches": n_branches, "base_width": 4, "middle": 4, **params}).eval()


def window(net, side, y, x):
    """Return first and last row and column of the input that an output pixel depends on."""
    for p in net.parameters():
        p.data.abs_().add_(0.01)
    image = torch.ones(1, 3, side, side, requires_grad=True)
    seen = torch.autograd.grad(net(image)[0, :, y, x].sum(), image)[0][0].abs().sum(0).nonzero()
    return seen.min(0).values.tolist(), seen.max(0).values.tolist()


@pytest.mark.parametrize(("kernel", "count"), [(2, 19_748_191), (3, 30_684_511), (4, 45_995_359)])
def test_the_whole_generator_has_the_parameters_of_its_kernel_and_keeps_the_size(kernel, count):
    with torch.device("meta"):
        net = build("branched", 3, 31, n_branches=9, kernel=kernel).eval()
        assert parameters(net) == count
        assert net(torch.empty(1, 3, 256, 256)).shape == (1, 31, 256, 256)


@pytest.mark.parametrize(("base", "count"), [(32, 399_649), (64, 1_573_441)])
def test_the_discriminator_has_the_parameters_of_its_width_and_judges_8_by_8_patches(base, count):
    with torch.device("meta"):
        net = build("branched_judge", 34, 1, base_width=base)
        assert parameters(net) == count
        assert net(torch.empty(1, 34, 256, 256)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("name", ["branched", "branched_judge"])
def test_no_norm_is_anywhere(name):
    layers = {type(layer) for layer in build(name, 3, 1).modules()}
    assert not any("Norm" in layer.__name__ for layer in layers)
    assert nn.Conv2d in layers


@pytest.mark.parametrize("n_branches", sorted(WINDOWS))
def test_a_pixel_depends_on_the_window_of_the_papers_table(n_branches):
    cell, net = 2 ** (n_branches - 1), small(n_branches, base_width=2, middle=2, head="linear")
    y = x = 2 * cell
    first, last = window(net, 4 * cell, y, x)
    wide = WINDOWS[n_branches]
    assert [b - a + 1 for a, b in zip(first, last, strict=True)] == [wide, wide]
    assert (first, last) == ([y - wide // 2] * 2, [x + wide // 2] * 2)


def test_the_window_moves_with_the_cell_and_holds_the_pixel():
    net = small(4, head="linear")
    for y in range(32, 40):
        first, last = window(net, 64, y, 33)
        assert first == [32 - 7, 32 - 7]
        assert last == [32 + 7, 32 + 7]


def test_one_branch_depends_on_the_pixel_alone():
    net, image = small(1), torch.randn(1, 3, 7, 5)
    assert (net.tile_class.kind, net.align) == ("pixelwise", 1)
    each = [net(image[:, :, y : y + 1, x : x + 1]) for y in range(7) for x in range(5)]
    torch.testing.assert_close(torch.cat(each, dim=3).reshape(5, 7, 5), net(image)[0], atol=1e-6, rtol=1e-5)


def test_all_branches_see_the_whole_patch():
    net = small(9, base_width=1, middle=1, head="linear")
    assert window(net, 256, 40, 200) == ([0, 0], [255, 255])


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("n_branches", [2, 3, 4, 5])
def test_tiles_with_the_declared_halo_equal_the_scene(kernel, n_branches):
    net = small(n_branches, kernel=kernel)
    cls = net.tile_class
    assert (cls.kind, cls.align) == ("exact", 2 ** (n_branches - 1))
    scene = torch.randn(1, 3, 160, 160)
    h = -(-cls.halo // cls.align) * cls.align
    with torch.no_grad():
        whole = net(scene)[:, :, 64:96, 80:96]
        tile = net(scene[:, :, 64 - h : 96 + h, 80 - h : 96 + h])[:, :, h:-h, h:-h]
        np.testing.assert_allclose(tile, whole, atol=1e-5)
        less = net(scene[:, :, 64:96, 80:96])
    assert not np.allclose(less, whole, atol=1e-3)


def model(folder, name, tile=32, **params):
    """Save a model with weights as they are drawn; return its folder and its net."""
    torch.manual_seed(0)
    net = {"name": name, "head": "linear", **params}
    options = {key: value for key, value in net.items() if key != "name"}
    module = build(name, 3, BANDS, **options).eval()
    task = {"name": "reconstruct", "channels": BANDS, "low": 0.0, "high": 1.0, "head": "linear"}
    Model(
        net=net,
        task=task,
        channels=(3, BANDS),
        classes=(),
        recipe=Recipe.empty(3, None),
        weights=module.state_dict(),
        tile=tile,
        spectral_out=AXIS,
        provenance={},
    ).save(str(folder))
    return str(folder), module


@pytest.mark.parametrize(("n_branches", "kernel"), [(1, 2), (4, 2), (3, 3), (3, 4)])
def test_the_predictor_answers_on_tiles_what_the_net_answers_on_the_whole_scene(tmp_path, n_branches, kernel):
    image = np.random.default_rng(0).uniform(0, 1, (83, 61, 3)).astype(np.float32)
    scene = write(tmp_path / "rgb", image)
    folder, net = model(tmp_path / "m", "branched", n_branches=n_branches, kernel=kernel, base_width=4, middle=8)
    pad = -(-net.tile_class.halo // net.align) * net.align
    sides = [(pad, pad + -side % net.align) for side in image.shape[:2]]
    framed = np.pad(image, [*sides, (0, 0)], mode="reflect")
    with torch.no_grad():
        whole = net(torch.from_numpy(framed).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    expected = whole[pad : pad + 83, pad : pad + 61]
    for tile, overlap in ((24, 0), (17, 6), (128, 0)):
        out = tmp_path / f"t{tile}"
        predict(folder, scene, str(out), tile=tile, overlap=overlap)
        np.testing.assert_allclose(values(out), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "params"), [("branched", {"n_branches": 7, "base_width": 2}), ("mst", {"stages": 1})])
def test_approximate_nets_predict_scenes_of_any_size(tmp_path, name, params):
    scene = write(tmp_path / "rgb", np.random.default_rng(0).uniform(0, 1, (45, 39, 3)))
    folder, _ = model(tmp_path / "m", name, **params)
    predict(folder, scene, str(tmp_path / "out"))
    answer = values(tmp_path / "out")
    assert answer.shape == (45, 39, BANDS)
    assert np.isfinite(answer).all()


@pytest.mark.parametrize(("n_branches", "kernel"), [(2, 2), (4, 2), (3, 3), (3, 4)])
def test_the_declared_halo_is_the_measured_one(n_branches, kernel):
    net = small(n_branches, kernel=kernel, base_width=2, middle=2)
    found = measure(net, 3)
    assert found.tile_class == net.tile_class
    assert found.certain


@pytest.mark.parametrize(("n_branches", "kernel"), [(7, 2), (9, 2), (7, 3), (6, 4)])
def test_beyond_a_reasonable_halo_a_net_is_approximate(n_branches, kernel):
    with torch.device("meta"):
        cls = build("branched", 3, 4, n_branches=n_branches, kernel=kernel, base_width=1).tile_class
        halo = build("branched", 3, 4, n_branches=n_branches - 1, kernel=kernel, base_width=1).tile_class.halo
    assert (cls.kind, cls.align) == ("approximate", 2 ** (n_branches - 1))
    assert halo <= EXACT_HALO


@pytest.mark.parametrize("side", [4, 12, 20])
def test_sides_that_do_not_halve_are_refused_with_the_multiple_to_use(side):
    with pytest.raises(UserError, match="2 \\*\\* \\(n_branches - 1\\) = 8"):
        small(4)(torch.zeros(1, 3, 16, side))


def test_a_tanh_head_is_bounded_and_a_linear_one_is_not():
    image = 100 * torch.randn(1, 3, 16, 16)
    assert small().forward(image).abs().max() <= 1
    assert small(head="linear")(image).abs().max() > 1


def test_dropout_is_of_training_only_and_of_the_sample_alone():
    net, image = small(3, dropout=0.5), torch.randn(3, 3, 8, 8)
    assert torch.equal(net(image), net(image))
    net.train()
    set_sample_ids(net, [4, 5, 6], seed=1)
    together = net(image)
    set_sample_ids(net, [5], seed=1)
    torch.testing.assert_close(net(image[1:2]), together[1:2], atol=1e-5, rtol=1e-4)
    set_sample_ids(net, [50], seed=1)
    assert not torch.allclose(net(image[1:2]), together[1:2], atol=1e-3)


@pytest.mark.parametrize("n_branches", [1, 4])
def test_every_parameter_learns(n_branches):
    net = small(n_branches).train()
    net(torch.randn(2, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_one_judgement_sees_63_by_63_pixels():
    net = build("branched_judge", 3, 1, base_width=1)
    first, last = window(net, 256, 4, 4)
    assert [b - a + 1 for a, b in zip(first, last, strict=True)] == [63, 63]


def test_probabilities_are_the_sigmoid_of_the_logits():
    net, x = build("branched_judge", 5, 1, base_width=4, n_layers=2), torch.randn(2, 5, 32, 32)
    assert torch.equal(net.probability(x), torch.sigmoid(net(x)))


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"n_branches": 0}, "net.n_branches: .*1 to 9"),
        ({"n_branches": 10}, "net.n_branches: .*1 to 9"),
        ({"base_width": 0}, "net.base_width"),
        ({"middle": 0}, "net.middle"),
        ({"kernel": 5}, "net.kernel: .*2, 3, 4"),
        ({"dropout": 1.0}, "net.dropout"),
        ({"head": "relu"}, "net.head: .*logits, tanh, linear"),
        ({"init": "ones"}, "net.init"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        build("branched", 3, 2, **params)


@pytest.mark.parametrize("params", [{"base_width": 0}, {"n_layers": 0}])
def test_numbers_that_make_no_discriminator_are_refused(params):
    with pytest.raises(UserError, match=r"objective.discriminator.*(at least 1|expected 1 to 16)"):
        build("branched_judge", 3, 1, **params)
