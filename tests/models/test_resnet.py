"""ResNets: published sizes, the published net where nothing is halved twice, and an answer for every pixel."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene
from torch import nn
from torch.nn import functional

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.resnet import spread


def small(dimensions=2, bands=9, out=3, **params):
    torch.manual_seed(0)
    return build("resnet", bands, out, dimensions=dimensions, **{"base_width": 2, "stages": 1, **params}).eval()


@pytest.mark.parametrize(
    ("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)]
)
def test_the_published_nets_have_their_numbers_of_parameters(depth, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in build("resnet", 3, 1000, depth=depth).parameters()) == count


def halved(net, firsts, order):
    """Give a dilated net its published strides in the place of dilations, in the first blocks of further stages."""
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        conv.dilation, conv.padding = (1, 1), (conv.kernel_size[0] // 2,) * 2
    stem, maximum, *blocks = list(net.body)[:-1]
    stem[0].stride = (2, 2)
    maximum.pool, maximum.ends = nn.MaxPool2d(3, 2), [1] * 4
    for number in firsts:
        convs = [m for m in blocks[number].inner if isinstance(m, nn.Conv2d)]
        convs[order].stride = blocks[number].around[0].stride = (2, 2)


@pytest.mark.parametrize(("depth", "firsts", "order"), [(18, (2, 4, 6), 0), (50, (3, 7, 13), 1)])
def test_every_32nd_pixel_has_the_answer_of_the_published_strides(depth, firsts, order):
    net, x = small(depth=depth, stages=4, activation="leaky_relu"), torch.randn(1, 9, 64, 64)
    with torch.no_grad():
        dense = net.body(x)
        halved(net, firsts, order)
        strided = net.body(x)
    assert strided.shape == (1, 3, 2, 2)
    assert float(strided.std()) > 0
    np.testing.assert_allclose(dense[:, :, ::32, ::32], strided, atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("stages", [1, 2])
def test_a_halo_is_the_reach(dimensions, depth, stages):
    net = small(dimensions, depth=depth, stages=stages)
    far = {18: {1: 21, 2: 49}, 50: {1: 17, 2: 45}}[depth][stages]
    assert reach(net, 9, cells=60, height=2) == (far, far)
    assert net.tile_class.kind == ("exact" if far <= 32 else "approximate")
    assert net.tile_class.halo == (far if far <= 32 else 0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_tiles_with_the_declared_halo_equal_the_scene(dimensions):
    net = small(dimensions, activation="leaky_relu")
    tile, scene = tile_and_scene(net, 9, side=4)
    assert float(scene.std()) > 0
    np.testing.assert_allclose(tile, scene, atol=1e-5)


def test_norms_over_space_are_approximate_until_they_are_frozen():
    assert small(norm="group").tile_class.kind == "approximate"
    assert small(norm="group").frozen_class == small(norm="none").tile_class
    assert small(1, norm="group").tile_class.kind == "pixelwise"


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_net_of_spectra_moves_along_bands_and_has_the_same_bits_in_every_tile(norm):
    net, lengths = small(1, bands=40, stages=4, norm=norm), []
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d) and layer.kernel_size[0] > 1:
            layer.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[2]))
    x = torch.randn(1, 40, 21, 17)
    with torch.no_grad():
        whole = net(x)
        assert (lengths[0], lengths[-1]) == (40, 2)
        assert torch.equal(net(x[:, :, 3:12, 5:6].contiguous()), whole[:, :, 3:12, 5:6])
        x[0, :, 4, 4] = torch.nan
        assert net(x).isnan().any(dim=1).sum() == 1


@pytest.mark.parametrize("dimensions", [1, 3])
@pytest.mark.parametrize("depth", [18, 50])
def test_every_net_trains_one_step_and_answers_for_every_pixel(dimensions, depth):
    net, x = small(dimensions, depth=depth, stages=4).train(), torch.randn(2, 9, 4, 3)
    assert net(x).shape == (2, 3, 4, 3)
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_the_mean_is_over_bands_and_not_over_pixels():
    net, x = small(3), torch.randn(2, 2, 5, 4, 3)
    classifier = net.body[-1]
    expected = functional.linear(x.mean(2).movedim(1, -1), classifier.map.linear.weight, classifier.map.linear.bias)
    torch.testing.assert_close(classifier(x).squeeze(1), expected.movedim(-1, 1))


def test_every_layer_has_a_slope_of_its_own():
    net = small(activation="prelu", stages=4)
    slopes = [m for m in net.modules() if isinstance(m, nn.PReLU)]
    assert len({id(m.weight) for m in slopes}) == len(slopes) == 1 + 2 * 8


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"dimensions": 4}, "net.dimensions"),
        ({"dimensions": 1, "bands": 1}, "2 bands or more"),
        ({"depth": 20}, "net.depth: .*18, 34, 50, 101, 152"),
        ({"stages": 5}, "net.stages"),
        ({"base_width": 0}, "net.base_width"),
        ({"activation": "gelu"}, "net.activation"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 6, 7, 8, 14])
@pytest.mark.parametrize("dimensions", [1, 3])
def test_the_first_convolution_is_torchs_with_gradients_as_in_double_precision(dimensions, bands):
    torch.manual_seed(0)
    first = spread(dimensions, 1, 2, 7, stride=2)
    x = torch.rand(2, 1, *(bands, 8, 8)[:dimensions])
    found = []
    for kind in (torch.float32, torch.float64):
        own, seen = (part.detach().to(kind, copy=True).requires_grad_() for part in (first.weight, x))
        plain = kind == torch.float64
        how = {"stride": first.stride, "padding": first.padding, "dilation": first.dilation}
        convolve = {1: functional.conv1d, 3: functional.conv3d}[dimensions]
        y = convolve(seen, own, **how) if plain else torch.func.functional_call(first, {"weight": own}, seen)
        y.square().mean().backward()
        found.append([part.double() for part in (y.detach(), own.grad, seen.grad)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
