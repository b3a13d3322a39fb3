"""patchly: every chunk of the output is merged once its tiles are there. Its output is NumPy: Zarr v3 it cannot."""

import numpy as np
import torch
from job import Clock, Job
from net import Network, batches, save
from patchly import Aggregator, GridSampler, SamplingMode

from tilespec.storage.scene import Scene

CHUNK = 1024
"""Side of a chunk of its output; it wants them larger than a tile, and no larger than the scene."""


def run(job: Job, clock: Clock) -> dict[str, float]:
    """Read tile by tile, merge into RAM, write the whole."""
    with clock.working():
        network, scene = Network(job, job.threads), Scene.open(job.scene)
        plane = scene.shape[:2]
        sampler = GridSampler(
            None,
            plane,
            (job.tile, job.tile),
            (job.tile - job.overlap,) * 2,
            chunk_size=tuple(min(CHUNK, side) for side in plane),
            spatial_first=False,
            mode=SamplingMode.SAMPLE_EDGE,
        )
        planes = np.zeros((network.channels[1], *plane), np.float32)
        merge = Aggregator(sampler, output=planes, weights="gaussian", spatial_first=False)
        for some in batches(list(sampler), job.batch):
            tiles = np.stack([scene.array[y0:y1, x0:x1] for (y0, y1), (x0, x1) in some])
            for answer, box in zip(network(torch.from_numpy(tiles).permute(0, 3, 1, 2)), some, strict=True):
                merge.append(answer.contiguous().numpy(), box)
        save(job, merge.get_output())
    return {"tiles": network.tiles}
