"""xbatcher: patches of a Zarr store through torch's DataLoader."""

from typing import Any

import torch
import xarray as xr
from job import Clock
from plain import amplification, cube
from stage_job import Stage
from torch.utils.data import DataLoader, RandomSampler
from xbatcher import BatchGenerator
from xbatcher.loaders.torch import MapDataset


def patches(job: Stage, clock: Clock) -> dict[str, Any]:
    """Draw patches from a lattice of half a patch, xbatcher's way to overlapping ones; the order is random.

    Two processes load; what starts them, up to the first batch, is no work.
    """
    stored = xr.open_zarr(job.source, consolidated=False, chunks=None)["cube"]
    half = {"y": job.side // 2, "x": job.side // 2}
    generator = BatchGenerator(stored, {"y": job.side, "x": job.side}, half)
    data = MapDataset(generator)
    drawn = RandomSampler(
        data, num_samples=job.patches + job.batch, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    loader = DataLoader(
        data, batch_size=job.batch, sampler=drawn, num_workers=job.threads, multiprocessing_context="forkserver"
    )
    with clock.starting():
        batches = iter(loader)
        next(batches)
    with clock.working():
        read = sum(batch.nbytes for batch in batches)
    return {"bytes": read, "patches": job.patches, "amplification": amplification(job, cube(job))}
