"""Start: the place where the ranks of a verb run: this process, processes of this machine, or workers of a cluster.

All of them run the same function; a rank learns its number from its environment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.registry import import_object
from tilespec.core.signals import LocalFlag, catch_signals
from tilespec.training.ranks.dask_workers import RankTask, on_workers, present, workers_for
from tilespec.training.ranks.group import NOTICE
from tilespec.training.ranks.launchers import launched
from tilespec.training.ranks.processes import again, run_processes


@final
@dataclass(frozen=True, kw_only=True)
class RankRunner:
    """The ranks of a training before their start."""

    world: int
    """The number of ranks."""
    here: bool
    """Whether this process is a rank: alone, or started by a launcher."""
    client: Any = None
    """The client of the cluster whose workers get a rank each, if there is one."""

    def run(self, work: RankTask, *, batch: int, restarts: int, progress: Progress) -> Any:
        """Run the work and return rank 0's result.

        Args:
            work: The work of every rank; this process holds the lock of its product.
            batch: The number of patches that the ranks divide evenly, also when there are fewer of them after a loss.
            restarts: The number of automatic resumes after the loss of a rank.
            progress: The progress that forwards rank 0's messages.

        Raises:
            IncompleteError: a rank is lost; the same command resumes.
            KeyboardInterrupt: the ranks stopped on request.
            UserError, RuntimeError: a rank raised an error.
        """
        if self.here:
            return import_object(work.function, "function")(**work.arguments, progress=progress)
        with catch_signals(LocalFlag(), NOTICE) as stop:

            def attempt() -> Any:
                if self.client is None:
                    return run_processes(work.function, work.arguments, self.world, progress=progress, stop=stop)
                hosts = present(self.client, self.world, batch)
                return on_workers(self.client, hosts, work, progress=progress, stop=stop)

            return again(attempt, restarts, progress, stop)


@contextmanager
def rank_runner(ranks: int, workers: int, cluster: str | None) -> Iterator[RankRunner]:
    """Yield the ranks: by a launcher, on the workers of a cluster, or ``ranks`` processes of this machine.

    Raises:
        UserError: more than one of these is requested, or there are fewer workers than requested.
    """
    started, there = launched(), bool(workers or cluster)
    if there and (started or ranks > 1):
        raise UserError(
            "--workers, --cluster",
            found="ranks that torchrun or srun started" if started else f"--ranks {ranks}",
            expected="one way to start ranks",
            do="Leave one of them out: every worker is one rank.",
        )
    if started or not there:
        yield RankRunner(world=started or ranks, here=bool(started) or ranks <= 1)
        return
    with connect(workers, cluster) as client:
        yield RankRunner(world=len(workers_for(client, workers)), here=False, client=client)
