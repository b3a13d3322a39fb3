"""Weight average: a running average of a net's weights, often better and less noisy than the last weights."""

from typing import final

import torch
from torch import nn


def decay_at(step: int, decay: float) -> float:
    """Return the decay after ``step``, small at first so that the initial weights lose their influence quickly.

    ``min(decay, (1 + step) / (10 + step))``, as TensorFlow's ExponentialMovingAverage counts its updates.
    """
    return min(decay, (1 + step) / (10 + step))


@final
class WeightAverage:
    """``average = d * average + (1 - d) * weights`` after each step (Polyak and Juditsky 1992; d by `decay_at`).

    Running means of norms are averaged like weights; whole numbers are copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Begin with the present weights of ``module``, which may be trained further, but not replaced."""
        live = module.state_dict(keep_vars=True)  # the parameters themselves, whose memory may change later
        self.tensors = {key: value.detach().clone() for key, value in live.items()}
        """The average by the names of the module's state; a resumed training copies its values into these tensors."""
        names = [key for key, value in live.items() if value.is_floating_point()]
        self._live, self._kept = [live[key] for key in names], [self.tensors[key] for key in names]
        self._counts = [(self.tensors[key], live[key]) for key in live.keys() - set(names)]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after ``step`` to the average."""
        # all tensors in one pass, as torch.optim.swa_utils does it
        torch._foreach_lerp_(self._kept, self._live, 1 - decay_at(step, self._decay))
        for average, live in self._counts:
            average.copy_(live)
