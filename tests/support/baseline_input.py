"""What the tests of baselines fit on."""

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
        labels=asked.get("labels") or scene,
        roi=Roi.of(opened.shape, rows, None),
        recipe=Recipe.empty(opened.shape[2], opened.spectral),
        options=BaselineOptions(**asked),
        seed=seed,
        client=client,
        progress=Silent(),
    )
