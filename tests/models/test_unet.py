import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.norms import NORMS, ChannelNorm, SeededDropout, set_sample_ids


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def small(norm="channel", n_down=3, **params):
    torch.manual_seed(0)
    return build("unet", 3, 2, base_width=4, n_down=n_down, norm=norm, init="kaiming", **params).eval()


def test_the_published_generator_has_54418434_parameters_and_keeps_the_size():
    with torch.device("meta"):
        net = build("unet", 4, 2, head="tanh").eval()
        assert parameters(net) == 54_418_434
        assert net(torch.empty(1, 4, 512, 512)).shape == (1, 2, 512, 512)


def test_a_tanh_head_stays_within_minus_one_and_one():
    y = small(head="tanh")(100 * torch.randn(1, 3, 16, 16))
    assert y.dtype == torch.float32
    assert y.abs().max() <= 1


@pytest.mark.parametrize("side", [8, 12, 20, 30])
def test_sides_that_do_not_halve_are_refused_with_the_multiple_to_use(side):
    with pytest.raises(UserError, match="multiples of 2 \\*\\* n_down = 16"):
        small(n_down=4)(torch.zeros(1, 3, 32, side))


@pytest.mark.parametrize("n_down", [1, 2, 3, 4])
def test_tiles_with_the_declared_halo_equal_the_scene(n_down):
    net = small(n_down=n_down)
    cls = net.tile_class
    assert (cls.kind, cls.halo, cls.align) == ("exact", 2 * 2**n_down, 2**n_down)
    scene = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        whole = net(scene)
        h = cls.halo
        tile = net(scene[:, :, 48 - h : 64 + h, 32 - h : 64 + h])
    np.testing.assert_allclose(tile[:, :, h:-h, h:-h], whole[:, :, 48:64, 32:64], atol=1e-5)


@pytest.mark.parametrize("n_down", [1, 2, 3])
def test_the_halo_is_no_larger_than_alignment_asks_for(n_down):
    net = small(norm="none", n_down=n_down)
    for p in net.parameters():
        p.data.abs_()
    x = torch.ones(1, 3, 96, 96, requires_grad=True)
    side, align = 48, 2**n_down
    reach = []
    for start in (side, side + align - 1):
        seen = torch.autograd.grad(net(x)[0, 0, start, start], x, retain_graph=True)[0][0, 0].sum(0).nonzero()
        reach += [side - int(seen.min()), int(seen.max()) - (side + align - 1)]
    assert net.tile_class.halo - align < max(reach) <= net.tile_class.halo


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_every_norm_trains_one_step_and_declares_its_tile_class(norm):
    net = small(norm=norm).train()
    net(torch.randn(2, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.tile_class.kind == ("approximate" if norm in ("instance", "group") else "exact")


def test_large_nets_are_approximate_and_keep_their_alignment():
    cls = small(n_down=5).tile_class
    assert (cls.kind, cls.align) == ("approximate", 32)


def test_the_channel_norm_normalises_each_pixel():
    x = torch.randn(2, 7, 5, 4)
    y = ChannelNorm(7)(x)
    np.testing.assert_allclose(y.mean(1).detach(), np.zeros((2, 5, 4)), atol=1e-6)
    np.testing.assert_allclose(y.var(1, unbiased=False).detach(), np.ones((2, 5, 4)), atol=1e-3)


def test_frozen_batch_norm_answers_one_tile_alike_in_any_batch():
    net = small(norm="batch")
    x = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        np.testing.assert_allclose(net(x)[1:2], net(x[1:2]), atol=1e-6)


def test_live_nets_answer_by_tile_id_and_not_by_batch():
    net = small(norm="batch", live=True)
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        set_sample_ids(net, [7, 8, 9], seed=1)
        together = net(x)
        set_sample_ids(net, [8], seed=1)
        alone = net(x[1:2])
        set_sample_ids(net, [80], seed=1)
        other = net(x[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
    assert not torch.allclose(alone, other, atol=1e-3)


def test_live_batch_norm_uses_the_statistics_of_the_tile_and_keeps_its_running_means():
    net = small(norm="batch", live=True, dropout=0.0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        alive = net(x)
        frozen = small(norm="batch", dropout=0.0)
        frozen.load_state_dict(net.state_dict())
        assert not torch.allclose(alive, frozen(x), atol=1e-3)
        trained = frozen.train()(x)
    np.testing.assert_allclose(alive, trained, atol=1e-5)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True), st.integers(0, 2**20))
def test_a_dropout_mask_depends_on_its_sample_only(ids, seed):
    layer = SeededDropout(0.5, 0).train()
    x = torch.ones(len(ids), 4, 3, 3)
    set_sample_ids(layer, ids, seed)
    together = layer(x)
    for i, sample in enumerate(ids):
        set_sample_ids(layer, [sample], seed)
        assert torch.equal(layer(x[i : i + 1])[0], together[i])


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = SeededDropout(0.3, 1).train()
    y = layer(torch.ones(2, 50, 40, 40))
    assert float((y == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(y.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(layer.eval()(torch.ones(1, 2, 2, 2)), torch.ones(1, 2, 2, 2))


def test_the_published_weights_are_normal_with_deviation_one_fiftieth():
    torch.manual_seed(0)
    net = build("unet", 4, 2, base_width=32, n_down=4)
    weights = torch.cat([p.flatten() for n, p in net.named_parameters() if p.ndim == 4])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(weights.detach().mean()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"n_down": 0}, "net.n_down"),
        ({"base_width": 0}, "net.base_width"),
        ({"dropout": 1.0}, "net.dropout"),
        ({"head": "relu"}, "net.head: .*logits, tanh"),
        ({"norm": "layer"}, "net.norm: .*batch, instance, group, channel, none"),
        ({"init": "ones"}, "net.init: .*normal, kaiming"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        build("unet", 3, 2, **params)
