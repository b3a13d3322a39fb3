"""Launchers: who started this process as one rank of many, and where the ranks meet.

`torchrun` says so in its variables, and so does whoever sets the same ones; Slurm's ``srun`` in its own. Without any
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
"""Where ranks inside Slurm meet: below the ports that systems give out by themselves."""


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """One rank among several processes."""

    rank: int
    """Which one this is."""
    world: int
    """How many there are: at least two."""
    address: str
    """Of the machine where they meet: a host's name or number."""
    port: int
    """There."""
    hosted: bool = False
    """Whether who started the ranks listens there; otherwise rank 0 does."""
    attempt: int = 0
    """How often the ranks were started again; who started them may listen all the time."""
    threads: int | None = None
    """Threads that the launcher gives to a rank; None: a fair share of the machine."""

    def environment(self) -> dict[str, str]:
        """Return the variables that say all this to a process, as `torchrun` would."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_USE_AGENT_STORE": str(self.hosted),
            "TORCHELASTIC_RESTART_COUNT": str(self.attempt),
        }


def place(environment: Environment | None = None) -> Place | None:
    """Return this process's place among the ranks that a launcher started; None when it is alone.

    Raises:
        UserError: a launcher's variable is missing, or makes no sense.
    """
    known = os.environ if environment is None else environment
    return next((found for launcher in LAUNCHERS if (found := launcher(known)) is not None), None)


def launched() -> int:
    """Return how many ranks a launcher has started, 0 when this is a plain process."""
    found = place()
    return found.world if found else 0


def leads() -> bool:
    """Return whether this process is rank 0, or alone."""
    found = place()
    return found is None or found.rank == 0


def torchrun(environment: Environment) -> Place | None:
    """Return the place that ``RANK`` and ``WORLD_SIZE`` tell; a world of one is no launch."""
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
        Place(
            rank=_number(environment, "RANK"),
            world=_number(environment, "WORLD_SIZE"),
            address=environment["MASTER_ADDR"],
            port=_number(environment, "MASTER_PORT"),
            hosted=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
            threads=_number(environment, "OMP_NUM_THREADS") if "OMP_NUM_THREADS" in environment else None,
        )
    )


def slurm(environment: Environment) -> Place | None:
    """Return the place of a task of ``srun``; a batch script, which has its numbers too, is no task.

    Rank 0 runs on the first host of the step's list; the port is made of the numbers of job and step.
    """
    script = environment.get("ENVIRONMENT") == "BATCH" and not {"SLURM_STEP_ID", "SLURM_STEPID"} & set(environment)
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    if "SLURM_PROCID" not in environment or script or _number(environment, tasks, 1) < 2:
        return None
    given = [name for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS") if name in environment]
    return _checked(
        Place(
            rank=_number(environment, "SLURM_PROCID"),
            world=_number(environment, tasks),
            address=environment.get("MASTER_ADDR") or first_host(_nodes(environment)),
            port=_number(environment, "MASTER_PORT", _port(environment)),
            threads=min(_number(environment, name) for name in given) if given else None,
        )
    )


LAUNCHERS: tuple[Callable[[Environment], Place | None], ...] = (torchrun, slurm)
"""In the order in which they are asked: ranks that are started inside Slurm by another one are that one's."""


def first_host(nodes: str) -> str:
    """Return the first host of Slurm's list: ``gpu[003-010,12],login`` begins with ``gpu003``."""
    head = re.match(r"(?:\[[^\]]*\]|[^,\[])+", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", head[0]) if head else ""


def _nodes(environment: Environment) -> str:
    """Return Slurm's list of hosts."""
    names = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    found = next((environment[name] for name in names if environment.get(name)), "")
    if not found:
        raise UserError(
            "SLURM_JOB_NODELIST",
            found="nothing, beside SLURM_PROCID",
            expected="the hosts of this step",
            do="Start ranks with srun, or set MASTER_ADDR to the machine of rank 0.",
        )
    return found


def _port(environment: Environment) -> int:
    """Return the port of a step: steps of one job, and jobs that follow each other, have others."""
    numbers = (_number(environment, "SLURM_JOB_ID", 0), _number(environment, "SLURM_STEP_ID", 0))
    return PORTS[(8 * numbers[0] + numbers[1]) % len(PORTS)]


def _number(environment: Environment, name: str, default: int | None = None) -> int:
    """Return the number that a variable holds."""
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UserError(name, found=repr(text), expected="a number", do="Start ranks with torchrun, srun, or --ranks.")
    return int(text)


def _checked(found: Place) -> Place:
    """Return a place that is one of its world."""
    if found.rank >= found.world:
        raise UserError(
            "RANK", found=found.rank, expected=f"0 to {found.world - 1}", do="Number the ranks from 0, or use torchrun."
        )
    return found
