"""How right the products are: the angle to a float64 PCA, and reflectance against plain NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from envi_files import Counts, references
from job import Clock
from plain import COMPONENTS, cube, normalised, objects, vsn
from stage_job import Stage

PIECE = 16384
SEEN = 5
"""Places along each axis where reflectance is compared."""
EDGE = 64


def reference(job: Stage, clock: Clock) -> dict[str, Any]:
    """Keep the leading components of the scene after VSN, everything in float64: two passes, the mean first."""
    with clock.working():
        array, weights = cube(job), [values.astype(np.float64) for values in vsn(job)]
        n, shift, sums, gram = 0, None, 0.0, 0.0
        for where in objects(array):
            values = np.asarray(array[where]).reshape(-1, array.shape[2])
            for start in range(0, len(values), PIECE):
                piece = normalised(values[start : start + PIECE].astype(np.float64), *weights)
                shift = piece.mean(axis=0) if shift is None else shift
                piece -= shift
                n, sums, gram = n + len(piece), sums + piece.sum(axis=0), gram + piece.T @ piece
        vectors = np.linalg.eigh(gram - np.outer(sums, sums) / n)[1]
        np.save(job.reference, vectors[:, ::-1][:, :COMPONENTS].T)
    return {}


def angle(job: Stage) -> dict[str, Any]:
    """Return the largest principal angle between a product's loadings and the reference, in radians.

    By its sine (Knyazev and Argentati, SIAM J. Sci. Comput. 23, 2002): the cosine of a small angle is 1.
    """
    true = np.load(job.reference).T
    found = np.linalg.qr(np.load(Path(job.out).with_name("loadings.npy")).astype(np.float64).T)[0]
    rest = found - true @ (true.T @ found)
    return {"angle": float(np.arcsin(min(1.0, np.linalg.norm(rest, 2))))}


def reflectance(job: Stage) -> dict[str, Any]:
    """Return the largest difference of a product from counts calibrated by plain NumPy, where detectors are alive."""
    counts, found = Counts.open(job.source), zarr.open_group(job.out, mode="r")["cube"]
    dark, gain = references(job.source, job.white, job.dark)
    raw, worst = counts.memmap(), 0.0
    for y in np.linspace(0, counts.lines - EDGE, SEEN).astype(int):
        for x in np.linspace(0, counts.samples - EDGE, SEEN).astype(int):
            rows, cols = slice(y, y + EDGE), slice(x, x + EDGE)
            true = (raw[rows, :, cols].transpose(0, 2, 1).astype(np.float64) - dark[cols]) * gain[cols]
            here = np.asarray(found[rows, cols])
            alive = np.isfinite(true)
            worst = max(worst, float(np.abs(here - true)[alive].max()))
    return {"max_error": worst}
