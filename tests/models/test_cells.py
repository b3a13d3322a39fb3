"""Nets around another one: it answers for whole images, for finer pixels, or says what is to be added."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.norms import set_sample_ids

INNER = {
    "linear": {"name": "linear"},
    "spectra": {"name": "resunet", "dimensions": 1, "base_width": 2, "levels": 1, "residual": False},
    "images": {"name": "resunet", "base_width": 2, "levels": 1, "residual": False, "activation": "leaky_relu"},
    "approximate": {"name": "efficientnet", "base_width": 8, "stages": 1, "squeeze": "tile", "norm": "instance"},
}

RCAN = {"width": 4, "groups": 1, "blocks": 1, "reduction": 2, "attention": False}


def small(name, inner, bands=4, out=3, **params):
    torch.manual_seed(0)
    return build(name, bands, out, inner=INNER[inner] if isinstance(inner, str) else inner, **params).eval()


@pytest.mark.parametrize("inner", INNER)
def test_each_cell_has_the_mean_answer_to_itself_alone_in_any_tile(inner):
    net, x = small("cells", inner, cell=6), torch.randn(2, 4, 18, 12)
    with torch.no_grad():
        whole = net(x)
        alone = net.inner(x[1:, :, 6:12, 6:12].contiguous()).mean(dim=(2, 3))
        assert whole.shape == (2, 3, 3, 2)
        torch.testing.assert_close(whole[1:, :, 1, 1], alone)
        torch.testing.assert_close(whole[:, :, 1:, 1:], net(x[:, :, 6:, 6:].contiguous()))
    assert (net.tile_class.kind, net.tile_class.halo, net.tile_class.align) == ("exact", 0, 6)


def test_a_cell_that_the_inner_net_cannot_halve_is_refused_and_so_are_broken_cells():
    with pytest.raises(UserError, match=r"net\.cell: .*multiple of 2"):
        small("cells", "images", cell=7)
    with pytest.raises(UserError, match=r"net\.cell"):
        small("cells", "linear", cell=0)
    with pytest.raises(UserError, match="multiples of cell = 6"):
        small("cells", "linear", cell=6)(torch.zeros(1, 4, 9, 6))


def test_dropout_in_cells_is_that_of_the_sample_in_any_batch():
    inner = {"name": "efficientnet", "base_width": 8, "stages": 1, "dropout": 0.5, "norm": "none"}
    net, x = small("cells", inner, cell=4).train(), torch.randn(3, 4, 8, 4)
    set_sample_ids(net, [7, 8, 9])
    together = net(x)
    set_sample_ids(net, [9])
    torch.testing.assert_close(net(x[2:]), together[2:])
    twice = x[:1, :, :4].repeat(1, 1, 2, 1)
    set_sample_ids(net, [7])
    first, second = net(twice)[0].unbind(dim=1)
    assert not torch.allclose(first, second), "each cell drops others"


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("inner", ["spectra", "images"])
def test_an_enlarged_image_has_scale_times_the_pixels_and_tiles_that_equal_the_scene(inner, scale):
    net = small("enlarged", inner, scale=scale)
    halo, align = net.tile_class.halo, net.tile_class.align
    assert net.tile_class.kind == "exact"
    assert max(reach(net, 4, cells=12, height=align)) <= halo
    tile, scene = tile_and_scene(net, 4, side=2 * align)
    assert tile.shape == scene.shape == (1, 3, 2 * align * scale, 2 * align * scale)
    assert float(scene.std()) > 0
    np.testing.assert_allclose(tile, scene, atol=1e-6)


def test_an_approximate_net_is_approximate_when_enlarged_and_a_frozen_one_is_not():
    assert small("enlarged", "approximate").tile_class.kind == "approximate"
    assert (
        small("enlarged", {**INNER["images"], "norm": "group"}).frozen_class == small("enlarged", "images").tile_class
    )
    assert small("enlarged", "linear").frozen_class is None
    with pytest.raises(UserError, match=r"net\.scale: .*2, 3, 4, 8"):
        small("enlarged", "linear", scale=5)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_a_residual_net_adds_to_its_input_enlarged_and_its_tiles_equal_the_scene(scale):
    inner = INNER["images"] if scale == 1 else {"name": "rcan", "scale": scale, **RCAN}
    net = small("residual", inner, out=4)
    halo, align = net.tile_class.halo, net.tile_class.align
    assert net.tile_class.kind == "exact"
    assert max(reach(net, 4, cells=12, height=2 * align)) <= halo
    tile, scene = tile_and_scene(net, 4, side=2 * align)
    np.testing.assert_allclose(tile, scene, atol=1e-5)  # torch rounds thirds of coordinates to float32
    x = torch.rand(2, 4, 6, 8)
    with torch.no_grad():
        added = net(x) - net.inner(x)
        finer = torch.nn.functional.interpolate(x, scale_factor=scale, mode="bicubic")
        torch.testing.assert_close(added, finer if scale > 1 else x, atol=1e-6, rtol=0)
        net.gain.fill_(3), net.offset.fill_(-1)
        torch.testing.assert_close(net(x) - net.inner(x), 3 * added - 1, atol=1e-5, rtol=0)


def test_a_residual_net_reads_what_the_interpolation_reads_and_refuses_what_cannot_be_added():
    near = {"name": "enlarged", "inner": {"name": "linear"}}
    for inner in (near, {"name": "rcan", **RCAN}, {"name": "residual", "inner": near}):
        net = small("residual", inner, out=4)
        assert net.tile_class.halo >= 2
        assert net(torch.zeros(1, 4, 6, 6)).shape == (1, 4, 12, 12), "as these nets have it if nothing is said"
    assert small("residual", "linear", out=4).tile_class.kind == "pixelwise"
    assert small("residual", "approximate", out=4).tile_class.kind == "approximate"
    with pytest.raises(UserError, match="found 3; expected 4 channels"):
        small("residual", "linear")
    with pytest.raises(UserError, match="found 4 x 1 x 1 values; expected an answer of 4 x 6 x 6 values"):
        small("residual", {"name": "cells", "cell": 6, "inner": INNER["linear"]}, out=4)(torch.zeros(1, 4, 6, 6))
