"""Optimisers by name; those that torch has fused are: the same numbers with half the passes over memory."""

import os
import shutil
from collections.abc import Callable, Iterable

import torch
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets.norms import SeededDropout
from tilespec.training.settings import Train

COMPILERS = ("c++", "g++", "clang++", "cl")
"""The compilers that are searched for when ``CXX`` names none."""


def _adam(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, train.rate, betas=train.betas, weight_decay=train.decay, fused=True)


def _adamw(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, train.rate, betas=train.betas, weight_decay=train.decay, fused=True)


def _rmsprop(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, train.rate, weight_decay=train.decay)


def _sgd(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, train.rate, momentum=train.betas[0], weight_decay=train.decay, fused=True)


def _adagrad(parameters: Iterable[nn.Parameter], train: Train) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(parameters, train.rate, weight_decay=train.decay)


OPTIMISERS: dict[str, Callable[[Iterable[nn.Parameter], Train], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
    "adagrad": _adagrad,
}


def compile_net(module: nn.Module) -> None:
    """Make ``module`` compile itself at its first call; names and memory of its weights do not change.

    Dropout draws its masks with NumPy and is not compiled: the new ids at each step would cause a new compilation.

    Raises:
        UserError: there is no C++ compiler, which torch needs.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name):
        raise UserError(
            "train.compile",
            found="no C++ compiler",
            expected=f"CXX, or one of {', '.join(COMPILERS)}",
            do="Install one (apt-get install g++), or leave train.compile out.",
        )
    for layer in module.modules():
        if isinstance(layer, SeededDropout):
            layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[method-assign, no-untyped-call]
    module.compile(dynamic=False)
