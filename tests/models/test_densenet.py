"""DenseNets: published sizes, the published net where nothing is halved twice, and an answer for every pixel."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.densenet import SpreadMean


def small(dimensions=2, bands=9, out=3, **params):
    torch.manual_seed(0)
    return build("densenet", bands, out, dimensions=dimensions, **{"growth": 2, "stages": 1, **params}).eval()


@pytest.mark.parametrize(
    ("depth", "count"), [(121, 7_978_856), (161, 28_681_000), (169, 14_149_480), (201, 20_013_928)]
)
def test_the_published_nets_have_their_numbers_of_parameters(depth, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in build("densenet", 3, 1000, depth=depth).parameters()) == count


def halved(net):
    """Give a dilated net its published strides in the place of dilations."""
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        conv.dilation, conv.padding = (1, 1), (conv.kernel_size[0] // 2,) * 2
    net.body[0].stride = (2, 2)
    for number, layer in enumerate(net.body):
        if isinstance(layer, SpreadMean):
            net.body[number] = nn.AvgPool2d(2)
    net.body[3].pool, net.body[3].ends = nn.MaxPool2d(3, 2), [1] * 4


def test_every_32nd_pixel_has_the_answer_of_the_published_strides():
    net, x = small(stages=4, activation="leaky_relu"), torch.randn(1, 9, 64, 64)
    with torch.no_grad():
        dense = net.body(x)
        halved(net)
        strided = net.body(x)
    assert strided.shape == (1, 3, 2, 2)
    assert float(strided.std()) > 0
    np.testing.assert_allclose(dense[:, :, ::32, ::32], strided, atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("stages", "halo", "far"), [(1, 29, (29, 29)), (2, 0, (129, 125))])
def test_a_halo_is_the_reach(dimensions, stages, halo, far):
    net = small(dimensions, bands=3, stages=stages)
    assert reach(net, 3, cells=150, height=1) == far
    assert (net.tile_class.kind, net.tile_class.halo) == ("exact" if halo else "approximate", halo)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_tiles_with_the_declared_halo_equal_the_scene(dimensions):
    net = small(dimensions, bands=3, activation="leaky_relu")
    tile, scene = tile_and_scene(net, 3, side=4)
    assert float(scene.std()) > 0
    np.testing.assert_allclose(tile, scene, atol=1e-5)


def test_norms_over_space_are_approximate_until_they_are_frozen():
    assert small(norm="group").tile_class.kind == "approximate"
    assert small(norm="group").frozen_class == small(norm="none").tile_class
    assert small(1, norm="group").tile_class.kind == "pixelwise"


def test_a_net_of_spectra_has_the_same_bits_in_every_tile():
    net, x = small(1, bands=40, stages=4), torch.randn(1, 40, 21, 17)
    with torch.no_grad():
        whole = net(x)
        assert torch.equal(net(x[:, :, 3:12, 5:6].contiguous()), whole[:, :, 3:12, 5:6])
        x[0, :, 4, 4] = torch.nan
        assert net(x).isnan().any(dim=1).sum() == 1


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("bands", [2, 9])
def test_every_net_trains_one_step_and_answers_for_every_pixel(dimensions, bands):
    net, x = small(dimensions, bands, stages=4).train(), torch.randn(2, bands, 4, 3)
    assert net(x).shape == (2, 3, 4, 3)
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_mean_is_that_of_pairs_of_bands_and_of_pixels_that_lie_apart():
    x = torch.randn(1, 2, 5, 6, 7)
    y = SpreadMean(3, 2)(x)
    assert y.shape == (1, 2, 3, 6, 7)
    torch.testing.assert_close(y[0, 1, 1, 3, 2], x[0, 1, 2:4, 3:6:2, 2:5:2].mean())
    torch.testing.assert_close(y[0, 0, 2, 5, 0], x[0, 0, 4, 5, 0:3:2].mean())  # of the last row and band


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"dimensions": 4}, "net.dimensions"),
        ({"dimensions": 1, "bands": 1}, "2 bands or more"),
        ({"depth": 100}, "net.depth: .*121, 161, 169, 201"),
        ({"stages": 5}, "net.stages"),
        ({"growth": 0}, "net.growth"),
        ({"activation": "gelu"}, "net.activation"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)
