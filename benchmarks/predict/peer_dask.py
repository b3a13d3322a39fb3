"""The naive stack: `dask.array.map_overlap` over blocks, cropped, into `to_zarr`."""

from contextlib import ExitStack
from functools import lru_cache

import dask
import dask.array as da
import numpy as np
import torch
from dask.distributed import Client, LocalCluster
from job import Clock, Job
from net import Network, create

from tilespec.storage.scene import Scene


def run(job: Job, clock: Clock) -> dict[str, float]:
    """Each block is read with half an overlap of its neighbours, predicted, and cropped again."""
    with ExitStack() as stack:
        with clock.starting():
            threads = start(job, stack)
        with clock.working():
            predicted, tiles = graph(job, threads)
            height, width = Scene.open(job.scene).shape[:2]
            shape = (height, width, *predicted.shape[2:])
            target = create(job.out, shape, str(predicted.dtype))
            predicted[:height, :width].to_zarr(target)
    return {"tiles": tiles}


def start(job: Job, stack: ExitStack) -> int:
    """Start the cluster, if one is asked for; return the threads of a task."""
    if not job.workers:
        stack.enter_context(dask.config.set(scheduler="synchronous"))
        return job.threads
    cluster = LocalCluster(
        n_workers=job.workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, memory_limit=0
    )
    stack.enter_context(cluster)
    stack.enter_context(Client(cluster)).run(imports)
    return 1


def imports() -> None:
    """Do nothing: that this module is there means that what it needs is imported."""


def graph(job: Job, threads: int) -> tuple[da.Array, int]:
    """Return the predicted plane, padded to whole blocks (a U-Net takes no others), and how many tiles that is."""
    step, half = job.tile - job.overlap, job.overlap // 2
    scene = da.from_zarr(Scene.open(job.scene).array)
    ends = [-n % step for n in scene.shape[:2]]
    whole = da.pad(scene, [(0, ends[0]), (0, ends[1]), (0, 0)], mode="reflect").rechunk((step, step, -1))
    rows, columns = ((step,) * n for n in whole.numblocks[:2])
    one = network(job, threads).channels[1]
    kinds = {
        "classes": {"dtype": "uint8", "drop_axis": 2, "chunks": (rows, columns)},
        "planes": {"dtype": "float32", "chunks": (rows, columns, (one,))},
    }
    blocks = da.overlap.overlap(whole, depth={0: half, 1: half}, boundary={0: "reflect", 1: "reflect"})
    predicted = blocks.map_blocks(block, job=job, threads=threads, half=half, **kinds[job.product])
    return predicted, len(rows) * len(columns)


def block(values: np.ndarray, *, job: Job, threads: int, half: int) -> np.ndarray:
    """Predict one block and crop it."""
    tiles = torch.from_numpy(np.ascontiguousarray(values))[None].permute(0, 3, 1, 2)
    inner = network(job, threads)(tiles)[0, :, half:-half, half:-half]
    if job.product == "classes":
        return inner.argmax(0).to(torch.uint8).numpy()
    return inner.permute(1, 2, 0).contiguous().numpy()


@lru_cache(maxsize=1)
def network(job: Job, threads: int) -> Network:
    """Return the network, loaded once per process."""
    return Network(job, threads)
