"""MST++: the published size, attention between channels by its definition, any number of channels in and out."""

import numpy as np
import pytest
import torch

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.mst import SpectralAttention


def small(channels_in=3, channels_out=4, **params):
    torch.manual_seed(0)
    return build("mst", channels_in, channels_out, **params).eval()


def test_the_published_net_has_162_million_parameters_and_keeps_the_size():
    with torch.device("meta"):
        net = build("mst", 3, 31)
        count = sum(p.numel() for p in net.parameters())
        assert count == 1_619_625
        assert round(count / 1e6, 2) == 1.62
        assert net(torch.empty(1, 3, 128, 64)).shape == (1, 31, 128, 64)


def test_attention_is_a_softmax_of_the_products_of_channels_over_all_pixels():
    torch.manual_seed(0)
    layer, x = SpectralAttention(6, 2).eval(), torch.randn(2, 6, 4, 5)
    layer.sharpness.data = torch.tensor([[[2.0]], [[0.5]]])
    with torch.no_grad():
        values = layer.value(x)
        query, key, value = (p(x).flatten(2).numpy() for p in (layer.query, layer.key, layer.value))
        mixed = np.empty_like(value)
        for sample in range(2):
            for head, factor in ((slice(0, 3), 2.0), (slice(3, 6), 0.5)):
                q, k = (p[sample, head] / np.linalg.norm(p[sample, head], axis=1, keepdims=True) for p in (query, key))
                weight = np.exp(factor * k @ q.T)
                mixed[sample, head] = weight / weight.sum(axis=1, keepdims=True) @ value[sample, head]
        expected = layer.out(torch.from_numpy(mixed).reshape(x.shape)) + layer.position(values)
        torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-4)


def test_attention_looks_at_every_pixel_and_is_declared_approximate():
    net = small(levels=1, stages=1)
    image = torch.randn(1, 3, 64, 64, requires_grad=True)
    seen = torch.autograd.grad(net(image)[0, :, 0, 0].sum(), image)[0][0].abs().sum(0)
    assert (seen > 0).all()
    assert (net.tile_class.kind, net.tile_class.align) == ("approximate", 8)


@pytest.mark.parametrize(("channels_in", "channels_out", "dim"), [(1, 2, None), (5, 3, 4), (3, 8, 4), (6, 6, None)])
def test_any_number_of_channels_in_inside_and_out(channels_in, channels_out, dim):
    net, image = small(channels_in, channels_out, dim=dim, stages=2), torch.randn(2, channels_in, 16, 8)
    assert net(image).shape == (2, channels_out, 16, 8)
    net.train()(image).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("name", ["stages", "levels", "blocks"])
def test_more_of_each_makes_a_larger_net(name):
    counts = [sum(p.numel() for p in small(**{name: n}).parameters()) for n in (1, 2, 3)]
    assert counts == sorted(set(counts))


def test_what_goes_in_is_added_to_what_comes_out():
    net, image = small(), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        net.last.weight.zero_()
        torch.testing.assert_close(net(image), net.first(image))


def test_a_sample_has_one_answer_in_any_batch():
    net, image = small(), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(image)[1:2], net(image[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("params", "align"), [({}, 8), ({"levels": 4}, 16)])
def test_sides_that_do_not_halve_are_refused_with_the_multiple_to_use(params, align):
    net = small(**params)
    assert net.align == align
    with pytest.raises(UserError, match=f"multiples of .* = {align}"):
        net(torch.zeros(1, 3, align, align + 4))


@pytest.mark.parametrize("params", [{"dim": 0}, {"stages": 0}, {"levels": 0}, {"blocks": 0}, {"head": "relu"}])
def test_numbers_that_make_no_net_are_refused(params):
    with pytest.raises(UserError, match=f"net.{next(iter(params))}"):
        small(**params)
