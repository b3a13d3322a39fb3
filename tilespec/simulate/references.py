"""References: the means of the hidden maps over samples, which methods are given, as a table beside the scene."""

import numpy as np

from tilespec.simulate.constituents import CONSTITUENTS
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.storage.samples import STRIP
from tilespec.storage.scene import Scene

HEADER = ",".join(["sample", *(f"{name} [%]" for name in CONSTITUENTS)])


def references_path(out: str) -> StorePath:
    """Return the path of the table beside a scene."""
    return store_path(f"{out.rstrip('/')}.references.csv")


def write_references(out: str) -> None:
    """Write the table: a row for each sample of the scene at ``out``, in one pass over its maps."""
    scene = Scene.open(out)
    ids, maps = scene.plane("sample"), [scene.plane(name) for name in CONSTITUENTS]
    total = np.zeros((1 + len(maps), scene.attrs["simulation"]["samples"] + 1))
    for roi in scene.roi.cut(STRIP, scene.shape[1]):
        sample = ids.read(roi).ravel()
        values = [np.ones(sample.size), *(np.nan_to_num(plane.read(roi)).ravel() for plane in maps)]
        total += [np.bincount(sample, value, total.shape[1]) for value in values]
    means = (total[1:] / np.maximum(total[0], 1)).T
    rows = [f"{i}," + ",".join(f"{value:.6f}" for value in means[i]) for i in range(1, len(means)) if total[0, i]]
    write_atomic(references_path(out), "\n".join([HEADER, *rows]) + "\n")
