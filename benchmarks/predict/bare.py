"""The measures: the network alone on tiles in RAM, and the recipe alone on the raw cube."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from job import Clock, Job
from net import Network, batches, corners, padded

from tilespec.models.model import Model
from tilespec.spectra.pieces import pieces
from tilespec.storage.blocks import Block, blocks
from tilespec.storage.scene import Scene

SIZES = (1, 2, 4, 8)
TRIAL = 16
"""Tiles that a batch size is tried on."""


def bare(job: Job, clock: Clock) -> dict[str, float]:
    """Run the network alone."""
    network, scene = Network(job, job.threads, activate=False), padded(job)
    loop(network, scene, corners(job)[: job.batch], job)  # first call: kernels are chosen
    network.tiles = 0
    with clock.working():
        loop(network, scene, corners(job), job)
    return {"tiles": network.tiles, "batch": job.batch}


def best(job: Job, clock: Clock) -> dict[str, float]:
    """Run the network alone at the batch size that is fastest on the first tiles."""
    network, scene = Network(job, job.threads, activate=False), padded(job)
    spent = {}
    for size in SIZES:
        trial = Job(**{**vars(job), "batch": size})
        loop(network, scene, corners(job)[:size], trial)
        began = time.monotonic()
        loop(network, scene, corners(job)[:TRIAL], trial)
        spent[size] = time.monotonic() - began
    size = min(spent, key=lambda n: spent[n])
    network.tiles = 0
    with clock.working():
        loop(network, scene, corners(job), Job(**{**vars(job), "batch": size}))
    return {"tiles": network.tiles, "batch": size}


def alone(job: Job, clock: Clock) -> dict[str, float]:
    """Load the network and evaluate one tile of zeros: the memory that is the model's own."""
    with clock.working():
        network = Network(job, job.threads)
        network(torch.zeros(1, job.tile, job.tile, network.channels[0]).permute(0, 3, 1, 2))
    return {"tiles": network.tiles}


def loop(network: Network, scene: np.ndarray, where: list[tuple[int, int]], job: Job) -> None:
    """Evaluate tiles and throw the answers away: ``y, x, channel`` seen as ``channel, y, x`` is channels_last."""
    for some in batches(where, job.batch):
        tiles = np.stack([scene[y : y + job.tile, x : x + job.tile] for y, x in some])
        network(torch.from_numpy(tiles).permute(0, 3, 1, 2))


def recipe(job: Job, clock: Clock) -> dict[str, float]:
    """Read every object of the raw cube once and apply the recipe, one object at a time on each thread."""
    operators, scene = Model.load(job.model).recipe.steps, Scene.open(job.scene)

    def one(block: Block) -> None:
        spectra = scene.read(block.roi)
        for _ in pieces(operators, spectra.reshape(-1, spectra.shape[2])):
            pass

    from tilespec.core.cpu import one_blas_thread

    with clock.working(), one_blas_thread(), ThreadPoolExecutor(job.threads) as pool:
        list(pool.map(one, blocks(scene, scene.roi)))
    return {}
