"""tilespec through its public `train`, and the ceiling: the same loop on batches that are in memory already."""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from job import Clock
from train_instead import Made, instead
from train_job import SIZES, SKIP, Training

from tilespec.core.memory import one_heap
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene
from tilespec.training.train import train


def tilespec(job: Training, clock: Clock) -> dict[str, Any]:
    return measured(job, clock, job.config())


def forgetful(job: Training, clock: Clock) -> dict[str, Any]:
    return measured(job, clock, job.config(cache=0))


def made(job: Training, clock: Clock) -> dict[str, Any]:
    """Train on random tensors; two ranks are started as `torchrun` starts them."""
    if job.ranks == 1:
        with instead(partial(Made, SIZES[job.size], channels(job))):
            return measured(job, clock, job.config())
    with clock.working():
        launched(job)
    return facts(job, json.loads((Path(job.out) / "checkpoints" / "result.json").read_text()))


def launched(job: Training) -> None:
    """Run the ranks of a job, each in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(job.ranks),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    threads = {"OMP_NUM_THREADS": str(max(1, job.threads // job.ranks))}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, job.dumps()],
            env={**os.environ, **meeting, **threads, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=sys.stderr,
        )
        for rank in range(job.ranks)
    ]
    ended = [rank.wait() for rank in ranks]
    if any(ended):
        raise RuntimeError(f"ranks ended with {ended}")


def rank(job: Training) -> None:
    """Be one rank."""
    one_heap()
    with instead(partial(Made, SIZES[job.size], channels(job))):
        train(job.config(), job.out)


def channels(job: Training) -> int:
    """Return how many channels reach the nets."""
    return Recipe.load(job.recipe).bands_out if job.recipe else Scene.open(job.source).shape[2]


def measured(job: Training, clock: Clock, config: dict[str, Any]) -> dict[str, Any]:
    """Train and return what it took; opening stores and starting ranks is work, but not in the rate."""
    one_heap()  # as the command line does
    with clock.working():
        told = train(config, job.out, ranks=job.ranks)
    return facts(job, told)


def facts(job: Training, told: dict[str, Any]) -> dict[str, Any]:
    """Return the rate of the steps after the first ones, from the log, and what the loop counted."""
    lines = [json.loads(line) for line in (Path(job.out) / "log.jsonl").read_text().splitlines()]
    at, timed = [line["seconds"] for line in lines], [line["speed"] for line in lines[SKIP:]]
    seconds, steps = at[-1] - at[SKIP - 1], len(timed)
    return {
        "seconds": seconds,
        "steps": steps,
        "rate": steps * SIZES[job.size].batch / seconds,
        "first_seconds": at[0],
        "starvation": sum(one["starvation"] / one["steps_per_second"] for one in timed) / seconds,
        "amplification": told["read_amplification"],
    }


if __name__ == "__main__":
    rank(Training.loads(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # as the ranks of tilespec end: without C++ destructors, with which gloo's threads race
