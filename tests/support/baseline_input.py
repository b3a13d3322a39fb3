"""What the tests of baselines fit on."""

import numpy as np
import zarr

from tilespec.baselines.base import FitInput
from tilespec.baselines.options import BaselineOptions
from tilespec.core.progress import Silent
from tilespec.core.types import Roi
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene


def training(scene, *, rows=None, client=None, seed=0, **asked):
    opened = Scene.open(scene)
    return FitInput(
        scene=opened,
        roi=Roi.of(opened.shape, rows, None),
        recipe=Recipe.empty(opened.shape[2], opened.spectral),
        options=BaselineOptions(**asked),
        seed=seed,
        client=client,
        progress=Silent(),
    )


def labels_apart(path, scene, labels):
    """Write labels with the classes of a scene into a store of their own; return it."""
    group = zarr.create_group(str(path))
    group.create_array("labels", data=labels.astype(np.uint8), dimension_names=("y", "x"))
    group["labels"].attrs.update(dict(zarr.open_group(scene)["labels"].attrs))
    return str(path)
