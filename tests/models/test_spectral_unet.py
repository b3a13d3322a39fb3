"""The spectral U-Net of chemical maps: shapes and counts as published, tiles that equal the scene, refused sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from untrained_models import stored

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.predict.predict import predict
from tilespec.spectra.recipe import Recipe
from tilespec.storage.layout import constants, cube_spec
from tilespec.storage.product import Product
from tilespec.storage.rasters import ValueRaster
from tilespec.storage.scene import Scene


def small(depth=2, channels=9, **options):
    torch.manual_seed(0)
    return build("spectral_unet", channels, 1, base_width=4, depth=depth, **options).eval()


def test_the_published_net_has_its_shapes_and_28973342_parameters():
    with torch.device("meta"):
        net = build("spectral_unet", 62, 1)
        assert sum(p.numel() for p in net.parameters()) == 28_973_342
        assert net.spectral(torch.empty(1, 62, 2360, 1272)).shape == (1, 56, 1180, 636)
        assert net(torch.empty(1, 62, 2360, 1272)).shape == (1, 1, 996, 452)
        for side, left in {376: 4, 408: 20, 600: 116}.items():
            assert net(torch.empty(1, 62, side, 376)).shape == (1, 1, left, 4)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
def test_a_declared_margin_is_what_the_net_loses_at_each_valid_size(depth):
    with torch.device("meta"):
        net = build("spectral_unet", 7, 3, base_width=1, depth=depth)
        reach = net.tile_class
        for least in (2 * reach.margin + 1, 2 * reach.margin + 3 * reach.align):
            side = reach.size(least)
            assert net(torch.empty(1, 7, side, side)).shape[2] == side / 2 - reach.margin


@pytest.mark.parametrize(
    ("sides", "text"),
    [((2361, 376), r"\(2360 or 2392\) x \(376\)"), ((376, 375), "376"), ((64, 376), r"\(376\) x")],
)
def test_a_size_that_does_not_halve_is_refused_with_the_nearest_ones(sides, text):
    with torch.device("meta"):
        net = build("spectral_unet", 62, 1)
    with pytest.raises(UserError, match=text):
        net(torch.empty(1, 62, *sides, device="meta"))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("norm", ["none", "batch", "channel"])
def test_tiles_with_the_declared_halo_equal_the_scene(depth, norm):
    net = small(depth, norm=norm).double()
    reach = net.tile_class
    assert reach.kind == "exact"
    around = -(-(reach.halo + reach.margin) // reach.align) * reach.align
    scene = torch.randn(1, 9, reach.size(4 * around + 64), reach.size(4 * around + 48), dtype=torch.float64)
    start, side = 2 * around, reach.size(2 * around + 16)
    with torch.no_grad():
        whole = net(scene)
        tile = net(scene[:, :, start - around : start - around + side, start - around : start - around + side])
    inner = (around - reach.margin) // 2
    assert_allclose(
        tile[:, :, inner : inner + 8, inner : inner + 8],
        whole[:, :, (start - reach.margin) // 2 :, (start - reach.margin) // 2 :][:, :, :8, :8],
        atol=1e-10,
    )


@pytest.mark.parametrize("depth", [2, 3])
def test_aligned_corners_and_a_smaller_halo_are_not_exact(depth):
    published = small(depth, align_corners=True)
    assert published.tile_class.kind == "approximate"
    for net, halo in ((published, published.tile_class.align), (small(depth), small(depth).tile_class.halo - 2)):
        reach = net.tile_class
        scene = torch.randn(1, 9, reach.size(6 * reach.margin), reach.size(6 * reach.margin))
        with torch.no_grad():
            whole, tile = net(scene), net(scene[:, :, : reach.size(2 * reach.margin + 4 * reach.align)])
        last = tile.shape[2] - halo // 2 - 1
        assert not torch.allclose(tile[:, :, last], whole[:, :, last], atol=1e-6)


def test_a_bounded_head_stays_between_0_and_1():
    y = small(head="bounded")(100 * torch.randn(1, 9, 36, 36))
    assert 0 <= y.min() < y.max() <= 1


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"depth": 0}, "net.depth"),
        ({"base_width": 0}, "net.base_width"),
        ({"norm": "instance"}, "net.norm: .*none, batch, channel"),
        ({"head": "tanh"}, "net.head: .*linear or bounded|linear, bounded"),
    ],
)
def test_numbers_that_make_no_net_are_refused(params, text):
    with pytest.raises(UserError, match=text):
        build("spectral_unet", 9, 1, **params)


def test_fewer_bands_than_the_filter_has_are_refused():
    with pytest.raises(UserError, match="at least 7"):
        build("spectral_unet", 6, 1)


def save(path, scene, net, **task):
    """Save the untrained net as a model of a chemical map, and return its weights' net."""
    opened = Scene.open(scene)
    module = small(channels=opened.shape[2], **net)
    Model(
        net={"name": "spectral_unet", "base_width": 4, "depth": 2, **net},
        task={"name": "chemmap", "quantities": ["fat"], "units": ["%"], "scale": "1/2", **task},
        channels=(opened.shape[2], 1),
        classes=(),
        recipe=Recipe.empty(opened.shape[2], opened.spectral),
        weights=module.state_dict(),
        provenance={"method": "untrained", "train_regions": []},
    ).save(str(path))
    return module


def padded(cube, before, reach):
    """Return a cube reflected by ``before`` pixels at its start, and to a valid size of the net at its end."""
    after = [reach.size(length + 2 * before) - length - before for length in cube.shape[:2]]
    cube = np.pad(cube, ((before, after[0]), (before, after[1]), (0, 0)), mode="reflect")
    return torch.from_numpy(cube).permute(2, 0, 1)[None]


@pytest.mark.parametrize("tile", [8, 13, 64])
@pytest.mark.parametrize("margin", [0, 16])
@pytest.mark.parametrize("shape", [(60, 77), (62, 50)])
def test_a_map_in_tiles_equals_the_net_on_the_reflected_scene(make_scene, tmp_path, tile, margin, shape):
    scene = make_scene(tmp_path / "scene", *shape, 9)
    module = save(tmp_path / "model", scene, {}, margin=margin)
    predict(str(tmp_path / "model"), scene, str(tmp_path / "out"), tile=tile)
    reach, (height, width) = module.tile_class, ((length - 2 * margin) // 2 for length in shape)
    before = -(-(reach.halo + reach.margin) // reach.align) * reach.align
    opened = Scene.open(scene)
    with torch.no_grad():
        whole = module(padded(opened.read(opened.roi), before, reach))[0, 0].numpy()
    first = (before + margin - reach.margin) // 2
    assert_allclose(
        stored(tmp_path / "out")[..., 0], whole[first : first + height, first : first + width], rtol=1e-5, atol=1e-5
    )


def test_an_approximate_net_reads_what_it_loses_and_no_more(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 60, 52, 9)
    module = save(tmp_path / "model", scene, {"align_corners": True}, margin=16)
    rows = "0:52"
    predict(str(tmp_path / "model"), scene, str(tmp_path / "out"), tile=10, overlap=0, rows=rows)
    cube = torch.from_numpy(Scene.open(scene).read(Roi.of((60, 52), rows))).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert_allclose(stored(tmp_path / "out")[..., 0], module(cube)[0, 0].numpy(), rtol=1e-5, atol=1e-5)


def georeferenced(path, rows, cols):
    """Write a scene with pixels of 2 m, whose corner lies at 500 m east and 900 m north."""
    georef = {"GeoTransform": "500.0 2.0 0.0 900.0 0.0 -2.0", "crs_wkt": "LOCAL"}
    spec = replace(cube_spec((rows, cols, 9), "float32", spectral=None), attrs={"grid_mapping": "spatial_ref"})
    product = Product.open(str(path), [spec], settings={}, attrs={}, constants=constants(None, georef, (rows, cols)))
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"cube": np.random.default_rng(y0).random((y1 - y0, cols, 9), dtype=np.float32)})
    product.finish()
    return str(path)


@pytest.mark.parametrize("margin", [0, 16])
def test_a_map_lies_on_the_ground_where_its_pixels_were(tmp_path, margin):
    scene = georeferenced(tmp_path / "scene", 50, 60)
    save(tmp_path / "model", scene, {}, margin=margin)
    predict(str(tmp_path / "model"), scene, str(tmp_path / "out"))
    a, b, c, d, e, f = map(float, Scene.open(str(tmp_path / "out")).georef["GeoTransform"].split())
    assert (b, c, e, f) == (4, 0, 0, -4)
    assert (a + b / 2, d + f / 2) == (500 + 2 * (margin + 1), 900 - 2 * (margin + 1))
    assert ValueRaster.open(str(tmp_path / "out")).roi.shape == ((50 - 2 * margin) // 2, (60 - 2 * margin) // 2)
