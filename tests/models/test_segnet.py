"""SegNets: sizes, maxima that go back to their places, and tiles that equal the scene."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.norms import SeededDropout


def small(dimensions=2, bands=5, out=3, **params):
    torch.manual_seed(0)
    return build("segnet", bands, out, dimensions=dimensions, **{"base_width": 3, "stages": 2, **params}).eval()


def test_the_published_widths_have_their_number_of_weights():
    def layers(*sizes):
        return sum(9 * a * b + b + 2 * b for a, b in pairwise(sizes))

    down = layers(3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    up = layers(512, 512, 512, 512) + layers(512, 512, 512, 256) + layers(256, 256, 256, 128) + layers(128, 128, 64)
    with torch.device("meta"):
        net = build("segnet", 3, 6)
    assert sum(p.numel() for p in net.parameters()) == down + up + 9 * 64 * 6 + 6
    assert [m.p for m in net.modules() if isinstance(m, SeededDropout)] == [0.5] * 6


@pytest.mark.parametrize(("dimensions", "bands"), [(2, 5), (3, 5), (3, 8)])
@pytest.mark.parametrize("stages", [1, 3])
def test_every_pixel_is_answered_and_every_weight_learns(dimensions, bands, stages):
    net, x = small(dimensions, bands, stages=stages).train(), torch.randn(2, bands, 8, 16)
    assert net(x).shape == (2, 3, 8, 16)
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_maximum_goes_back_to_its_place_with_zeros_around(dimensions):
    body = small(dimensions, 4, stages=1).body[0]
    body.downs = nn.ModuleList([nn.Identity()])
    x = torch.rand(1, 1, *(4,) * dimensions)
    cells = x.unfold(2, 2, 2).unfold(3, 2, 2)
    cells = cells if dimensions == 2 else cells.unfold(4, 2, 2)
    y = body(x)
    assert sorted(y[y > 0].tolist()) == sorted(cells.flatten(-dimensions).amax(-1).flatten().tolist())
    assert torch.equal(y[y > 0], x[y > 0])


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("stages", [1, 2])
def test_a_halo_covers_the_reach_and_its_tiles_equal_the_scene(dimensions, stages):
    net = small(dimensions, stages=stages, activation="leaky_relu", norm="none")
    cls = net.tile_class
    assert (cls.kind, cls.align) == ("exact", 2**stages)
    assert cls.halo / 2 < max(reach(net, 5, cells=24)) <= cls.halo  # NaN takes one place of each maximum, not all four
    tile, scene = tile_and_scene(net, 5)
    assert float(scene.std()) > 0
    np.testing.assert_allclose(tile, scene, atol=1e-5)


def test_five_stages_and_norms_over_space_are_approximate():
    assert small(stages=5).tile_class.kind == small(norm="group").tile_class.kind == "approximate"
    assert small(norm="group").frozen_class == small(norm="none").tile_class
    assert small(3, norm="group").frozen_class.kind == "approximate"


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"dimensions": 1}, "net.dimensions: .*2 .*3"),
        ({"dimensions": 3, "bands": 1}, "2 bands or more"),
        ({"stages": 6}, "net.stages"),
        ({"base_width": 0}, "net.base_width"),
        ({"dropout": 1.0}, "net.dropout"),
        ({"activation": "gelu"}, "net.activation"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)


def test_sides_that_do_not_halve_are_refused_with_the_multiple_to_use():
    with pytest.raises(UserError, match="multiples of 2 \\*\\* stages = 4"):
        small()(torch.zeros(1, 5, 8, 6))
