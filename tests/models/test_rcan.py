"""RCAN: published sizes, every scale, attention by its definition, and tiles that equal the scene without it."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.rcan import ChannelAttention, enlarged

SMALL = {"width": 4, "groups": 1, "blocks": 1, "reduction": 2}


def small(bands=5, out=5, **params):
    torch.manual_seed(0)
    return build("rcan", bands, out, **{**SMALL, **params}).eval()


@pytest.mark.parametrize(("scale", "count"), [(2, 15_444_643), (4, 15_592_355)])
def test_the_published_net_has_its_number_of_parameters(scale, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in build("rcan", 3, 3, scale=scale).parameters()) == count


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("enlarge", ["last", "first"])
def test_an_image_of_scale_times_the_pixels_is_trained(scale, enlarge):
    net, x = small(5, 2, scale=scale, enlarge=enlarge).train(), torch.randn(2, 5, 4, 3)
    assert net(x).shape == (2, 2, 4 * scale, 3 * scale)
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("enlarge", ["last", "first"])
def test_without_attention_a_halo_is_the_reach_and_tiles_equal_the_scene(scale, enlarge):
    net = small(scale=scale, enlarge=enlarge, attention=False)
    halo = net.tile_class.halo
    assert net.tile_class.kind == "exact"
    assert halo - 1 <= max(reach(net, 5, cells=16, height=2)) <= halo
    tile, scene = tile_and_scene(net, 5, side=3)
    assert tile.shape == scene.shape == (1, 5, 3 * scale, 3 * scale)
    assert float(scene.std()) > 0
    np.testing.assert_allclose(tile, scene, atol=1e-6)


def test_attention_looks_at_the_whole_tile_and_a_wide_reach_is_approximate():
    x = torch.randn(1, 5, 24, 24)
    x[:, :, 0, 0] = torch.nan
    assert small()(x).isnan().all()
    assert not small(attention=False)(x).isnan().all()
    assert small().tile_class.kind == small(attention=False, blocks=20).tile_class.kind == "approximate"


def test_attention_weighs_channels_by_a_function_of_their_means():
    torch.manual_seed(0)
    layer, x = ChannelAttention(6, 3), torch.randn(2, 6, 4, 5)
    down, _, up, _ = layer.weigh
    with torch.no_grad():
        means = x.numpy().mean(axis=(2, 3))
        inner = np.maximum(means @ down.weight.numpy()[:, :, 0, 0].T + down.bias.numpy(), 0)
        weight = 1 / (1 + np.exp(-(inner @ up.weight.numpy()[:, :, 0, 0].T + up.bias.numpy())))
        np.testing.assert_allclose(layer(x), x.numpy() * weight[:, :, None, None], atol=1e-6)


def test_fine_pixels_are_interleaved_where_their_coarse_pixel_was():
    step = enlarged(1, 2)
    conv = step[0][0]
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[:, 0, 1, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        conv.bias.zero_()
        x = torch.rand(1, 1, 3, 2)
        np.testing.assert_allclose(step(x)[0, 0], np.kron(x[0, 0], [[1, 2], [3, 4]]), atol=1e-6)


def test_the_input_of_the_body_is_added_to_its_output():
    net, x = small(), torch.randn(1, 5, 4, 4)
    last = net.body.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        torch.testing.assert_close(net.body(net.first(x)), net.first(x))


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"scale": 5}, "net.scale: .*2, 3, 4, 8"),
        ({"width": 1}, "net.width: .*at least the reduction, 2"),
        ({"groups": 0}, "net.groups"),
        ({"blocks": 0}, "net.blocks"),
        ({"reduction": 0}, "net.reduction"),
        ({"enlarge": "middle"}, "net.enlarge: .*last, first"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)
