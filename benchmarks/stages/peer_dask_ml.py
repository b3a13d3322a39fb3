"""dask-ml on threads: PCA and IncrementalPCA of a Dask array."""

from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask_ml.decomposition import PCA, IncrementalPCA
from job import Clock
from plain import COMPONENTS, cube, normalised, save, vsn
from stage_job import Stage

BATCH = 16384
"""Pixels of an object."""


def pca(job: Stage, clock: Clock) -> dict[str, Any]:
    """Fit the exact solver, by QR of tall blocks."""
    return _fitted(job, clock, PCA(n_components=COMPONENTS, svd_solver="tsqr"))


def incremental(job: Stage, clock: Clock) -> dict[str, Any]:
    """Fit batches of as many pixels as an object has."""
    return _fitted(job, clock, IncrementalPCA(n_components=COMPONENTS, batch_size=BATCH))


def _fitted(job: Stage, clock: Clock, model: Any) -> dict[str, Any]:
    """Fit a model on the spectra: blocks are whole rows of objects, so that none is copied into another's block."""
    with clock.working(), dask.config.set(scheduler="threads", num_workers=job.threads):
        array, weights = cube(job), vsn(job)
        values = da.from_zarr(array).map_blocks(partial(_normalised, weights=weights), dtype="float32")
        model.fit(values.rechunk({1: -1}).reshape(-1, array.shape[2]))
    save(job, np.asarray(model.components_))
    return {"bytes": array.nbytes}


def _normalised(block: np.ndarray, *, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return normalised(block, *weights)
