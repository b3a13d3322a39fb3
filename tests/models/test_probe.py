"""What a net does on tiles is found out from outside: published numbers, nets built for the purpose, and a law."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tilespec.core.errors import UserError
from tilespec.core.registry import from_user
from tilespec.core.types import TileClass
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.models.nets.norms import NORMS
from tilespec.models.probe.global_layers import spread_by
from tilespec.models.probe.narrow_input import AxisMap, NarrowInput, replica
from tilespec.models.probe.probe import probe
from tilespec.models.probe.receptive_field import measure, measured_class
from tilespec.spectra.recipe import Recipe
from tilespec.tiling.grid import Axis, Grid, reflect


def unet(n_down=3, norm="channel", width=4, **params):
    torch.manual_seed(0)
    return build("unet", 3, 2, base_width=width, n_down=n_down, norm=norm, init="kaiming", **params).eval()


def far(net, channels=3):
    """Return the theoretical reach on each side, in pixels."""
    return {name: side.pixels for name, side in measure(net, channels).reach.sides.items()}


class Blocks(nn.Module):
    """Means of aligned blocks, after a convolution of a given radius: exact, with any halo and alignment."""

    def __init__(self, channels_in, channels_out, *, radius=1, align=1, declared=None, pool=False):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(channels_in, channels_out, 2 * radius + 1, padding=radius)
        self.align, self.pool = align, pool
        if declared is not None:
            self.tile_class = TileClass(**declared)

    def forward(self, x):
        y = self.conv(x)
        if self.pool:
            y = y + y.mean(dim=(2, 3), keepdim=True)
        return functional.interpolate(functional.avg_pool2d(y, self.align), scale_factor=self.align, mode="nearest")


class Attends(nn.Module):
    """Self-attention of all pixels."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.attention = nn.MultiheadAttention(channels_in, 1, batch_first=True)
        self.last = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        mixed = self.attention(tokens, tokens, tokens)[0]
        return self.last(mixed.transpose(1, 2).reshape(x.shape))


def save(path, net, channels=3, *, module=None, tile=32, classes=2):
    """Save a net with random weights as a model folder."""
    torch.manual_seed(0)
    module = module or build(net["name"], channels, classes, **{k: v for k, v in net.items() if k != "name"})
    model = Model(
        net=net,
        task={"name": "segment", "classes": classes, "head": "logits"},
        channels=(channels, classes),
        classes=tuple(f"class_{i}" for i in range(classes)),
        recipe=Recipe.empty(channels, None),
        weights=module.state_dict(),
        tile=tile,
        provenance={},
    )
    model.save(str(path))
    return str(path)


def custom(path, declared=None, **params):
    return save(path, {"name": from_user(f"{__name__}:Blocks"), "declared": declared, **params})


@pytest.mark.parametrize("n_down", [1, 2, 3, 4, 5, 6])
def test_a_unet_of_n_halvings_sees_three_times_two_to_the_n_minus_three_pixels_on_each_side(n_down):
    found = measure(unet(n_down), 3)
    assert set(far(unet(n_down)).values()) == {3 * 2**n_down - 3}
    assert found.reach.halo == 2 * 2**n_down - 1
    assert (found.line.align, found.certain) == (2**n_down, True)


def test_the_reach_is_that_of_the_gradient_at_every_position():
    net, align = unet(2), 4
    for weight in net.parameters():
        weight.data.abs_()
    x = torch.ones(1, 3, 64, 64, requires_grad=True)
    reached = {"top": 0, "bottom": 0, "left": 0, "right": 0}
    transparent = unet(2, norm="none")
    for weight in transparent.parameters():
        weight.data.abs_()
    for at in range(32, 32 + align):
        seen = torch.autograd.grad(transparent(x)[0, 0, at, at], x)[0][0].sum(0)
        rows, columns = seen.sum(1).nonzero(), seen.sum(0).nonzero()
        ends = {
            "top": at - rows.min(),
            "bottom": rows.max() - at,
            "left": at - columns.min(),
            "right": columns.max() - at,
        }
        reached = {name: max(reached[name], int(end)) for name, end in ends.items()}
    assert far(net) == reached


@pytest.mark.parametrize(
    ("kernel", "dilation", "pad"), [(3, 1, (1, 1)), (5, 3, (6, 6)), (4, 1, (1, 2)), (1, 1, (0, 0))]
)
def test_a_convolution_sees_what_its_kernel_spans(kernel, dilation, pad):
    net = nn.Sequential(nn.ZeroPad2d((*pad, *pad)), nn.Conv2d(3, 2, kernel, dilation=dilation))
    assert far(net) == {"top": pad[0], "bottom": pad[1], "left": pad[0], "right": pad[1]}
    assert measure(net, 3).line.align == 1


def test_a_convolution_without_padding_has_a_margin_and_one_with_stride_a_scale():
    assert (measure(nn.Conv2d(3, 2, 9), 3).line.margin, measure(nn.Conv2d(3, 2, 9), 3).reach.pixels) == (4, 4)
    line = measure(build("patchgan", 3, 1, n_layers=2, base_width=4).eval(), 3).line
    assert (line.scale, line.align) == (pytest.approx(1 / 4), 4)


def test_layers_that_write_in_place_are_no_obstacle():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 5, padding=2)

        def forward(self, x):
            y = self.one(x)
            y += self.two(x)
            y.relu_()
            return functional.leaky_relu(y, 0.1, True)

    assert far(Adds()) == dict.fromkeys(("top", "bottom", "left", "right"), 2)
    assert far(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)))["top"] == 1


def test_weights_of_zero_count_because_training_may_change_them():
    net = nn.Conv2d(3, 2, 7, padding=3)
    nn.init.zeros_(net.weight)
    assert far(net)["left"] == 3


@pytest.mark.parametrize(("align", "radius"), [(1, 0), (2, 1), (3, 2), (5, 1), (6, 4)])
def test_alignment_is_found_where_the_sides_need_it_and_where_only_moves_tell(align, radius):
    assert measured_class(Blocks(3, 2, radius=radius, align=align), 3).align == align

    class Tolerant(nn.Module):  # takes any size, yet its cells begin at multiples of `align`
        def __init__(self):
            super().__init__()
            self.inner = Blocks(3, 2, radius=radius, align=align)

        def forward(self, x):
            padded = functional.pad(x, (0, -x.shape[3] % align, 0, -x.shape[2] % align))
            return self.inner(padded)[:, :, : x.shape[2], : x.shape[3]]

    assert measured_class(Tolerant(), 3).align == align


@pytest.mark.parametrize("name", ["identity", "linear", "mlp"])
def test_classical_methods_are_measured_pixelwise(name):
    assert measured_class(build(name, 2, 2), 2) == TileClass(kind="pixelwise")


def test_what_hides_nan_is_a_lower_bound_and_never_called_exact():
    net = build("ndvi", 3, 2, red=0, nir=1, threshold=0.5)
    assert not measure(net, 3).certain
    assert measured_class(net, 3).kind == "approximate"
    torch.manual_seed(3)
    opened = build("opened", 3, 2, radius=2, inner={"name": "linear"})
    nn.init.zeros_(opened.inner.affine.bias)
    assert 0 < measure(opened, 3).reach.halo <= opened.tile_class.halo


@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("live", [False, True])
def test_what_every_norm_declares_is_what_is_measured(norm, live):
    net = unet(2, norm=norm, live=live, dropout=0.0)
    assert measured_class(net, 3).kind == net.tile_class.kind
    assert measure(net, 3).inner.halo == 7


def test_dropout_at_prediction_is_no_exact_class():
    net = unet(2, live=True, dropout=0.5)
    assert (measured_class(net, 3).kind, net.tile_class.kind) == ("approximate", "approximate")


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.InstanceNorm2d(3), "1 (InstanceNorm2d)"),
        (nn.GroupNorm(1, 3), "1 (GroupNorm)"),
        (nn.BatchNorm2d(3).train(), "1 (BatchNorm2d)"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Upsample(size=(32, 128))), "1.0 (AdaptiveAvgPool2d)"),
        (Attends(3, 3), "1 (Attends)"),
        (Blocks(3, 3, pool=True), "1 (Blocks)"),
    ],
)
def test_a_layer_that_looks_at_all_pixels_is_found_and_named(layer, named):
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), layer, nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1))
    if not isinstance(layer, nn.Sequential):
        assert measure(net, 3).reach is None
        assert measured_class(net, 3).kind == "approximate"
    assert spread_by(NarrowInput(module=replica(net), channels=3, line=AxisMap(align=1))) == [named]


def test_every_norm_of_a_net_is_named_although_the_first_hides_the_others():
    net = unet(3, norm="instance")
    found = spread_by(NarrowInput(module=replica(net), channels=3, line=AxisMap(align=8)))
    assert found == [f"{name} (InstanceNorm2d)" for name in ("downs.1.1", "ups.0.1", "ups.1.1")]


def test_probing_leaves_the_net_as_it_was():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measure(net, 3)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training


def tiled(net, scene, grid):
    """Return a scene predicted tile by tile, each read with its halo, on reflected indices, and cropped."""
    plane = np.zeros((grid.y.end, grid.x.end, 2), np.float32)
    for j in range(grid.y.count):
        for i in range(grid.x.count):
            y = reflect(np.arange(*grid.read(grid.y, j)), scene.shape[0])
            x = reflect(np.arange(*grid.read(grid.x, i)), scene.shape[1])
            out = evaluated(net, scene[np.ix_(y, x)])
            top, left, t = grid.crop(grid.y, j), grid.crop(grid.x, i), grid.y.tile
            y0, x0 = j * grid.y.step, i * grid.x.step
            plane[y0 : y0 + t, x0 : x0 + t] = out[top : top + t, left : left + t]
    return plane[: grid.y.length, : grid.x.length]


def evaluated(net, image):
    with torch.inference_mode():
        return net(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()


@given(
    tile=st.integers(1, 24),
    overlap=st.integers(0, 23),
    radius=st.integers(0, 5),
    align=st.integers(1, 5),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=40)
def test_tiles_of_the_measured_class_equal_the_net_on_the_reflect_padded_scene(tile, overlap, radius, align, shape):
    net = Blocks(3, 2, radius=radius, align=align)
    reach = measured_class(net, 3)
    assert reach.kind == ("pixelwise" if radius == 0 and align == 1 else "exact")
    scene = np.random.default_rng(0).standard_normal((*shape, 3), dtype=np.float32)
    y, x = (Axis(length=length, tile=tile, overlap=overlap % tile) for length in shape)
    pad = -(-64 // align) * align
    index = [reflect(np.arange(-pad, length + pad + -length % align), length) for length in shape]
    whole = evaluated(net, scene[np.ix_(*index)])[pad : pad + shape[0], pad : pad + shape[1]]
    np.testing.assert_allclose(tiled(net, scene, Grid(y=y, x=x, reach=reach)), whole, atol=1e-5)


@given(n_down=st.integers(1, 3), tile=st.integers(8, 30), norm=st.sampled_from(["channel", "none", "batch"]))
@settings(max_examples=12)
def test_tiles_of_a_unet_with_the_measured_halo_equal_the_net_on_the_reflect_padded_scene(n_down, tile, norm):
    net = unet(n_down, norm=norm)
    scene = np.random.default_rng(0).standard_normal((37, 29, 3), dtype=np.float32)
    y, x = (Axis(length=length, tile=tile, overlap=0) for length in scene.shape[:2])
    pad, align = 64, 2**n_down
    index = [reflect(np.arange(-pad, length + pad + -length % align), length) for length in scene.shape[:2]]
    whole = evaluated(net, scene[np.ix_(*index)])[pad : pad + 37, pad : pad + 29]
    np.testing.assert_allclose(tiled(net, scene, Grid(y=y, x=x, reach=measured_class(net, 3))), whole, atol=1e-5)


def test_a_halo_one_pixel_smaller_than_measured_is_not_enough():
    net = unet(2, norm="none")
    scene = np.random.default_rng(0).standard_normal((40, 40, 3), dtype=np.float32)
    axis, found = Axis(length=40, tile=15, overlap=0), measured_class(net, 3)
    exact = tiled(net, scene, Grid(y=axis, x=axis, reach=found))
    short = TileClass(kind="exact", halo=found.halo - 1, align=found.align)
    assert not np.allclose(tiled(net, scene, Grid(y=axis, x=axis, reach=short)), exact, atol=1e-5)


def test_the_report_of_an_exact_net_recommends_no_overlap_and_says_so_in_json(tmp_path):
    model = save(tmp_path / "m", {"name": "unet", "base_width": 4, "n_down": 2, "norm": "channel"})
    report = json.loads(json.dumps(probe(model)))
    assert report["declared"] == {"kind": "exact", "halo": 8, "align": 4}
    assert report["measured"] == {"kind": "exact", "halo": 7, "align": 4}
    assert report["agrees"] is True
    assert report["receptive_field"]["left"] == 9
    assert (report["recommended"]["overlap"], report["recommended"]["halo"], report["seams"]) == (0, 8, [])
    assert report["recommended"]["work"] <= 1.3
    assert set(report["determinism"]) == {"repeated", "batch_sizes", "order", "neighbours", "threads"}
    assert any("--overlap 0" in note for note in report["notes"])


def test_the_report_of_a_net_with_norms_over_tiles_names_them_and_offers_frozen(tmp_path, make_scene):
    model = save(tmp_path / "m", {"name": "unet", "base_width": 4, "n_down": 2, "norm": "instance"}, tile=32)
    report = probe(model, scene=make_scene(tmp_path / "s", 50, 40, 3))
    assert report["receptive_field"]["global"] is True
    assert report["receptive_field"]["without_norms"]["halo"] == 7
    assert report["spatial_norms"] == ["ups.0.1"]
    assert any("--norm frozen" in note and "32 pixels" in note for note in report["notes"])
    assert [row["overlap"] for row in report["seams"]] == [0, 4, 8, 16]
    assert all(row["rms"] <= row["max"] for row in report["seams"])


def test_a_wrong_declaration_is_told_and_the_measured_class_is_recommended(tmp_path):
    report = probe(custom(tmp_path / "m", {"kind": "pixelwise"}, radius=3, align=2))
    assert report["agrees"] is False
    assert (report["measured"]["halo"], report["recommended"]["halo"]) == (4, 4)
    assert any("declares pixelwise but is exact with halo 4 and alignment 2" in note for note in report["notes"])


def test_a_net_without_a_class_gets_the_measured_one(tmp_path):
    report = probe(custom(tmp_path / "m", None, radius=2))
    assert report["declared"] is None
    assert report["measured"] == {"kind": "exact", "halo": 2, "align": 1}
    assert any("Add `tile_class`" in note for note in report["notes"])


def test_a_net_that_could_be_exact_is_told_so(tmp_path):
    report = probe(custom(tmp_path / "m", {"kind": "approximate"}, radius=2))
    assert any("overlap is no longer needed" in note for note in report["notes"])


def test_the_effective_field_lies_within_the_theoretical_one_and_grows_with_its_share(tmp_path):
    report = probe(save(tmp_path / "m", {"name": "unet", "base_width": 4, "n_down": 3, "norm": "channel"}, tile=64))
    effective = report["effective"]
    assert 0 < effective["90"] <= effective["95"] <= effective["99"] <= report["receptive_field"]["left"]


def test_more_overlap_gives_smaller_errors_where_nets_see_far(tmp_path):
    report = probe(save(tmp_path / "m", {"name": "unet", "base_width": 4, "n_down": 5, "norm": "batch"}, tile=64))
    errors = [row["rms"] for row in report["seams"]]
    assert errors[0] > errors[2] > 0
    assert report["seams"][0]["work"] == 1
    assert report["seams"][-1]["work"] == 4


def test_the_same_seed_gives_the_same_report(tmp_path):
    model = save(tmp_path / "m", {"name": "unet", "base_width": 4, "n_down": 2, "norm": "instance"})
    one, two = ({k: v for k, v in probe(model, seed=3).items() if k not in TIMES} for _ in range(2))
    assert one == two


TIMES = ("seconds", "peak_memory")


def test_a_dry_run_measures_nothing(tmp_path):
    plan = probe(save(tmp_path / "m", {"name": "linear"}), dry_run=True)
    assert plan["overlaps"] == [0, 4, 8, 16]
    assert "measured" not in plan


def test_a_scene_of_other_bands_is_refused(tmp_path, make_scene):
    model = save(tmp_path / "m", {"name": "linear"})
    with pytest.raises(UserError, match="expected 3 bands"):
        probe(model, scene=make_scene(tmp_path / "s", 20, 20, 5))
