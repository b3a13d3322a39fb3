"""Launchers: the program that started this process as one of several ranks, and the address where they connect.

`torchrun` sets environment variables, which other programs may also set; Slurm's ``srun`` has its own. Without any
of them a process is alone.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from tilespec.core.errors import UserError

Environment = Mapping[str, str]
PORTS = range(12000, 32000)
"""The range of ports for ranks inside Slurm, below the ports that systems assign themselves."""


@final
@dataclass(frozen=True, kw_only=True)
class RankAddress:
    """The number and the address of one rank among several processes."""

    rank: int
    """The number of this rank."""
    world: int
    """The number of ranks, at least two."""
    address: str
    """The name or the number of the host where the ranks connect."""
    port: int
    """The port on that host."""
    hosted: bool = False
    """Whether the launcher listens on the port; otherwise rank 0 does."""
    attempt: int = 0
    """The number of restarts of the ranks, during which the launcher may listen all the time."""
    threads: int | None = None
    """The number of threads that the launcher gives to a rank; None: an equal share of the machine."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables of this rank in the form of `torchrun`."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_USE_AGENT_STORE": str(self.hosted),
            "TORCHELASTIC_RESTART_COUNT": str(self.attempt),
        }


def place(environment: Environment | None = None) -> RankAddress | None:
    """Return this process's number and address among the ranks of a launcher; None for a single process.

    Raises:
        UserError: a launcher's variable is missing, or is invalid.
    """
    variables = os.environ if environment is None else environment
    return next((address for launcher in LAUNCHERS if (address := launcher(variables)) is not None), None)


def launched() -> int:
    """Return the number of ranks that a launcher has started, 0 for a plain process."""
    address = place()
    return address.world if address else 0


def leads() -> bool:
    """Return whether this process is rank 0 or a single process."""
    address = place()
    return address is None or address.rank == 0


def torchrun(environment: Environment) -> RankAddress | None:
    """Return the rank from ``RANK`` and ``WORLD_SIZE``; a world of one process is no launch."""
    if "RANK" not in environment or _number(environment, "WORLD_SIZE", 1) < 2:
        return None
    if "MASTER_ADDR" not in environment:
        raise UserError(
            "MASTER_ADDR",
            found="nothing, beside RANK",
            expected="the address of the machine of rank 0",
            do="Start ranks with torchrun, with srun, or with --ranks.",
        )
    return _checked(
        RankAddress(
            rank=_number(environment, "RANK"),
            world=_number(environment, "WORLD_SIZE"),
            address=environment["MASTER_ADDR"],
            port=_number(environment, "MASTER_PORT"),
            hosted=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
            threads=_number(environment, "OMP_NUM_THREADS") if "OMP_NUM_THREADS" in environment else None,
        )
    )


def slurm(environment: Environment) -> RankAddress | None:
    """Return the rank of a task of ``srun``; a batch script, which has such numbers too, is no task.

    Rank 0 runs on the first host of the step's list; the port is computed from the numbers of job and step.
    """
    script = environment.get("ENVIRONMENT") == "BATCH" and not {"SLURM_STEP_ID", "SLURM_STEPID"} & set(environment)
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    if "SLURM_PROCID" not in environment or script or _number(environment, tasks, 1) < 2:
        return None
    names = [name for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS") if name in environment]
    return _checked(
        RankAddress(
            rank=_number(environment, "SLURM_PROCID"),
            world=_number(environment, tasks),
            address=environment.get("MASTER_ADDR") or first_host(_nodes(environment)),
            port=_number(environment, "MASTER_PORT", _port(environment)),
            threads=min(_number(environment, name) for name in names) if names else None,
        )
    )


LAUNCHERS: tuple[Callable[[Environment], RankAddress | None], ...] = (torchrun, slurm)
"""The launchers in the order of their check: ranks that another launcher starts inside Slurm belong to that one."""


def first_host(nodes: str) -> str:
    """Return the first host of Slurm's list: ``gpu[003-010,12],login`` begins with ``gpu003``."""
    head = re.match(r"(?:\[[^\]]*\]|[^,\[])+", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", head[0]) if head else ""


def _nodes(environment: Environment) -> str:
    """Return the list of hosts from Slurm."""
    names = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    nodes = next((environment[name] for name in names if environment.get(name)), "")
    if not nodes:
        raise UserError(
            "SLURM_JOB_NODELIST",
            found="nothing, beside SLURM_PROCID",
            expected="the hosts of this step",
            do="Start ranks with srun, or set MASTER_ADDR to the machine of rank 0.",
        )
    return nodes


def _port(environment: Environment) -> int:
    """Return the port of a step, which differs between steps of one job and between consecutive jobs."""
    numbers = (_number(environment, "SLURM_JOB_ID", 0), _number(environment, "SLURM_STEP_ID", 0))
    return PORTS[(8 * numbers[0] + numbers[1]) % len(PORTS)]


def _number(environment: Environment, name: str, default: int | None = None) -> int:
    """Return the number in a variable."""
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UserError(name, found=repr(text), expected="a number", do="Start ranks with torchrun, srun, or --ranks.")
    return int(text)


def _checked(address: RankAddress) -> RankAddress:
    """Return the rank after checking that it is valid in its world."""
    if address.rank >= address.world:
        raise UserError(
            "RANK",
            found=address.rank,
            expected=f"0 to {address.world - 1}",
            do="Number the ranks from 0, or use torchrun.",
        )
    return address
