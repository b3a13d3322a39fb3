"""tilespec, through its public `predict`."""

from collections.abc import Callable
from contextlib import ExitStack

from job import Clock, Job

from tilespec.cluster.connect import local
from tilespec.core.memory import one_heap
from tilespec.predict.predict import predict

EXTRA = {"tilespec-planes": {"probabilities": True}}
"""Options that belong to a way."""
KEPT = ("tiles", "network_seconds", "read_seconds", "bytes_read", "bytes_written", "memory")
"""Facts of `predict` that are passed on."""


def run(job: Job, clock: Clock) -> dict[str, float]:
    """Predict; starting workers, and their imports, is not work."""
    options = {**EXTRA.get(job.way, {}), "window": job.window, "tile": job.tile, "overlap": job.overlap}
    with ExitStack() as stack:
        one_heap()  # as the command line and its workers do
        with clock.starting():
            cluster = start(job.workers, stack, imports)
        with clock.working():
            told = predict(job.model, job.scene, job.out, workers=job.workers, cluster=cluster, **options)
    clock.startup += told["startup_seconds"]
    clock.seconds -= told["startup_seconds"]
    return {key: told[key] for key in KEPT if key in told}


def start(workers: int, stack: ExitStack, imports: Callable[[], None]) -> str | None:
    """Start tilespec's own local cluster, if workers are asked for; return its address."""
    if not workers:
        return None
    client = stack.enter_context(local(workers))
    client.run(imports)
    return str(client.scheduler.address)


def imports() -> None:
    """Import what a task needs; what it opens and loads is work."""
    import tilespec.predict.predict  # noqa: F401
