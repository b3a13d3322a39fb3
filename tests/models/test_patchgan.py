import pytest
import torch

from tilespec.core.errors import UserError
from tilespec.models.nets import build


def test_the_published_discriminator_has_6965441_parameters_and_judges_32_by_32_patches():
    with torch.device("meta"):
        net = build("patchgan", 6, 1)
        assert sum(p.numel() for p in net.parameters()) == 6_965_441
        assert net(torch.empty(1, 6, 512, 512)).shape == (1, 1, 32, 32)


def test_probabilities_lie_between_zero_and_one_and_are_the_sigmoid_of_the_logits():
    net = build("patchgan", 5, 1, base_width=4, n_layers=2, init="kaiming").eval()
    x = torch.randn(2, 5, 32, 32)
    p = net.probability(x)
    assert p.min() > 0
    assert p.max() < 1
    assert torch.equal(p, torch.sigmoid(net(x)))


def test_one_judgement_sees_142_by_142_pixels():
    net = build("patchgan", 1, 1, base_width=1, norm="none")
    for p in net.parameters():
        p.data.abs_().add_(0.1)
    x = torch.ones(1, 1, 512, 512, requires_grad=True)
    seen = torch.autograd.grad(net(x)[0, 0, 16, 16], x)[0][0, 0].nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [142, 142]


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_map_is_smaller_by_two_for_each_layer_of_stride_two(n_layers):
    net = build("patchgan", 3, 1, base_width=2, n_layers=n_layers, norm="channel")
    assert net(torch.zeros(1, 3, 64, 32)).shape == (1, 1, 64 >> n_layers, 32 >> n_layers)


def test_no_layers_are_refused():
    with pytest.raises(UserError, match="n_layers 0"):
        build("patchgan", 3, 1, n_layers=0)
