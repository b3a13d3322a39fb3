"""Every optimiser of the table takes PyTorch's steps, and goes on after a resume as if nothing had been."""

from copy import deepcopy
from typing import get_args

import pytest
import torch
from torch import nn

from tilespec.training.optimisers import OPTIMISERS
from tilespec.training.settings import Train

OPTIONS = {"rate": 0.01, "betas": (0.8, 0.95), "decay": 0.1}
THEIRS = {
    "adam": lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.95), weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, betas=(0.8, 0.95), weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.8, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01, weight_decay=0.1),
}


def weights():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(5))]


def steps(optimiser, parameters, numbers):
    for number in numbers:
        torch.manual_seed(number)
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimiser.step()
    return [parameter.detach().clone() for parameter in parameters]


def test_the_configuration_may_name_every_optimiser_of_the_table():
    assert set(get_args(Train.model_fields["optimiser"].annotation)) == set(OPTIMISERS) == set(THEIRS)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_are_torchs_and_a_resumed_optimiser_goes_on(name):
    train = Train(optimiser=name, **OPTIONS)
    mine, theirs = weights(), weights()
    ours = OPTIMISERS[name](mine, train)
    half = steps(ours, mine, range(3))
    again = [nn.Parameter(value) for value in half]
    resumed = OPTIMISERS[name](again, train)
    resumed.load_state_dict(deepcopy(ours.state_dict()))
    end, resumed_end = steps(ours, mine, range(3, 6)), steps(resumed, again, range(3, 6))
    expected = steps(THEIRS[name](theirs), theirs, range(6))
    for found, other, want in zip(end, resumed_end, expected, strict=True):
        torch.testing.assert_close(found, want)
        assert torch.equal(found, other)
