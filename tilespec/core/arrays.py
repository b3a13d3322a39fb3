"""Arrays: NumPy arrays and tensors of torch through the same code, for what their libraries name differently."""

import sys
from typing import Any

import numpy as np


def namespace(x: Any) -> Any:
    """Return the module whose functions take ``x``; torch is imported already if ``x`` is a tensor."""
    return np if isinstance(x, np.ndarray) else sys.modules["torch"]


def on_host(x: Any) -> np.ndarray:
    """Return an array as one of NumPy; that of a tensor on a GPU is a copy, for which the GPU is waited for."""
    return x if isinstance(x, np.ndarray) else np.asarray(x.detach().cpu())


def beside(x: Any, values: np.ndarray) -> Any:
    """Return values as an array of the kind of ``x``, on its device."""
    return values if isinstance(x, np.ndarray) else namespace(x).as_tensor(values, device=x.device)


def cut(x: Any, at: tuple[slice, ...]) -> Any:
    """Return ``x[at]``; slices may go backwards, which torch does not know."""
    if isinstance(x, np.ndarray):
        return x[at]
    forward = tuple(_forward(run) for run in at)
    turned = [axis for axis, run in enumerate(at) if run.step == -1]
    return x[forward].flip(turned) if turned else x[forward]


def _forward(run: slice) -> slice:
    """Return a slice with the same elements in ascending order."""
    return run if run.step != -1 else slice(0 if run.stop is None else run.stop + 1, run.start + 1)


def share_memory(a: Any, b: Any) -> bool:
    """Return whether two arrays may lie in the same memory."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.may_share_memory(a, b)
    return bool(a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr())
