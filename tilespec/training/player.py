"""Player: a net that is trained, with its optimiser."""

from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from tilespec.models.tensors import channels_last
from tilespec.training.optimisers import OPTIMISERS, compile_net
from tilespec.training.settings import Train


@final
@dataclass(frozen=True, kw_only=True)
class Player:
    """A net that is trained."""

    module: nn.Module
    """The net itself, as the moves of other players call it."""
    net: nn.Module
    """The net as its own moves call it: gradients are averaged over the ranks."""
    optimiser: torch.optim.Optimizer
    """The optimiser of its weights."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weights that the optimiser moves, in its order."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    @classmethod
    def of(cls, module: nn.Module, train: Train, device: str) -> "Player":
        """Return a net with its optimiser, on a device, with memory in the order of channels."""
        module = channels_last(module.to(device)).train()
        optimiser = OPTIMISERS[train.optimiser](module.parameters(), train)
        if train.compile:
            compile_net(module)
        return cls(module=module, net=module, optimiser=optimiser)
