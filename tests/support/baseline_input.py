"""What the tests of baselines fit on."""

from tilespec.baselines.base import Training
from tilespec.baselines.options import BaselineOptions
from tilespec.core.progress import Silent
from tilespec.core.types import Roi
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene


def training(scene, *, rows=None, client=None, **asked):
    opened = Scene.open(scene)
    return Training(
        scene=opened,
        roi=Roi.of(opened.shape, rows, None),
        recipe=Recipe.empty(opened.shape[2], opened.spectral),
        asked=BaselineOptions(**asked),
        seed=0,
        client=client,
        progress=Silent(),
    )
