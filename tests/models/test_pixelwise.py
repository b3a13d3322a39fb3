"""Pixelwise nets and the opening: equal to NumPy, scikit-learn and SciPy, and equal on tiles, bit for bit."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_opening

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.opening import disk

BANDS = 30
NETS = {
    "identity": (BANDS, {}),
    "ndvi": (2, {"red": 4, "nir": 20, "threshold": 0.2}),
    "linear": (3, {}),
    "mlp": (4, {"hidden": [16, 8]}),
}


def image(height=83, width=61, batch=1, seed=0):
    rng = np.random.default_rng(seed)
    tiles = torch.from_numpy(rng.uniform(0, 1, (batch, height, width, BANDS)).astype(np.float32))
    return tiles.permute(0, 3, 1, 2)


def net(name):
    torch.manual_seed(1)
    channels, params = NETS[name]
    return build(name, BANDS, channels, **params).eval()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_tiles_equal_the_scene_bit_for_bit(name, threads):
    module, x, before = net(name), image(), torch.get_num_threads()
    whole = module(x)
    torch.set_num_threads(threads)
    try:
        for size in (7, 32, 60):
            for y in range(0, 83, size):
                for z in range(0, 61, size):
                    tile = module(x[:, :, y : y + size, z : z + size])
                    assert torch.equal(tile, whole[:, :, y : y + size, z : z + size])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", NETS)
def test_the_layout_in_memory_and_the_batch_change_no_bit(name):
    module, x = net(name), image(batch=3)
    whole = module(x)
    assert torch.equal(module(x.contiguous()), whole)
    assert torch.equal(module(x[1:2]), whole[1:2])


@pytest.mark.parametrize("name", NETS)
def test_nets_are_declared_pixelwise_and_survive_their_state(name):
    module = net(name)
    assert module.tile_class.kind == "pixelwise"
    channels, params = NETS[name]
    again = build(name, BANDS, channels, **params)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.eval()(image()), module(image()))


def test_ndvi_is_the_planted_mask_and_zero_over_zero_is_background():
    x = image(10, 10)
    x[0, :, 0, 0] = 0
    red, nir = x[0, 4].numpy(), x[0, 20].numpy()
    with np.errstate(invalid="ignore"):
        expected = (nir - red) / (nir + red) > 0.2
    found = net("ndvi")(x).argmax(dim=1)[0].numpy()
    np.testing.assert_array_equal(found, expected)
    assert found[0, 0] == 0


def test_ndvi_at_the_threshold_is_background():
    module = build("ndvi", 2, 2, red=0, nir=1, threshold=0.5)
    x = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
    assert module(x).argmax(dim=1).item() == 0


def test_linear_and_mlp_are_what_torch_makes_of_each_spectrum():
    x = image(20, 20)
    pixels = x.permute(0, 2, 3, 1).reshape(-1, BANDS)
    linear, mlp = net("linear"), net("mlp")
    expected = linear.affine(pixels).reshape(20, 20, 3).permute(2, 0, 1)[None]
    torch.testing.assert_close(linear(x), expected)
    mlp.mean += 0.5
    mlp.gain *= 2
    a, b, c = mlp.layers
    expected = c(b(a((pixels - 0.5) * 2).relu()).relu()).reshape(20, 20, 4).permute(2, 0, 1)[None]
    torch.testing.assert_close(mlp(x), expected)


def test_mlp_learns():
    module, x = build("mlp", 2, 2), torch.randn(512, 2, 1, 1)
    target = (x[:, 0] * x[:, 1] > 0).long()  # not separable by a line
    optimiser = torch.optim.Adam(module.parameters(), 3e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(module(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (module(x).argmax(dim=1) == target).float().mean() > 0.95


@pytest.mark.parametrize(("name", "channels"), [("ndvi", 3), ("identity", 2)])
def test_channels_that_a_net_cannot_give_are_refused(name, channels):
    with pytest.raises(UserError, match="channels out"):
        build(name, BANDS, channels, **NETS[name][1])


def opened(radius, classes=3):
    return build("opened", classes, classes, radius=radius, inner={"name": "identity"}).eval()


def classes_of(labels, n=3):
    return torch.nn.functional.one_hot(torch.from_numpy(labels), n).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
def test_the_opening_is_scipys_for_every_class(radius):
    rng = np.random.default_rng(radius)
    labels = np.kron(rng.integers(0, 3, (12, 11)), np.ones((9, 8), int))
    labels = np.where(rng.random(labels.shape) < 0.02, 0, labels)
    structure = disk(radius)[0, 0].numpy() > 0
    expected = np.zeros_like(labels)
    for c in (1, 2):
        expected[binary_opening(labels == c, structure)] = c
    found = opened(radius)(classes_of(labels)).argmax(dim=1)[0].numpy()
    np.testing.assert_array_equal(found, expected)
    assert (expected != labels).any()


def test_the_opening_is_exact_on_tiles_with_its_halo():
    module = opened(2)
    labels = np.kron(np.random.default_rng(0).integers(0, 3, (20, 20)), np.ones((4, 4), int))
    x = classes_of(labels)
    whole = module(x)
    halo = module.tile_class.halo
    assert (module.tile_class.kind, halo) == ("exact", 4)
    tile = module(x[:, :, 16 - halo : 48 + halo, 24 - halo : 56 + halo])[:, :, halo:-halo, halo:-halo]
    assert torch.equal(tile, whole[:, :, 16:48, 24:56])
    less = module(x[:, :, 16:48, 24:56])
    assert not torch.equal(less, whole[:, :, 16:48, 24:56])


def test_an_opening_without_a_radius_is_refused():
    with pytest.raises(UserError, match="radius of 1"):
        opened(0)
