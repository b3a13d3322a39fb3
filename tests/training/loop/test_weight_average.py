import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tilespec.training.loop.weight_average import WeightAverage, decay_at


def net():
    return torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)


def move(module, seed):
    """Change weights and running means in place, as an optimiser and a batch do."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=draw))
            else:
                value.add_(1)


@settings(max_examples=20)
@given(decay=st.floats(0.0, 0.999), steps=st.integers(1, 30))
def test_the_average_is_what_its_equation_says(decay, steps):
    module = net()
    average = WeightAverage(module, decay)
    expected = {key: value.double().clone() for key, value in module.state_dict().items()}
    for step in range(steps):
        move(module, step)
        average.update(step)
        d = min(decay, (1 + step) / (10 + step))
        for key, value in module.state_dict().items():
            expected[key] = d * expected[key] + (1 - d) * value.double() if value.is_floating_point() else value.clone()
    for key, value in average.tensors.items():
        torch.testing.assert_close(value.double(), expected[key].double(), rtol=1e-4, atol=1e-5)


def test_it_is_torchs_average_once_the_decay_is_reached():
    module = net()
    average = WeightAverage(module, 0.5)
    theirs = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    theirs.update_parameters(module)  # its first update is a copy
    for step in range(8, 20):
        move(module, step)
        average.update(step)
        theirs.update_parameters(module)
    for key, value in theirs.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(average.tensors[key], value)


def test_the_first_weights_are_soon_forgotten():
    assert [decay_at(step, 0.999) for step in (0, 8)] == [0.1, 0.5]
    assert decay_at(10**6, 0.999) == 0.999
    assert all(decay_at(step, 0.9) <= 0.9 for step in range(200))


def test_an_average_that_was_kept_goes_on_bit_for_bit():
    ours, again = net(), net()
    again.load_state_dict(ours.state_dict())
    whole, first = WeightAverage(ours, 0.99), WeightAverage(again, 0.99)
    for step in range(3):
        for module, average in ((ours, whole), (again, first)):
            move(module, step)
            average.update(step)
    second = WeightAverage(again, 0.99)
    for key, value in first.tensors.items():  # as a checkpoint gives it back
        second.tensors[key].copy_(value.contiguous().clone())
    for module, average in ((ours, whole), (again, second)):
        move(module, 9)
        average.update(3)
    for key, value in whole.tensors.items():
        assert torch.equal(value, second.tensors[key])
        assert value.stride() == second.tensors[key].stride()


def test_without_decay_the_average_is_the_last_weights():
    module = net()
    average = WeightAverage(module, 0.0)
    move(module, 1)
    average.update(0)
    assert all(torch.equal(value, average.tensors[key]) for key, value in module.state_dict().items())
