"""MONAI: sliding window in RAM, and patches merged in Zarr."""

from collections.abc import Iterator

import numpy as np
import torch
from job import Clock, Job
from monai.inferers import PatchInferer, ZarrAvgMerger, sliding_window_inference
from net import EDGE, Network, axes, corners, read_tile, save
from zarr.codecs import BytesCodec

from tilespec.storage.scene import Scene


def in_ram(job: Job, clock: Clock) -> dict[str, float]:
    """Read the scene whole, predict it whole, write it whole."""
    with clock.working():
        network = Network(job, job.threads)
        scene = torch.from_numpy(Scene.open(job.scene).array[:]).permute(2, 0, 1)[None]
        share = job.overlap / job.tile
        with torch.inference_mode():
            planes = sliding_window_inference(scene, job.tile, job.batch, network, overlap=share, mode="gaussian")
            save(job, planes[0].numpy())
    return {"tiles": network.tiles}


def on_disk(job: Job, clock: Clock) -> dict[str, float]:
    """Read tile by tile, add up in Zarr (uncompressed objects that the tiles' step falls onto), divide at the end."""
    with clock.working():
        network = Network(job, job.threads)
        y, x = axes(job)
        merge = PatchInferer(
            splitter=None,
            merger_cls=ZarrAvgMerger,
            batch_size=job.batch,
            merged_shape=(1, network.channels[1], y.end, x.end),
            cropped_shape=(1, network.channels[1], y.length, x.length),
            store=job.out,
            value_store=f"{job.out}.values",
            count_store=f"{job.out}.counts",
            chunks=(1, network.channels[1], EDGE, EDGE),
            **{key: [BytesCodec()] for key in ("codecs", "value_codecs", "count_codecs")},
        )
        merge(tiles(job), network)
    return {"tiles": network.tiles}


def tiles(job: Job) -> Iterator[tuple[torch.Tensor, tuple[int, int]]]:
    """Yield tiles and where they lie, on tilespec's grid."""
    array = Scene.open(job.scene).array
    for corner in corners(job):
        tile = read_tile(array, corner, job.tile)
        yield torch.from_numpy(np.ascontiguousarray(tile)).permute(2, 0, 1)[None], corner
