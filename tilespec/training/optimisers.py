"""Optimisers by name. Those of Adam are fused: the same numbers in half the passes over memory."""

import os
import shutil
from collections.abc import Callable, Iterable

import torch
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets.norms import SeededDropout
from tilespec.training.settings import Train

COMPILERS = ("c++", "g++", "clang++", "cl")
"""Looked for when ``CXX`` names none."""


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


def compile_net(module: nn.Module) -> None:
    """Let ``module`` compile itself when it is first called; names and memory of its weights stay as they are.

    Dropout draws its masks with NumPy and is called as it is: what it is told anew at each step would be compiled anew.

    Raises:
        UserError: there is no C++ compiler, without which torch compiles nothing.
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
