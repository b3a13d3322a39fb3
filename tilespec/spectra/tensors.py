"""Tensors: the operators of a recipe on a device of torch, through the same code as on NumPy's arrays."""

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from tilespec.core.arrays import namespace
from tilespec.core.device import ready
from tilespec.spectra.operators import Operator, Take, arrays


def on_torch(operator: Operator, device: Any = "cpu") -> Callable[[Any], Any]:
    """Return ``operator.apply`` for torch tensors on ``device``: the same code with tensors in place of arrays."""
    import torch

    twin: Any = SimpleNamespace(**{key: torch.from_numpy(value).to(device) for key, value in arrays(operator).items()})
    return partial(type(operator).apply, twin)


def steps_on(operators: Sequence[Operator], device: str | None) -> tuple[Callable[[Any], Any], ...]:
    """Return the operators for tensors on this process's device, none for None."""
    if device is None:
        return ()
    place = ready(device)
    return tuple(on_torch(operator, place) for operator in operators)


def apply_on_torch(steps: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    """Return spectra on a device after the steps of `on_torch`; an invalid pixel is NaN in all bands.

    It may overwrite ``x``, a tensor ``pixel band``. A pixel is invalid as in `tilespec.spectra.pieces.pieces`.
    """
    taking = next((i for i, step in enumerate(steps) if not _takes(step)), len(steps))
    for step in steps[:taking]:
        x = step(x)
    valid = namespace(x).isfinite(x).all(1)
    for step in steps[taking:]:
        x = step(x)
    x[~valid] = np.nan
    return x


def _takes(step: Callable[[Any], Any]) -> bool:
    return isinstance(step, partial) and step.func is Take.apply
