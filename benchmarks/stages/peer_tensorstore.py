"""tensorstore, the ceiling of reading and writing Zarr: its own threads and codecs, as many as everybody's."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import tensorstore as ts
from envi_files import Counts, references
from job import Clock
from plain import COMPONENTS, amplification, corners, cube, loadings, normalised, objects, vsn
from stage_job import Stage

from tilespec.storage.layout import CHUNK

AHEAD = 4
"""Objects, or rows of them, under way."""


def ingest(job: Stage, clock: Clock) -> dict[str, Any]:
    """Calibrate rows of objects from a memory map; the next one while the last is written."""
    with clock.working():
        counts = Counts.open(job.source)
        dark, gain = references(job.source, job.white, job.dark)
        raw, out = counts.memmap(), _create(job, (counts.lines, counts.samples, counts.bands))
        writing: deque[Any] = deque()
        for y in range(0, counts.lines, CHUNK):
            block = raw[y : y + CHUNK].transpose(0, 2, 1) - dark
            block *= gain
            writing.append(out[y : y + len(block)].write(block))
            if len(writing) > 1:
                writing.popleft().result()
        for write in writing:
            write.result()
    return {"bytes": counts.data.stat().st_size}


def read(job: Stage, clock: Clock) -> dict[str, Any]:
    """Read every object and look at nothing."""
    with clock.working():
        moved = sum(values.nbytes for _, values in _read(job))
    return {"bytes": moved}


def transform(job: Stage, clock: Clock) -> dict[str, Any]:
    """Read, normalise, project and write, object by object."""
    with clock.working():
        weights, (mean, vectors) = vsn(job), loadings(job)
        shape = cube(job).shape
        out, writing, moved = _create(job, (*shape[:2], COMPONENTS)), deque(), 0
        for where, values in _read(job):
            moved += values.nbytes
            writing.append(out[where].write((normalised(values, *weights) - mean) @ vectors.T))
            if len(writing) > AHEAD:
                writing.popleft().result()
        for write in writing:
            write.result()
    return {"bytes": moved}


def patches(job: Stage, clock: Clock) -> dict[str, Any]:
    """Read batches of patches, one batch under way while another is put together."""
    with clock.working():
        array, stored = _open(job), cube(job)
        places = iter(corners(job, stored.shape))
        asked: deque[list[Any]] = deque()
        moved = 0
        for _ in range(job.patches // job.batch + 1):
            some = islice(places, job.batch)
            asked.append([array[y : y + job.side, x : x + job.side].read() for y, x in some])
            if len(asked) > 1:
                moved += np.stack([patch.result() for patch in asked.popleft()]).nbytes
    return {"bytes": moved, "patches": job.patches, "amplification": amplification(job, stored)}


def _read(job: Stage) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Yield objects in order, a few under way."""
    array, places = _open(job), objects(cube(job))
    asked = deque((where, array[where].read()) for where in islice(places, AHEAD))
    while asked:
        where, values = asked.popleft()
        yield where, values.result()
        asked.extend((after, array[after].read()) for after in islice(places, 1))


def _context(job: Stage) -> ts.Context:
    return ts.Context({key: {"limit": job.threads} for key in ("data_copy_concurrency", "file_io_concurrency")})


def _open(job: Stage) -> ts.TensorStore:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{job.source}/cube/"}}
    return ts.open(spec, context=_context(job), read=True).result()


def _create(job: Stage, shape: tuple[int, int, int]) -> ts.TensorStore:
    """Return a new array of the metadata that the peers' have, created by zarr."""
    from plain import create

    create(job, shape)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{job.out}/cube/"}}
    return ts.open(spec, context=_context(job), write=True, read=True).result()
