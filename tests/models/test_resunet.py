"""U-Nets of spectra, images and volumes: sizes, tiles that equal the scene, pixels alone, answers with any sign."""

import numpy as np
import pytest
import torch
from tile_reach import reach, tile_and_scene
from torch import nn
from torch.nn import functional

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.convolutions import SPECTRA

PIXELWISE = ("none", "batch", "channel")


def small(dimensions=2, bands=5, out=3, **params):
    torch.manual_seed(0)
    params = {"base_width": 4, "levels": 2, "residual": False} | params
    return build("resunet", bands, out, dimensions=dimensions, **params).eval()


def weights_of_published(channels_in, channels_out, *, taps, last_taps, residual):
    """Return the number of weights from the published widths: 64 to 512, the deepest halved as in the reference."""

    def layer(a, b):
        return taps * a * b + b + 2 * b  # a convolution with its bias, a norm

    def block(a, middle, b):
        return layer(a, middle) + 2 * residual * layer(middle, middle) + layer(middle, b)

    downs = [(channels_in, 64, 64), (64, 128, 128), (128, 256, 256), (256, 256, 256)]
    ups = [(512, 256, 128), (256, 128, 64), (128, 64, 64)]
    return sum(block(*sizes) for sizes in downs + ups) + last_taps * 64 * channels_out + channels_out


@pytest.mark.parametrize("residual", [False, True])
def test_the_published_sizes_have_their_number_of_weights(residual):
    with torch.device("meta"):
        image = build("resunet", 3, 5, residual=residual)
        spectrum = build("resunet", 500, 500, dimensions=1, residual=residual, answer="bands")
        volume = build("resunet", 500, 500, dimensions=3, residual=residual, answer="bands")
    counts = [sum(p.numel() for p in net.parameters()) for net in (image, spectrum, volume)]
    assert counts == [
        weights_of_published(3, 5, taps=9, last_taps=1, residual=residual),
        weights_of_published(1, 1, taps=3, last_taps=3, residual=residual),
        weights_of_published(1, 1, taps=27, last_taps=27, residual=residual),
    ]


def test_images_of_many_bands_have_as_many_channels_at_the_first_level():
    with torch.device("meta"):
        assert build("resunet", 51, 6).body[0].downs[0].first[0].weight.shape[:2] == (51, 51)
        assert build("resunet", 51, 6, base_width=8).body[0].downs[0].first[0].weight.shape[:2] == (8, 51)


@pytest.mark.parametrize(("residual", "halo"), [(False, 56), (True, 104)])
def test_three_poolings_need_the_halo_that_is_known_of_them(residual, halo):
    net = small(levels=3, residual=residual, base_width=2)
    assert (net.tile_class.kind, net.tile_class.halo, net.tile_class.align) == ("exact", halo, 8)
    assert -(-max(reach(net, 5, cells=20)) // 8) * 8 == halo


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
def test_a_halo_is_the_reach_rounded_up_to_the_alignment(dimensions, residual, levels):
    net = small(dimensions, residual=residual, levels=levels, base_width=2)
    halo, align = net.tile_class.halo, net.tile_class.align
    assert halo - align < max(reach(net, 5, cells=20)) <= halo


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", PIXELWISE)
def test_tiles_with_the_declared_halo_equal_the_scene(dimensions, norm):
    net = small(dimensions, norm=norm, levels=1, base_width=3, activation="leaky_relu")
    tile, scene = tile_and_scene(net, 5)
    np.testing.assert_allclose(tile, scene, atol=1e-5)
    less, scene = tile_and_scene(net, 5, halo=net.tile_class.halo // 2)
    assert not torch.allclose(less, scene, atol=1e-5)


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_norms_over_space_are_approximate_until_they_are_frozen_and_along_a_spectrum_they_are_not(norm):
    assert small(2, norm=norm).tile_class.kind == small(3, norm=norm).tile_class.kind == "approximate"
    assert small(2, norm=norm).frozen_class == small(2, norm="none").tile_class
    assert small(3, norm=norm).frozen_class.kind == "approximate"
    assert small(1, norm=norm).tile_class.kind == "pixelwise"


@pytest.mark.parametrize("norm", [*PIXELWISE, "instance", "group"])
@pytest.mark.parametrize("answer", ["bands", "channels"])
def test_a_net_of_spectra_has_the_same_bits_in_every_tile(norm, answer):
    net = small(1, 9, 9, norm=norm, answer=answer)
    x = torch.randn(2, 9, 21, 17)
    with torch.no_grad():
        whole = net(x)
        assert torch.equal(net(x[1:, :, 3:12, 5:6].contiguous()), whole[1:, :, 3:12, 5:6])
        x[0, :, 4, 4] = torch.nan
        assert net(x).isnan().any(dim=1).sum() == 1


def test_a_net_of_spectra_takes_pixels_in_pieces_but_for_training():
    net, sizes = small(1), []
    net.body.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[0]))
    x = torch.randn(1, 5, 30, 30)
    net(x)
    net.train()(x)
    assert sizes == [SPECTRA] * 4 + [900]


@pytest.mark.parametrize("dimensions", [1, 3])
@pytest.mark.parametrize("bands", [2, 7, 8, 13])
@pytest.mark.parametrize("answer", ["bands", "channels"])
def test_any_number_of_bands_is_answered(dimensions, bands, answer):
    net = small(dimensions, bands, bands, answer=answer)
    x = torch.randn(1, bands, 4, 8)
    assert net(x).shape == (1, bands, 4, 8)
    net.train()(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("dimensions", [1, 3])
def test_a_net_of_bands_can_answer_with_any_sign(dimensions):
    net, x = small(dimensions, 8, 8, answer="bands"), torch.randn(1, 8, 8, 8)
    before = net(x)
    last = net.body[-1]
    last.load_state_dict({name: -value for name, value in last.state_dict().items()})
    torch.testing.assert_close(net(x), -before)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_a_band_of_the_answer_depends_on_neighbours_and_a_channel_on_all_bands(dimensions):
    for answer, all_bands in (("bands", False), ("channels", True)):
        x = torch.randn(1, 64, 4, 4)
        x[:, 40:] = torch.nan
        y = small(dimensions, 64, 64, answer=answer, levels=1)(x)
        assert bool(y.isnan().all()) is all_bands


def test_a_spectral_map_is_a_convolution_over_flattened_bands():
    net = small(3, 6, 4)
    one = nn.Sequential(net.body[0], *list(net.body[1])[:2])
    x = torch.randn(1, 6, 8, 8)
    linear = net.body[1][2].linear
    with torch.no_grad():
        flat = one(x.unsqueeze(1)).flatten(1, 2)
        expected = functional.conv2d(flat, linear.weight[:, :, None, None], linear.bias)
        torch.testing.assert_close(net(x), expected)


def test_every_layer_has_a_slope_of_its_own():
    net = small(1, activation="prelu", residual=True)
    slopes = [m for m in net.modules() if isinstance(m, nn.PReLU)]
    assert len({id(m.weight) for m in slopes}) == len(slopes) == 4 * 5 + 1


@pytest.mark.parametrize("width", [4, 6, 7, 64])
def test_a_group_norm_has_a_whole_number_of_groups_for_any_width(width):
    norm = small(base_width=width, norm="group").body[0].downs[0].first[2]
    expected = functional.group_norm(x := torch.randn(2, width, 8, 8), norm.num_groups)
    assert width % norm.num_groups == 0
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize(
    ("dimensions", "params", "text"),
    [
        (4, {}, "net.dimensions: .*1 .*2 .*3"),
        (1, {"bands": 1}, "2 bands or more"),
        (3, {"bands": 1}, "2 bands or more"),
        (2, {"activation": "gelu"}, "net.activation: .*relu, leaky_relu, prelu"),
        (2, {"answer": "bands", "out": 5}, "net.answer"),
        (1, {"answer": "bands"}, r"net.answer: .*\(5, not 3\)"),
        (1, {"answer": "spectra"}, "net.answer"),
        (2, {"levels": 0}, "net.levels"),
        (2, {"base_width": 0}, "net.base_width"),
        (2, {"head": "relu"}, "net.head"),
        (2, {"norm": "layer"}, "net.norm"),
    ],
)
def test_numbers_that_make_no_net_are_refused(dimensions, params, text):
    with pytest.raises(UserError, match=text):
        small(dimensions, **params)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_sides_that_do_not_halve_are_refused_with_the_multiple_to_use(dimensions):
    with pytest.raises(UserError, match="multiples of 2 \\*\\* levels = 4"):
        small(dimensions)(torch.zeros(1, 5, 8, 6))
