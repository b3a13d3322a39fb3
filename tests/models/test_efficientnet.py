"""EfficientNets: published sizes, the published net where nothing is halved, attention of pixels and of tiles."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.efficientnet import STAGES, Attention, WideningBlock, eights


def small(bands=5, out=3, **params):
    torch.manual_seed(0)
    return build("efficientnet", bands, out, **{"base_width": 8, "stages": 2, **params}).eval()


PUBLISHED = [5_288_548, 7_794_184, 9_109_994, 12_233_232, 19_341_616, 30_389_784, 43_040_704, 66_347_960, 87_413_142]


@pytest.mark.parametrize("variant", range(9))
def test_the_published_nets_have_their_numbers_of_parameters(variant):
    with torch.device("meta"):
        net = build("efficientnet", 3, 1000, variant=variant)
    assert sum(p.numel() for p in net.parameters()) == PUBLISHED[variant]


@pytest.mark.parametrize(("width", "rounded"), [(3, 8), (11, 16), (12, 16), (20, 24), (35.2, 32), (352, 352)])
def test_widths_are_multiples_of_8_that_lose_no_more_than_a_tenth(width, rounded):
    assert eights(width) == rounded


def halved(net):
    """Give a dilated net its published strides in the place of dilations."""
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        conv.dilation, conv.padding = (1, 1), (conv.kernel_size[0] // 2,) * 2
    net.body[0].stride = (2, 2)
    blocks = [layer for layer in net.body if isinstance(layer, WideningBlock)]
    for _, _, stride, _, count in STAGES:
        filters = next(m for m in blocks[0].inner if isinstance(m, nn.Conv2d) and m.groups > 1)
        filters.stride = (stride, stride)
        blocks = blocks[count:]


def test_every_32nd_pixel_has_the_answer_of_the_published_strides():
    net, x = small(stages=7), torch.randn(1, 5, 64, 64)
    for layer in net.modules():
        if isinstance(layer, Attention):
            nn.init.normal_(layer.weigh[-1].weight, std=5.0)
    with torch.no_grad():
        dense = net.body(x)
        halved(net)
        strided = net.body(x)
    assert strided.shape == (1, 3, 2, 2)
    assert float(strided.std()) > 0
    np.testing.assert_allclose(dense[:, :, ::32, ::32], strided, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("stages", "far"), [(1, 3), (2, 9), (3, 33)])
def test_a_halo_is_the_reach(stages, far):
    net = small(stages=stages)
    assert reach(net, 5, cells=60, height=2) == (far, far)
    assert (net.tile_class.kind, net.tile_class.halo) == (("exact", far) if far <= 32 else ("approximate", 0))


def test_tiles_with_the_declared_halo_equal_the_scene():
    net = small()
    tile, scene = tile_and_scene(net, 5, side=4)
    assert float(scene.std()) > 0
    np.testing.assert_allclose(tile, scene, atol=1e-6)


def test_attention_reads_a_pixel_or_the_means_of_a_tile():
    x = torch.randn(1, 4, 6, 6)
    x[:, :, 2, 2] = torch.nan
    own, whole = (Attention(4, 2, activation=nn.SiLU(), squeeze=squeeze) for squeeze in ("pixel", "tile"))
    assert own(x).isnan().any(dim=1).sum() == 1
    assert whole(x).isnan().all()
    whole.load_state_dict(own.state_dict())
    flat = torch.randn(1, 4, 1, 1).expand(-1, -1, 6, 6)
    torch.testing.assert_close(own(flat), whole(flat))
    assert small(squeeze="tile").tile_class.kind == small(squeeze="tile").frozen_class.kind == "approximate"


def test_norms_over_space_are_approximate_until_they_are_frozen():
    assert small(norm="group").tile_class.kind == "approximate"
    assert small(norm="group").frozen_class == small().tile_class


@pytest.mark.parametrize("squeeze", ["pixel", "tile"])
def test_every_weight_learns_and_every_pixel_has_an_answer(squeeze):
    net, x = small(stages=7, squeeze=squeeze).train(), torch.randn(2, 5, 4, 3)
    assert net(x).shape == (2, 3, 4, 3)
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"variant": 9}, "net.variant: .*b0 to b8"),
        ({"stages": 8}, "net.stages"),
        ({"base_width": 0}, "net.base_width"),
        ({"squeeze": "image"}, "net.squeeze: .*pixel, tile"),
        ({"activation": "gelu"}, "net.activation"),
        ({"dropout": 1.0}, "net.dropout"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)
