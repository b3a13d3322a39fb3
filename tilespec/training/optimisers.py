"""Optimisers by name. Those of Adam are fused: the same numbers in half the passes over memory."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from tilespec.training.config import Train


def _adam(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, train.rate, betas=train.betas, weight_decay=train.decay, fused=True)


def _adamw(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, train.rate, betas=train.betas, weight_decay=train.decay, fused=True)


def _rmsprop(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, train.rate, weight_decay=train.decay)


OPTIMISERS: dict[str, Callable[[Iterable[nn.Parameter], Train], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
}
