"""HybridSN: the published size, and one pass that answers as a net of single windows does."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets import build

SMALL = {"window": 11, "widths": (2, 3), "depths": (3, 2), "plane": 4, "dense": (6, 5)}


def small(bands=6, out=3, **params):
    torch.manual_seed(0)
    return build("hybridsn", bands, out, **{**SMALL, **params}).eval()


def test_the_published_net_has_5122176_parameters():
    with torch.device("meta"):
        net = build("hybridsn", 30, 16)
    assert sum(p.numel() for p in net.parameters()) == 5_122_176
    assert (net.tile_class.kind, net.tile_class.halo, net.tile_class.align) == ("exact", 12, 1)


def test_every_pixel_has_the_answer_of_dense_layers_on_its_window():
    net, x = small(), torch.randn(1, 6, 17, 15)
    first, second = (block[0][0] for block in net.dense)
    last = net.last[0]
    with torch.no_grad():
        whole = net(x)
        for y, z in ((5, 5), (9, 8), (11, 9)):
            window = x[:, :, y - 5 : y + 6, z - 5 : z + 6]
            planes = net.plane(net.volumes(window.unsqueeze(1)).flatten(1, 2))
            units = nn.functional.linear(planes.flatten(1), first.weight.flatten(1), first.bias).relu()
            units = nn.functional.linear(units, second.weight.flatten(1), second.bias).relu()
            expected = nn.functional.linear(units, last.weight.flatten(1), last.bias)
            torch.testing.assert_close(whole[:, :, y, z], expected)


@pytest.mark.parametrize("window", [7, 9, 15])
def test_a_halo_is_half_the_window_and_its_tiles_equal_the_scene(window):
    net = small(window=window)
    assert reach(net, 6, cells=20, height=3) == (window // 2, window // 2) == (net.tile_class.halo,) * 2
    tile, scene = tile_and_scene(net, 6, side=4)
    assert float(scene.std()) > 0
    np.testing.assert_allclose(tile, scene, atol=1e-6)


def test_it_trains_with_dropout_and_answers_for_every_pixel():
    net, x = small().train(), torch.randn(2, 6, 8, 5)
    assert net(x).shape == (2, 3, 8, 5)
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert not torch.equal(net(x), net.eval()(x))


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"window": 10}, "net.window: .*odd number of at least 7"),
        ({"window": 5}, "net.window"),
        ({"bands": 3}, "recipe.steps: .*at least 4"),
        ({"depths": (3,)}, "net.depths"),
        ({"widths": (), "depths": ()}, "net.depths"),
        ({"widths": (0, 2)}, "net.widths"),
        ({"dense": ()}, "net.dense"),
        ({"dropout": 1.0}, "net.dropout"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)
