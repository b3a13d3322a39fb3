"""Synthetic spectra: those of a table that `synth` wrote, added to the labelled pixels of a classifier."""

from dataclasses import replace
from pathlib import PurePath

import numpy as np

from tilespec.baselines.base import FitInput
from tilespec.baselines.labelled_pixels import Labelled
from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands, same_bands
from tilespec.storage.spectra_table import SpectraTable


def augmented(on: FitInput, labelled: Labelled) -> Labelled:
    """Return labelled pixels with the spectra of the table ``synthetic``, if one is given, after the recipe.

    A spectrum of a table has no place in the scene: its row and column are -1.

    Raises:
        UserError: the table has other bands than the scene, or a class that the scene does not have.
    """
    if on.options.synthetic is None:
        return labelled
    table = SpectraTable.open(on.options.synthetic)
    own = Bands(count=on.scene.shape[2], axis=on.scene.spectral)
    same_bands(own, Bands(count=table.bands, axis=table.axis), table.url)
    classes = table.numbered(labelled.names)
    strange = np.unique(table.labels[(classes < 0) | (classes >= len(labelled.names))])
    if len(strange):
        names = [table.classes[i] if i < len(table.classes) else str(i) for i in strange.tolist()]
        raise UserError(
            table.url,
            found=f"spectra of {', '.join(names)}",
            expected=f"some of {', '.join(labelled.names)}, the classes of {PurePath(on.scene.url).name}",
            do="Draw them with --classes, from a generator that was trained on labels of the same names.",
        )
    spectra = on.recipe.apply(table.read(0, len(classes)))
    valid = np.isfinite(spectra[:, 0])
    joined = np.concatenate([labelled.classes, classes[valid]])
    return replace(
        labelled,
        spectra=np.concatenate([labelled.spectra, spectra[valid]]),
        classes=joined,
        places=np.concatenate([labelled.places, np.full((int(valid.sum()), 2), -1)]),
        absent=tuple(name for name in labelled.absent if labelled.names.index(name) not in joined),
        invalid=labelled.invalid + int((~valid).sum()),
    )
