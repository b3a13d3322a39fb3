"""Group: processes that train one model together, the same for a plain process, `torchrun`, Slurm and Dask workers."""

import os
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.signals import SIGNALS, LocalFlag, catch_signals
from tilespec.storage.backends.base import StorePath
from tilespec.training.ranks.launchers import RankAddress, place
from tilespec.training.ranks.rendezvous import Rendezvous, interface

STUCK = timedelta(minutes=30)
"""The time limit, far longer than any step, for a rank that is alive but does not take part in a step."""
REST = 0.2
"""The seconds before a group is ended; a thread needs microseconds to release a tensor."""
TIMEOUT = 120.0
"""The seconds without a sign of life after which a rank counts as lost."""
APPEARS = 30.0
"""The seconds that a folder may take to appear on other machines."""
LOOK = 0.1
"""The seconds between two checks of the folder."""
NOTICE = (*SIGNALS, signal.SIGUSR1)
"""The signal that requests a stop: Slurm sends SIGUSR1 some time before the time limit, if configured."""


@final
@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    """The number of this rank; rank 0 writes."""
    world: int = 1
    """The number of ranks."""
    device: str = "cpu"
    """The device on which this rank computes."""
    hosts: tuple[str, ...] = ()
    """The machine of each rank."""
    rendezvous: Rendezvous | None = None
    """The connection between the ranks; None for a single process."""
    stopping: Callable[[], bool] = bool
    """The function that returns whether this process received a request to stop."""

    @property
    def together(self) -> bool:
        """Whether there are several ranks, all on this machine."""
        return self.world > 1 and len(set(self.hosts)) == 1

    def share(self, batch: int) -> range:
        """Return this rank's contiguous slice of a batch of all ranks."""
        each = batch // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over the ranks.

        A rank may leave parameters unused; those that no rank used have no gradient.
        """
        if self.world == 1:
            return module
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified", UserWarning)  # most nets use all
        return DistributedDataParallel(module, find_unused_parameters=True)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` over the ranks."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def agree(self, number: int) -> int:
        """Return rank 0's ``number``; every rank waits for it while rank 0 is alive."""
        if self.rendezvous is None:
            return number
        self.rendezvous.follow()
        shared = torch.tensor([number], device=self.device)
        dist.broadcast(shared, src=0)
        return int(shared.item())


@contextmanager
def joined(device: str, timeout: float = TIMEOUT) -> Iterator[Ranks]:
    """Yield this process's `Ranks`, alone or by its launcher; connect to the others, and monitor them.

    SIGINT, SIGTERM and SIGUSR1 set the flag `Ranks.stopping`; a second signal interrupts at once.

    Args:
        device: The device ``cpu``, ``cuda``, or ``auto``.
        timeout: The seconds that another rank may be without a sign of life; after that this process ends with exit
            code 3.

    Raises:
        IncompleteError: another rank is lost; all end, and the same command resumes.
        UserError: the device does not exist, or the ranks cannot connect.
    """
    kind, address = _device(device), place()
    with ExitStack() as stack:
        heard = tuple(number for number in NOTICE if signal.getsignal(number) is not signal.SIG_IGN)
        stop_asked = stack.enter_context(catch_signals(LocalFlag(), heard))
        if address is None:
            yield Ranks(device=kind, hosts=(socket.gethostname(),), stopping=stop_asked)
            return
        try:
            rendezvous = stack.enter_context(Rendezvous(address, timeout))
            hosts = rendezvous.hosts()
            kind = _settled(address, hosts, kind)
            _grouped(address, hosts, kind, rendezvous)
            stack.callback(_parted)
            yield Ranks(
                rank=address.rank,
                world=address.world,
                device=kind,
                hosts=hosts,
                rendezvous=rendezvous,
                stopping=stop_asked,
            )
        except RuntimeError as error:
            if not _lost(error):
                raise
            raise IncompleteError(
                f"rank {address.rank} lost another one ({str(error).splitlines()[0]}). The same command resumes."
            ) from error


def _parted() -> None:
    """Wait until the threads that communicate with other ranks are idle, then end the group.

    They need the interpreter's lock to release the last tensors; the thread that ends the group holds this lock and
    waits for them. Without the pause, 3 of 7 long runs blocked for ever at the release of `DistributedDataParallel`.
    Ranks with `tilespec.training.ranks.shared_weights` never did.
    """
    time.sleep(REST)
    dist.destroy_process_group()


def shared(folder: StorePath, ranks: Ranks) -> None:
    """Refuse ranks whose machine does not see the ``folder`` of rank 0; network disks get some time.

    Raises:
        UserError: the folder does not exist.
    """
    until = time.monotonic() + APPEARS
    while not folder.exists():
        if time.monotonic() > until:
            raise UserError(
                folder,
                found=f"nothing on {socket.gethostname()}, where rank {ranks.rank} is",
                expected="the folder that rank 0 made",
                do="Give an --out, and scenes, on storage that all machines share under the same path.",
            )
        time.sleep(LOOK)


def _settled(address: RankAddress, hosts: tuple[str, ...], kind: str) -> str:
    """Set this process's share of the machine: threads of its cores, and one of its GPUs. Return the device."""
    mine = hosts[address.rank]
    torch.set_num_threads(address.threads or max(1, torch.get_num_threads() // hosts.count(mine)))
    if kind != "cuda":
        return kind
    kind = f"cuda:{hosts[: address.rank].count(mine) % torch.cuda.device_count()}"
    torch.cuda.set_device(kind)
    return kind


def _grouped(address: RankAddress, hosts: tuple[str, ...], kind: str, rendezvous: Rendezvous) -> None:
    """Connect with the other ranks: by NCCL if each has a GPU of its own, else by gloo.

    No rank waits for a dead one as long as `STUCK`: the monitoring of ranks ends this process earlier.
    """
    own = kind.startswith("cuda") and max(map(hosts.count, hosts)) <= torch.cuda.device_count()
    if "GLOO_SOCKET_IFNAME" not in os.environ and (name := interface(address.address)) is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = name
    dist.init_process_group(
        "nccl" if own else "gloo",
        store=dist.PrefixStore("group", rendezvous.store),  # type: ignore[attr-defined]
        rank=address.rank,
        world_size=address.world,
        timeout=STUCK,
    )


def _lost(error: RuntimeError) -> bool:
    """Return whether an error means that another rank cannot be reached."""
    kinds = (dist.DistError, dist.DistBackendError, dist.DistNetworkError, dist.DistStoreError)
    return isinstance(error, kinds) or "gloo" in str(error)


def _device(name: str) -> str:
    """Return ``cpu`` or ``cuda``; refuse a GPU that torch does not see."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "train.device", found="cuda", expected="a GPU that torch can use", do="Set train.device=cpu, or auto."
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
