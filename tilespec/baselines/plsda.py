"""PLS-DA: partial least squares on one-hot classes; the largest score wins."""

from typing import ClassVar, final

import numpy as np
import torch

from tilespec.baselines import Learned, Training
from tilespec.baselines.labelled import draw
from tilespec.errors import UserError

SAMPLES = 3000
"""Mishra and Herrmann (2021) drew 1500 spectra of each of two classes."""

NEVER = -1e3
"""Score of a class that the region does not have: below every other."""


@final
class PlsDa:
    """Barker and Rayens, Journal of Chemometrics 17 (2003); centred, not scaled."""

    STEPS: ClassVar[str] = "vsn"

    @staticmethod
    def fit(on: Training) -> Learned:
        """Return the affine map of PLS regression, from as many pixels of each class."""
        from sklearn.cross_decomposition import PLSRegression

        found = draw(on, on.samples or SAMPLES, balanced=True)
        most = min(len(found.spectra) - 1, found.spectra.shape[1])
        if not 1 <= on.components <= most:
            raise UserError(
                "--components", found=on.components, expected=f"1 to {most}", do="Give fewer latent variables."
            )
        x = found.spectra.astype(np.float64)
        pls = PLSRegression(n_components=on.components, scale=False).fit(x, np.eye(len(found.names))[found.classes])
        weight = pls.coef_
        bias = pls.intercept_ - x.mean(axis=0) @ weight.T
        bias[[name in found.absent for name in found.names]] = NEVER
        right = (x @ weight.T + bias).argmax(axis=1) == found.classes
        return Learned(
            net={"name": "linear"},
            weights={"affine.weight": _tensor(weight), "affine.bias": _tensor(bias)},
            classes=found.names,
            head="tanh",
            facts={
                "components": on.components,
                "samples": len(x),
                "invalid_samples": found.invalid,
                "absent_classes": list(found.absent),
                "calibration_accuracy": float(right.mean()),
            },
        )


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
