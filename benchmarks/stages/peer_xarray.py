"""The stack that every team has: rioxarray or Zarr, xarray, Dask on threads, `to_zarr`."""

from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import rioxarray
import xarray as xr
from envi_files import Counts
from job import Clock
from plain import BEGIN, COMPONENTS, END, loadings, normalised, vsn
from stage_job import Stage

from tilespec.storage.layout import CHUNK, compressors


def ingest(job: Stage, clock: Clock) -> dict[str, Any]:
    """Rows of objects as Dask's chunks, calibrated by xarray's broadcasting, chunked for the store."""
    with clock.working(), _threads(job):
        raw, white, dark = (_counts(name) for name in (job.source, job.white, job.dark))
        zero, bright = (values.mean("y", dtype="float64").compute() for values in (dark, white))
        here, panel = Counts.open(job.source), Counts.open(job.white)
        gain = (panel.panel * (panel.time / here.time) / (bright - zero)).astype("float32")
        cube = (raw - zero.astype("float32")) * gain
        _save(job, cube.transpose("y", "x", "band"))
    return {"bytes": here.data.stat().st_size}


def preprocess(job: Stage, clock: Clock) -> dict[str, Any]:
    """Drop bands, mean and deviation in one computation, then the scaled cube."""
    with clock.working(), _threads(job):
        cube = xr.open_zarr(job.source, consolidated=False)["cube"].isel(band=slice(BEGIN, END))
        mean, deviation = dask.compute(cube.mean(("y", "x")), cube.std(("y", "x")))
        _save(job, (cube - mean.astype("float32")) / deviation.astype("float32"))
    return {"bytes": 2 * _bytes(job)}


def transform(job: Stage, clock: Clock) -> dict[str, Any]:
    """Scores block by block."""
    with clock.working(), _threads(job):
        mean, vectors = loadings(job)
        cube = xr.open_zarr(job.source, consolidated=False)["cube"]
        project = partial(_scores, weights=vsn(job), mean=mean, vectors=vectors)
        chunks = (*cube.data.chunks[:2], (COMPONENTS,))
        scores = da.map_blocks(project, cube.data, chunks=chunks, dtype="float32")
        _save(job, xr.DataArray(scores, dims=("y", "x", "component")))
    return {"bytes": _bytes(job)}


def _scores(block: np.ndarray, *, weights: Any, mean: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (normalised(block, *weights) - mean) @ vectors.T


def _threads(job: Stage) -> Any:
    return dask.config.set(scheduler="threads", num_workers=job.threads)


def _counts(header: str) -> xr.DataArray:
    """Return counts as ``band, y, x``; a chunk is a row of objects, which is how the file lies on the disk."""
    return rioxarray.open_rasterio(Path(header).with_suffix(".bil"), chunks={"band": -1, "y": CHUNK, "x": -1})


def _save(job: Stage, cube: xr.DataArray) -> None:
    """Write a cube with the chunks and codecs of tilespec's own scenes."""
    chunks = [min(CHUNK, n) for n in cube.shape[:2]] + [cube.shape[2]]
    whole = cube.drop_vars([name for name in cube.coords if name not in cube.dims]).chunk(
        dict(zip(cube.dims, chunks, strict=True))
    )
    whole.attrs, whole.encoding = {}, {}
    encoding = {"cube": {"chunks": tuple(chunks), "compressors": compressors("float32")}}
    whole.astype("float32").to_dataset(name="cube").to_zarr(
        job.out, zarr_format=3, consolidated=False, encoding=encoding
    )


def _bytes(job: Stage) -> int:
    return xr.open_zarr(job.source, consolidated=False)["cube"].nbytes
