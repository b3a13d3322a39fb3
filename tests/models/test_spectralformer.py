"""SpectralFormer: embedding, attention and fusion by their definitions; a pixel depends on its window alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.spectralformer import AttentionBlock


def small(bands=9, out=3, **params):
    torch.manual_seed(0)
    return build("spectralformer", bands, out, **{"dim": 8, "heads": 2, "depth": 4, **params}).eval()


@pytest.mark.parametrize(("group", "window"), [(1, 1), (3, 1), (5, 1), (1, 3), (3, 5)])
def test_a_token_is_a_linear_map_of_the_bands_around_its_own_in_all_pixels(group, window):
    net, x = small(group=group, window=window), torch.randn(4, window**2, 9)
    ends = group // 2
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (ends, ends)), mode="edge")
    groups = np.stack([padded[..., band : band + group].reshape(4, -1) for band in range(9)], axis=1)
    with torch.no_grad():
        tokens = net.tokens(x) - net.positions
        expected = groups @ net.embed.weight.numpy().T + net.embed.bias.numpy()
        np.testing.assert_allclose(tokens[:, 1:], expected, atol=1e-6)
        np.testing.assert_allclose(tokens[:, 0], net.token.expand(4, 1, 8)[:, 0], atol=1e-6)


def test_attention_is_torchs():
    torch.manual_seed(0)
    block, x = AttentionBlock(8, 2, 5), torch.randn(3, 6, 8)
    with torch.no_grad():
        query, key, value = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in block.mixed(x).chunk(3, dim=-1))
        values = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        torch.testing.assert_close(block.attention(x), block.out(values))
        after = x + block.attention(block.before(x))
        torch.testing.assert_close(block(x), after + block.narrow(functional.gelu(block.widen(block.between(after)))))


def test_a_block_reads_the_last_output_and_the_one_two_blocks_before():
    net, seen = small(), []
    for block in net.blocks:
        block.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    net.fusions.data = torch.tensor([[0.25, 2.0], [-1.0, 3.0]])
    spectra = torch.randn(2, 1, 9)
    with torch.no_grad():
        net.logits(spectra)
        outputs = [net.tokens(spectra), *(output for _, output in seen)]
    torch.testing.assert_close(seen[1][0], outputs[1])
    torch.testing.assert_close(seen[2][0], 0.25 * outputs[2] + 2 * outputs[0])
    torch.testing.assert_close(seen[3][0], -outputs[3] + 3 * outputs[1])


def test_every_tile_has_the_same_bits_and_a_pixel_depends_on_itself():
    net, x = small(), torch.randn(2, 9, 21, 17)
    assert net.tile_class.kind == "pixelwise"
    with torch.no_grad():
        whole = net(x)
        assert float(whole.std()) > 0
        assert torch.equal(net(x[1:, :, 3:12, 5:6].contiguous()), whole[1:, :, 3:12, 5:6])
        x[0, :, 4, 4] = torch.nan
        assert net(x).isnan().any(dim=1).sum() == 1


@pytest.mark.parametrize("window", [3, 5])
def test_a_pixel_depends_on_its_window_alone_which_has_zeros_beyond_the_image(window):
    net, x, halo = small(window=window), torch.randn(2, 9, 21, 17), window // 2
    assert (net.tile_class.kind, net.tile_class.halo) == ("exact", halo)
    with torch.no_grad():
        whole = net(x)
        part = net(x[1:, :, 3 - halo : 12 + halo, 5 - halo : 9 + halo].contiguous())
        assert torch.equal(part[..., halo:-halo, halo:-halo], whole[1:, :, 3:12, 5:9])
        assert torch.equal(net(functional.pad(x, (halo,) * 4))[..., halo:-halo, halo:-halo], whole)
        assert torch.equal(net.train()(x)[1], whole[1])
        x[0, :, 10, 8] = torch.nan
        lost = net.eval()(x).isnan().any(dim=1)
    where = torch.zeros(2, 21, 17, dtype=torch.bool)
    where[0, 10 - halo : 11 + halo, 8 - halo : 9 + halo] = True
    assert torch.equal(lost, where)


def test_the_pixels_of_a_window_are_told_apart():
    net, x = small(window=3), torch.randn(1, 9, 3, 3)
    with torch.no_grad():
        middle, turned = net(x)[..., 1, 1], net(x.rot90(1, (2, 3)))[..., 1, 1]
    assert not torch.allclose(middle, turned, atol=1e-5)


def test_the_order_of_bands_matters_and_all_of_them_do():
    net, x = small(), torch.randn(1, 9, 1, 1, requires_grad=True)
    assert not torch.allclose(net(x), net(x.flip(1)), atol=1e-5)
    assert (torch.autograd.grad(net(x).square().sum(), x)[0] != 0).all()


@pytest.mark.parametrize("fusion", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_every_weight_learns(fusion, depth):
    net = small(fusion=fusion, depth=depth).train()
    assert len(net.fusions) == (depth - 2 if fusion and depth > 2 else 0)
    net(torch.randn(2, 9, 3, 2)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.numel())


def test_the_published_sizes_have_their_number_of_weights():
    with torch.device("meta"):
        net = build("spectralformer", 200, 16)
    block = 2 * 2 * 64 + (64 * 192 + 192) + (64 * 64 + 64) + (64 * 8 + 8) + (8 * 64 + 64)
    ends = (3 * 64 + 64) + 64 + 201 * 64 + 2 * 64 + (64 * 16 + 16)
    assert sum(p.numel() for p in net.parameters()) == 5 * block + 3 * 2 + ends


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"group": 2}, "net.group: .*odd"),
        ({"window": 4}, "net.window: .*odd"),
        ({"heads": 3}, "net.heads: .*divisor of 8"),
        ({"depth": 0}, "net.depth"),
        ({"dim": 0}, "net.dim"),
        ({"hidden": 0}, "net.hidden"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        small(**params)
