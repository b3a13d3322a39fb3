"""Counts of a line camera, and their calibration."""

import numpy as np
from envi_files import write_envi

from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene


def counts(shape, low, high, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.uint16)


def calibrated(folder, raw, white, dark=None, *, extra=("", "", ""), interleave="bil", **options):
    """Ingest a calibrated cube and return the result and the reflectance."""
    folder.mkdir(exist_ok=True)
    given = zip(("raw", "white", "dark"), (raw, white, dark), extra, strict=True)
    paths = {
        name: write_envi(folder, cube, interleave, name=name, extra=text)
        for name, cube, text in given
        if cube is not None
    }
    out = str(folder / "scene")
    result = ingest(paths["raw"], out, white=paths["white"], dark=paths.get("dark"), **options)
    scene = Scene.open(out)
    return result, scene.read(scene.roi)
