"""Device: what computes, as the option ``--device`` says: NumPy and torch on the CPU, or torch on a GPU.

A device is None for the CPU, where arrays are those of NumPy, or else what torch calls it. The path of tensors is one
for all of torch's devices, so that it can be compared with NumPy's on a machine without a GPU, as device ``cpu``.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError

NAMES: Final = re.compile(r"auto|cpu|cuda(:\d+)?")
"""What the option takes."""


def device_of(name: str, *, elsewhere: bool = False) -> str | None:
    """Return the device of an option: None for the CPU, ``cuda`` for a GPU of each process, or a numbered GPU.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``, which is a GPU if this machine has one.
        elsewhere: Whether other machines compute, whose GPUs this one does not see.

    Raises:
        UserError: there is no such device.
    """
    if not NAMES.fullmatch(name):
        raise UserError("--device", found=repr(name), expected="cpu, cuda, cuda:N or auto", do="Check the spelling.")
    if name == "cpu":
        return None
    count = _gpus()
    if name == "auto":
        return "cuda" if count else None
    number = int(name.partition(":")[2] or 0)
    if number >= count and not elsewhere:
        raise UserError(
            "--device",
            found=f"{name}, where torch sees {count} GPUs",
            expected="a GPU that torch can use",
            do="Give --device cpu or auto, or install the build of torch for this machine's GPU.",
        )
    return name


def _gpus() -> int:
    """Return the number of GPUs that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def ready(device: str) -> Any:
    """Return a device of torch, with the arithmetic of every GPU set so that equal inputs have equal bits.

    Without a number a GPU is this process's own: workers of one machine, numbered from 0, take them in turn.
    """
    import torch

    if device == "cpu":
        return torch.device(device)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    chosen = torch.device(device)
    return chosen if chosen.index is not None else torch.device("cuda", _worker() % max(1, _gpus()))


def _worker() -> int:
    """Return the number of this process among the workers of a client, 0 where it has none."""
    if "distributed" not in sys.modules:
        return 0
    from distributed import get_worker

    try:
        name = get_worker().name
    except ValueError:  # this process is no worker
        return 0
    return name if isinstance(name, int) else 0


def kind_of(device: str | None) -> str:
    """Return the class of devices of which equal bits are promised."""
    return "cpu" if device is None else f"tensors on {device.partition(':')[0]}"


def sent(values: np.ndarray, device: Any) -> Any:
    """Return values on a device, in memory of their own there; for None they are returned as they are."""
    if device is None:
        return values
    import torch

    return torch.from_numpy(values).to(device, copy=True, non_blocking=True)


def staging(device: Any) -> Buffers:
    """Return buffers in memory from which a device copies while the processor goes on."""
    if device is None or device.type == "cpu":
        return Buffers()
    import torch

    return Buffers(lambda size: torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy())


@contextmanager
def copying(device: Any) -> Iterator[None]:
    """Do what is in the block beside the other work of a GPU, and wait for it at the end."""
    if device is None or device.type == "cpu":
        yield
        return
    import torch

    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def keep(x: Any) -> Any:
    """Return a tensor whose memory, made while `copying`, is not given away before the other work has ended."""
    if getattr(x, "is_cuda", False):
        import torch

        x.record_stream(torch.cuda.default_stream(x.device))
    return x
