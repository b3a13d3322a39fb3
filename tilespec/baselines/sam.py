"""SAM: the spectral angle mapper gives each pixel the class whose reference spectrum has the smallest angle to it."""

from math import pi
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float32

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.labelled_pixels import accuracy, gather
from tilespec.baselines.reference_spectra import read
from tilespec.core.errors import UserError


@final
class SpectralAngle:
    """Kruse et al., Remote Sensing of Environment 44 (1993): the angle does not depend on the gain, as in shade.

    The references are the means of the region's labelled pixels, class by class, from one pass; or the spectra of a
    table, whose columns are the classes in their order.
    """

    STEPS: ClassVar[str] = ""
    USES: ClassVar[tuple[str, ...]] = ("references", "max_angle")

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the net of the references."""
        return _of_labels(on) if on.options.references is None else _of_table(on, on.options.references)


def _of_labels(on: FitInput) -> FittedBaseline:
    """Return the net of the class means."""
    moments = gather(on, scatter=False)
    (groups,) = moments.folds
    bands = on.recipe.bands_out
    means = [groups[c].mean if c in groups else np.full(bands, np.nan) for c in range(len(moments.names))]
    facts = {
        "samples": sum(group.n for group in groups.values()),
        "invalid_samples": moments.invalid,
        "absent_classes": list(moments.absent),
    }
    fitted = _fitted(on, np.stack(means).astype(np.float32), moments.names, facts)
    return fitted.with_facts(calibration_accuracy=accuracy(on, fitted))


def _of_table(on: FitInput, path: str) -> FittedBaseline:
    """Return the net of a table's spectra."""
    names, spectra = read(path, on.scene.spectral, on.scene.shape[2])
    through = on.recipe.apply(spectra)
    lost = [name for name, row in zip(names, through, strict=True) if not np.isfinite(row).all()]
    if lost:
        raise UserError(
            path,
            found=f"no spectrum of {', '.join(lost)} after {on.recipe.text or 'reading'}",
            expected="spectra that the recipe can map",
            do="Remove the column, or give another --recipe.",
        )
    return _fitted(on, through, names, {"references": path})


def _fitted(
    on: FitInput, references: Float32[np.ndarray, "class band"], names: tuple[str, ...], facts: dict[str, object]
) -> FittedBaseline:
    """Return the net of references; a reference of only NaN is a class that is never predicted."""
    complete = np.isfinite(references).all(axis=1)
    length = np.linalg.norm(references.astype(np.float64), axis=1, keepdims=True)
    dark = [name for name, ok, norm in zip(names, complete, length, strict=True) if ok and norm == 0]
    if dark:
        raise UserError(
            on.options.references or on.scene.url,
            found=f"a reference of {', '.join(dark)} that is 0 in every band",
            expected="spectra with a direction",
            do="Correct the labels or the table.",
        )
    unit = np.where(complete[:, None], references / np.where(length > 0, length, 1), 0)
    limit = on.options.max_angle
    return FittedBaseline(
        net={"name": "sam"},
        weights={
            "references": torch.from_numpy(unit.astype(np.float32)),
            "known": torch.from_numpy(complete.astype(np.float32)),
        },
        classes=names,
        head="tanh",
        least=None if limit is None else -min(limit, pi),
        facts={**facts, "max_angle": limit},
        arrays={"references": references},
    )
