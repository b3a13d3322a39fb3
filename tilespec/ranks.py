"""Ranks: processes that learn one model together. One function for a plain process, `torchrun` and ``--ranks N``."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tilespec.errors import IncompleteError, UserError

TIMEOUT = timedelta(minutes=30)
"""No rank waits longer for another: a lost rank ends all, and the same command resumes."""


@final
@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that learn together."""

    rank: int = 0
    """Which one this is; rank 0 writes."""
    world: int = 1
    """How many there are."""
    device: str = "cpu"
    """Where this rank computes."""

    def share(self, batch: int) -> range:
        """Return this rank's contiguous slice of a batch of all ranks."""
        each = batch // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over the ranks."""
        return module if self.world == 1 else DistributedDataParallel(module)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` over the ranks."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def agree(self, number: int) -> int:
        """Return rank 0's ``number``; every rank waits for it."""
        if self.world == 1:
            return number
        shared = torch.tensor([number], device=self.device)
        dist.broadcast(shared, src=0)
        return int(shared.item())


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Give this process's `Ranks`: alone, or as `torchrun`, Slurm or `spawn` say in the environment."""
    kind = _device(device)
    world = launched()
    if world <= 1:
        yield Ranks(device=kind)
        return
    rank = int(os.environ["RANK"])
    if kind == "cuda":
        kind = f"cuda:{int(os.environ.get('LOCAL_RANK', rank)) % torch.cuda.device_count()}"
        torch.cuda.set_device(kind)
    where = os.environ.get("TILESPEC_RENDEZVOUS", "env://")
    backend = "nccl" if kind.startswith("cuda") else "gloo"
    dist.init_process_group(backend, init_method=where, rank=rank, world_size=world, timeout=TIMEOUT)
    try:
        yield Ranks(rank=rank, world=world, device=kind)
    finally:
        dist.destroy_process_group()


def launched() -> int:
    """Return how many ranks a launcher such as `torchrun` has started, 0 when this is a plain process."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 0


def spawn(function: Callable[..., None], args: tuple[Any, ...], world: int) -> None:
    """Run ``function(*args)`` in ``world`` processes of this machine; when one fails, all end.

    Raises:
        IncompleteError: a rank was killed.
        torch.multiprocessing.ProcessRaisedException: what a rank raised.
    """
    from torch.multiprocessing.spawn import ProcessExitedException
    from torch.multiprocessing.spawn import spawn as start

    with tempfile.TemporaryDirectory(prefix="tilespec-ranks-") as folder:
        try:
            start(_start, (function, args, world, str(Path(folder) / "rendezvous")), nprocs=world)  # type: ignore[no-untyped-call]
        except ProcessExitedException as error:
            raise IncompleteError(f"{error}. All ranks have ended; the same command resumes.") from error


def _start(rank: int, function: Callable[..., None], args: tuple[Any, ...], world: int, meeting: str) -> None:
    """Be one rank: meet the others at a file, on this machine's own network, with a fair share of its cores."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), TILESPEC_RENDEZVOUS=f"file://{meeting}")
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(max(1, torch.get_num_threads() // world))
    function(*args)
    # All is written. Leave without C++ destructors: gloo's and autograd's threads race with them, and now and then
    # a rank that did its work would end in "terminate called without an active exception".
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _device(asked: str) -> str:
    """Return ``cpu`` or ``cuda``; refuse a GPU that torch does not see."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "train.device", found="cuda", expected="a GPU that torch can use", do="Set train.device=cpu, or auto."
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
