"""Optimisers by name, and learning rates as pure functions of the step."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from tilespec.config import Train


def _adam(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, train.rate, betas=train.betas, weight_decay=train.decay)


def _adamw(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, train.rate, betas=train.betas, weight_decay=train.decay)


def _rmsprop(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, train.rate, weight_decay=train.decay)


OPTIMISERS: dict[str, Callable[[Iterable[nn.Parameter], Train], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
}


def constant(done: float, floor: float) -> float:
    """Return 1 throughout."""
    del done, floor
    return 1.0


def cosine(done: float, floor: float) -> float:
    """Return half a cosine from 1 (``done`` = 0) to ``floor`` (``done`` = 1)."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


SCHEDULES: dict[str, Callable[[float, float], float]] = {"constant": constant, "cosine": cosine}


def rate(step: int, train: Train) -> float:
    """Return the learning rate of a step: linear up to ``train.warmup``, then by schedule to the last step."""
    warm = min(1.0, (step + 1) / (train.warmup + 1))
    done = max(0, step - train.warmup) / max(1, train.steps - train.warmup)
    return train.rate * warm * SCHEDULES[train.schedule](done, train.floor)
