"""QRNN3D: the published size, memory along the bands by its definition, and tiles that equal the scene."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.qrnn3d import QuasiRecurrent, remembered


def small(bands=5, out=None, **params):
    torch.manual_seed(0)
    return build("qrnn3d", bands, out or bands, **{"base_width": 2, "levels": 1, **params}).eval()


def test_the_published_net_has_860_thousand_weights_for_any_number_of_bands():
    with torch.device("meta"):
        nets = build("qrnn3d", 31, 31), build("qrnn3d", 200, 200)
    for net in nets:
        weights = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv3d))
        halves = 27 * 2 * (16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)  # down, and up as many
        assert weights == 2 * halves + 2 * 27 * 3 * 16 == 859_680


@pytest.mark.parametrize("backwards", [False, True])
def test_memory_is_a_weighted_mean_of_the_band_and_of_the_memory_before(backwards):
    z, forget = torch.randn(2, 3, 4, 2, 2), torch.rand(2, 3, 4, 2, 2)
    h = remembered(z, forget, backwards=backwards)
    order, before = (range(3, -1, -1) if backwards else range(4)), torch.zeros(2, 3, 2, 2)
    for band in order:
        before = forget[:, :, band] * before + (1 - forget[:, :, band]) * z[:, :, band]
        torch.testing.assert_close(h[:, :, band], before)


@pytest.mark.parametrize(("directions", "changed"), [("up", slice(3, 8)), ("down", slice(0, 6)), ("both", slice(0, 8))])
def test_memory_runs_in_its_directions_beyond_the_filter(directions, changed):
    torch.manual_seed(0)
    layer, x = QuasiRecurrent(1, 2, directions, name="none"), torch.randn(1, 1, 8, 4, 4)
    y, x[:, :, 4] = layer(x), x[:, :, 4] + 1  # the filter reads bands 3 to 5 of it
    differs = (layer(x) != y).any(dim=4).any(dim=3).any(dim=1)[0].tolist()
    assert differs == [band in range(8)[changed] for band in range(8)]


@pytest.mark.parametrize(("levels", "halo"), [(1, 12), (2, 24)])
def test_a_halo_is_the_reach_rounded_up_to_the_alignment(levels, halo):
    net = small(levels=levels)
    assert (net.tile_class.kind, net.tile_class.halo, net.tile_class.align) == ("exact", halo, 2**levels)
    assert halo - 2**levels < max(reach(net, 5, cells=16)) <= halo
    tile, scene = tile_and_scene(net, 5)
    np.testing.assert_allclose(tile, scene, atol=1e-6)


def test_three_levels_and_norms_over_space_are_approximate():
    assert small(levels=3).tile_class.kind == small(norm="group").tile_class.kind == "approximate"


def test_without_weights_the_answer_is_the_image():
    net, x = small(), torch.randn(1, 5, 4, 4)
    nn.init.zeros_(net.last.convolve[0].weight)
    torch.testing.assert_close(net(x), x)


@pytest.mark.parametrize("bands", [1, 6])
def test_every_weight_learns_from_any_number_of_bands(bands):
    net, x = small(bands, levels=2).train(), torch.randn(2, bands, 8, 4)
    assert net(x).shape == x.shape
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("params", "text"),
    [({"out": 3}, "net.channels: .*5"), ({"levels": 0}, "net.levels"), ({"base_width": 0}, "net.base_width")],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)


def test_sides_that_do_not_halve_are_refused_with_the_multiple_to_use():
    with pytest.raises(UserError, match="multiples of 2 \\*\\* levels = 2"):
        small()(torch.zeros(1, 5, 3, 4))
