"""Linear classifiers: a support vector machine and logistic regression, fitted on sampled pixels."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.labelled_pixels import NEVER, Labelled, accuracy_of
from tilespec.baselines.synthetic_spectra import draw_augmented
from tilespec.core.cpu import one_blas_thread

SAMPLES = 20_000
"""The number of sampled pixels: 15 MB of 186 bands, enough for the few parameters of a linear rule."""
ITERATIONS = 10_000

Rule = tuple[Float64[np.ndarray, "class band"], Float64[np.ndarray, " class"]]
"""The weights and the bias of each present class."""


class _Linear:
    """A linear classifier of spectra that are standardised by the sample, with equally many pixels of each class.

    The seed decides the sample only.
    """

    STEPS: ClassVar[str] = "vsn"
    USES: ClassVar[tuple[str, ...]] = ("samples", "penalty", "synthetic")
    HEAD: ClassVar[str]
    SOLVE: ClassVar[Callable[[np.ndarray, np.ndarray, float], Rule]]

    @classmethod
    def fit(cls, on: FitInput) -> FittedBaseline:
        """Return the linear rule."""
        labelled = draw_augmented(on, SAMPLES, balanced=True)
        x = labelled.spectra.astype(np.float64)
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        gain = 1 / np.where(deviation > 0, deviation, 1)
        on.progress.say(f"fit: {len(x):,} spectra of {len(labelled.names) - len(labelled.absent)} classes")
        with one_blas_thread():
            weight, bias = cls.SOLVE((x - mean) * gain, labelled.classes, on.options.penalty)
        fitted = cls._fitted(labelled, weight * gain, bias, mean)
        return fitted.with_facts(calibration_accuracy=accuracy_of(labelled, fitted))

    @classmethod
    def _fitted(cls, labelled: Labelled, weight: np.ndarray, bias: np.ndarray, mean: np.ndarray) -> FittedBaseline:
        """Return the net; classes without pixels in the region are never predicted."""
        there = np.array([name not in labelled.absent for name in labelled.names])
        full = np.zeros((len(there), weight.shape[1])), np.full(len(there), NEVER)
        full[0][there], full[1][there] = weight, bias
        named = {"affine.weight": full[0], "affine.bias": full[1], "mean": mean}
        facts = {
            "samples": len(labelled.spectra),
            "invalid_samples": labelled.invalid,
            "absent_classes": list(labelled.absent),
        }
        return FittedBaseline(
            net={"name": "linear", "centred": True},
            weights={key: torch.from_numpy(value.astype(np.float32)) for key, value in named.items()},
            classes=labelled.names,
            head=cls.HEAD,
            facts=facts,
        )


def _svm(x: np.ndarray, y: np.ndarray, penalty: float) -> Rule:
    """Return the margins of each class against all others; two classes have one margin and its opposite."""
    from sklearn.svm import LinearSVC

    fitted: Any = LinearSVC(C=penalty, dual=False, max_iter=ITERATIONS).fit(x, y)
    if len(fitted.classes_) > 2:
        return fitted.coef_, fitted.intercept_
    return np.concatenate([-fitted.coef_, fitted.coef_]), np.concatenate([-fitted.intercept_, fitted.intercept_])


def _logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> Rule:
    """Return the logits of the classes; with two classes the first has the logit 0."""
    from sklearn.linear_model import LogisticRegression

    fitted: Any = LogisticRegression(C=penalty, max_iter=ITERATIONS).fit(x, y)
    if len(fitted.classes_) > 2:
        return fitted.coef_, fitted.intercept_
    nothing = np.zeros_like(fitted.coef_)
    return np.concatenate([nothing, fitted.coef_]), np.concatenate([[0.0], fitted.intercept_])


class Svm(_Linear):
    """Linear support vector machines, one class against the others, squared hinge loss (Fan et al., JMLR 9, 2008)."""

    HEAD: ClassVar[str] = "tanh"
    SOLVE: ClassVar[Callable[[np.ndarray, np.ndarray, float], Rule]] = staticmethod(_svm)


class Logistic(_Linear):
    """Multinomial logistic regression with an L2 penalty; its probabilities are those of its logits."""

    HEAD: ClassVar[str] = "logits"
    SOLVE: ClassVar[Callable[[np.ndarray, np.ndarray, float], Rule]] = staticmethod(_logistic)
