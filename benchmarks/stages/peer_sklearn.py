"""scikit-learn: incremental by blocks that Zarr reads, and exact with everything in RAM."""

from typing import Any

import numpy as np
import plain
from job import Clock
from plain import BEGIN, COMPONENTS, END, create, cube, loadings, normalised, objects, save, vsn
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.preprocessing import StandardScaler
from stage_job import Stage


def incremental(job: Stage, clock: Clock) -> dict[str, Any]:
    """Give `partial_fit` one object at a time."""
    with clock.working():
        array, weights = cube(job), vsn(job)
        model = IncrementalPCA(n_components=COMPONENTS)
        for where in objects(array):
            values = np.asarray(array[where]).reshape(-1, array.shape[2])
            model.partial_fit(normalised(values, *weights), check_input=False)
    save(job, model.components_)
    return {"bytes": array.nbytes}


def in_ram(job: Stage, clock: Clock) -> dict[str, Any]:
    """Read the scene whole, and decompose its covariance."""
    with clock.working():
        values = plain.in_ram(job)
        model = PCA(n_components=COMPONENTS, svd_solver="covariance_eigh", copy=False)
        model.fit(values.reshape(-1, values.shape[2]))
    save(job, model.components_)
    return {"bytes": values.nbytes}


def transform(job: Stage, clock: Clock) -> dict[str, Any]:
    """Write scores object by object."""
    with clock.working():
        array, weights = cube(job), vsn(job)
        model = IncrementalPCA(n_components=COMPONENTS)
        model.mean_, model.components_ = loadings(job)
        model.n_features_in_ = array.shape[2]
        out = create(job, (*array.shape[:2], COMPONENTS))
        for where in objects(array):
            values = np.asarray(array[where])
            scores = model.transform(normalised(values.reshape(-1, array.shape[2]), *weights))
            out[where] = scores.reshape(*values.shape[:2], COMPONENTS)
    return {"bytes": array.nbytes}


def preprocess(job: Stage, clock: Clock) -> dict[str, Any]:
    """Drop bands; one pass of `partial_fit`, one of `transform`."""
    with clock.working():
        array, model = cube(job), StandardScaler(copy=False)
        kept = END - BEGIN
        for where in objects(array):
            model.partial_fit(np.asarray(array[where])[..., BEGIN:END].reshape(-1, kept))
        out = create(job, (*array.shape[:2], kept))
        for where in objects(array):
            values = np.asarray(array[where])[..., BEGIN:END]
            out[where] = model.transform(values.reshape(-1, kept)).reshape(values.shape)
    return {"bytes": 2 * array.nbytes}
