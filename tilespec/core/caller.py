"""Caller: the state of libraries that belongs to the program that calls a verb; it is left as it was.

Another library, or the user, may have chosen torch's default type, its device or its number of threads, may be inside
`torch.no_grad`, or may have let NumPy raise on overflow. A verb computes in a state of its own.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tilespec.core.cpu import is_forked
from tilespec.core.errors import UserError


@contextmanager
def caller_state() -> Iterator[None]:
    """Open a block in which libraries compute as tilespec expects; afterwards their state is the caller's again.

    Raises:
        UserError: torch cannot learn in this process, because it was forked from one that used torch.
    """
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    with ExitStack() as stack:
        if numpy is not None:
            stack.enter_context(numpy.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if torch is not None:
            stack.enter_context(_torch_state(torch))
        try:
            yield
        except RuntimeError as error:
            if not is_forked() or "fork" not in str(error):
                raise
            raise UserError(
                "multiprocessing",
                found="a process that was forked from one that has used torch",
                expected="one that was spawned",
                do='Start it by multiprocessing.get_context("spawn").',
            ) from error


@contextmanager
def _torch_state(torch: Any) -> Iterator[None]:
    """Open a block in which torch has its own defaults; in a forked process it computes on one thread.

    The threads of the parent do not exist in a forked process, which would wait for them for ever.
    """
    kind, device, threads = torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    if device.type != "cpu":
        torch.set_default_device("cpu")
    if is_forked():
        torch.set_num_threads(1)
    try:
        with (
            torch.inference_mode(mode=False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.random.fork_rng(devices=[]),
        ):
            yield
    finally:
        torch.set_default_dtype(kind)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        if device.type != "cpu":
            torch.set_default_device(device)
