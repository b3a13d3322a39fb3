"""Nets of segmentation-models-pytorch: its own nets with random weights, without a network, repeatable on tiles."""

import socket
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn
from untrained_models import save_model, stored

from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.models.nets import build, outlined
from tilespec.models.nets.norms import set_sample_ids
from tilespec.models.nets.smp import ARCHITECTURES, library
from tilespec.models.probe.probe import probe
from tilespec.predict.predict import predict
from tilespec.storage.scene import Scene

PACKAGE = "segmentation_models_pytorch"
STRIDES = {"PSPNet": 8, "DeepLabV3": 8, "DeepLabV3Plus": 16, "PAN": 128}
"""The alignment of the architectures whose encoders do not halve a side five times."""
UNUSED = ("body.encoder.layer3", "body.encoder.layer4")
"""The stages of an encoder that PSPNet has and never calls."""
NET = {"name": "smp", "architecture": "PSPNet", "encoder": "resnet18"}


@pytest.fixture
def smp():
    if find_spec(PACKAGE) is None:
        pytest.skip("needs the extra [encoders]")
    return library()


def small(bands=5, out=3, *, architecture="Unet", encoder="resnet18", **params):
    torch.manual_seed(0)
    return build("smp", bands, out, architecture=architecture, encoder=encoder, **params).eval()


def own(smp, architecture, encoder, bands=5, out=3):
    torch.manual_seed(0)
    return getattr(smp, architecture)(encoder, encoder_weights=None, in_channels=bands, classes=out).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_net_is_the_packages_own_weight_by_weight(smp, architecture):
    with torch.device("meta"):
        ours, theirs = small(architecture=architecture), own(smp, architecture, "resnet18")
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name.removeprefix("body."): value.shape for name, value in ours.state_dict().items()} == shapes
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) > 10**7


def test_the_same_seed_gives_the_packages_own_answer(smp):
    x = torch.randn(1, 5, 64, 32)
    with torch.no_grad():
        assert torch.equal(small()(x), own(smp, "Unet", "resnet18")(x))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_pixel_of_every_multiple_has_an_answer_and_every_weight_learns(smp, architecture):
    net = small(architecture=architecture).train()
    align = STRIDES.get(architecture, 32)
    assert (net.tile_class.kind, net.tile_class.align) == ("approximate", align)
    assert net.frozen_class == net.tile_class
    for height, width in ((1, 1), (1, 2)):
        y = net(torch.randn(2, 5, height * align, width * align))
        assert y.shape == (2, 3, height * align, width * align)
    y.square().mean().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert {name[: len(UNUSED[0])] for name in still} == (set(UNUSED) if architecture == "PSPNet" else set())
    with pytest.raises(UserError, match=f"multiples of the stride = {align}"):
        net(torch.zeros(2, 5, align, align + align // 2))


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "mobilenet_v2", "mit_b0", "tu-regnetx_002", "tu-convnext_atto"])
def test_encoders_of_other_families_are_outlined_and_answer(smp, encoder):
    net = small(architecture="FPN", encoder=encoder)
    outline = outlined(lambda: small(architecture="FPN", encoder=encoder), whole=False)
    assert outline.state_dict().keys() == net.state_dict().keys()
    with torch.no_grad():
        assert net(torch.randn(1, 5, 32, 64)).shape == (1, 3, 32, 64)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [("FPN", "resnet18"), ("PSPNet", "mobilenet_v2"), ("DeepLabV3Plus", "efficientnet-b0"), ("Segformer", "mit_b0")],
)
def test_what_is_dropped_follows_from_the_sample_and_no_block_is_skipped(smp, architecture, encoder):
    net = small(architecture=architecture, encoder=encoder).train()
    x = torch.randn(2, 5, 32, 32)
    answers = []
    for seed, ids in ((1, (3, 4)), (2, (3, 4)), (3, (5, 6))):
        torch.manual_seed(seed)
        set_sample_ids(net, ids)
        with torch.no_grad():
            answers.append(net(x))
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2]) == (architecture == "Segformer"), "it has no dropout"
    still = small(architecture=architecture, encoder=encoder, dropout=0.0).train()
    with torch.no_grad():
        one = still(x)
        set_sample_ids(still, (5, 6))
        assert torch.equal(one, still(x))


def test_a_whole_scene_in_one_tile_equals_the_bare_net_and_tiles_of_it_repeat(smp, make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 64, 64, 5)
    model = save_model(tmp_path / "model", scene, net=NET, tile=64)
    predict(model, scene, str(tmp_path / "one"), probabilities=True)
    cube = torch.from_numpy(Scene.open(scene).read(Scene.open(scene).roi)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        bare = Model.load(model).module()(cube).softmax(1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(stored(tmp_path / "one", "probability"), bare, atol=1e-6)
    for name in ("a", "b"):
        predict(model, scene, str(tmp_path / name), tile=32, overlap=16, probabilities=True)
    tiles = [stored(tmp_path / name, "probability") for name in ("a", "b")]
    np.testing.assert_array_equal(*tiles)
    assert np.isfinite(tiles[0]).all()
    assert float(abs(tiles[0] - bare).max()) > 0, "the net sees more than a tile: approximate"


def test_the_probe_measures_the_declared_class(smp, make_scene, tmp_path):
    report = probe(save_model(tmp_path / "model", make_scene(tmp_path / "scene", 40, 40, 5), net=NET, tile=32))
    assert report["declared"]["kind"] == report["measured"]["kind"] == "approximate"
    assert report["measured"]["align"] == report["declared"]["align"] == 8
    assert report["receptive_field"]["global"] is True, "it pools over the tile"


def test_nothing_is_asked_of_a_network(smp, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for encoder in ("resnet18", "tu-resnet10t"):
        assert isinstance(small(encoder=encoder), nn.Module)


@pytest.mark.parametrize(
    "encoder", ["resnet19", "tu-resnet19", "tu-hf-hub:someone/net", "tu-hf_hub:someone/net", "tu-local-dir:/tmp", "tu-"]
)
def test_an_unknown_encoder_or_an_address_is_refused_with_the_known_names(smp, encoder):
    with pytest.raises(UserError, match=r"net.encoder: .*resnet18, .*efficientnet-b0, .*timm.list_models"):
        small(encoder=encoder)


def test_an_encoder_that_an_architecture_cannot_have_is_refused(smp):
    with pytest.raises(UserError, match=r"net.encoder: .*mit_b0.* in UnetPlusPlus"):
        small(architecture="UnetPlusPlus", encoder="mit_b0")


def test_one_value_is_not_enough_for_a_norm_of_a_batch(smp):
    with pytest.raises(UserError, match=r"train.batch: .*1 patches .*data.patch"):
        small().train()(torch.zeros(1, 5, 32, 32))
    assert small()(torch.zeros(1, 5, 32, 32)).shape == (1, 3, 32, 32)


def test_an_encoder_of_images_of_one_size_says_which(smp):
    net = small(architecture="FPN", encoder="tu-swin_tiny_patch4_window7_224")
    with pytest.raises(UserError, match=r"net.encoder: .*one size .*224"):
        net(torch.zeros(1, 5, 64, 64))


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"architecture": "UNet"}, "net.architecture: .*'UNet'.* one of Unet, UnetPlusPlus, .*DeepLabV3Plus"),
        ({"dropout": 1.0}, "net.dropout"),
        ({"head": "relu"}, "net.head"),
    ],
)
def test_parameters_that_make_no_net_are_refused_before_the_package_is_needed(monkeypatch, params, text):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(UserError, match=text):
        small(**params)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(UserError, match=r"net.name: .*pip install 'tilespec\[encoders\]'"):
        small()
