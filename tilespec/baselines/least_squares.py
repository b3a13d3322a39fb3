"""Regression: maps from the spectrum of each pixel to the spectrum of a target, without context."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.kmeans import best_start
from tilespec.baselines.paired_pixels import Pairs, draw
from tilespec.baselines.plsr import Ridges
from tilespec.baselines.sample_regression import SAMPLE_OPTIONS, calibrate
from tilespec.core.cpu import one_blas_thread
from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.nets.pixelwise import Linear as Affine
from tilespec.models.nets.regression import Polynomial as Monomials
from tilespec.models.nets.regression import Rbf as Gaussians

SAMPLES = 20_000
"""The number of sampled pixels, enough for a few dozen parameters for each band of the target."""
RIDGE = 1e-6
"""The ridge for correlated standardised terms; an affine map of a few bands needs none."""
PLACED, PASSES = 4096, 50
"""The number of drawn pixels for the k-means of the centres, and the largest number of its passes over them."""

Terms = Float64[np.ndarray, "pixel term"]
Values = Float64[np.ndarray, "pixel band"]
Map = tuple[Float64[np.ndarray, "band term"], Float64[np.ndarray, " band"]]
"""The weights and the bias of an affine map."""
Fitting = Callable[[FitInput, Pairs], tuple[dict[str, Any], nn.Module]]
"""A function from drawn pixels to a net, given by name and parameters, and as a module with its weights."""


def least_squares(terms: Terms, values: Values, ridge: float, *, bias: bool = True) -> Map:
    """Return the affine map that minimises ``mean |values - W terms - b|^2 + ridge |W|^2``; b is 0 without ``bias``.

    It uses orthogonal factors of the terms and not their moments, so that correlated terms lose no digits.
    """
    n, width = terms.shape
    mean, level = (part.mean(axis=0) * bias for part in (terms, values))
    rows = np.concatenate([terms - mean, np.sqrt(n * ridge) * np.eye(width)])
    wanted = np.concatenate([values - level, np.zeros((width, values.shape[1]))])
    with one_blas_thread():
        weight = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    return weight, level - weight @ mean


class _Regression:
    """A regression that is fitted on drawn pixels with equal weights.

    The seed decides the draw, and the initial centres of ``rbf``.
    """

    STEPS: ClassVar[str] = ""
    TARGET: ClassVar[bool] = True
    USES: ClassVar[tuple[str, ...]]
    FIT: ClassVar[Fitting]

    @classmethod
    def fit(cls, on: FitInput) -> FittedBaseline:
        """Return the net of the regression."""
        if on.references is not None:
            return calibrate(on, Ridges(on.options.ridge or 0.0))
        assert on.target is not None, "`baseline` refuses a regression without a target"
        pairs = draw(on, on.in_memory(SAMPLES))
        net, module = cls.FIT(on, pairs)
        return FittedBaseline(
            net=net,
            weights={key: value.detach().clone() for key, value in module.state_dict().items()},
            classes=(),
            head="linear",
            facts={
                "samples": len(pairs.spectra),
                "invalid_samples": pairs.invalid,
                "calibration_rmse": _rmse(module, pairs),
                "target": {"scene": on.target.url.rstrip("/").rpartition("/")[2], "digest": on.target.digest},
            },
        )


def _linear(on: FitInput, pairs: Pairs) -> tuple[dict[str, Any], nn.Module]:
    """Return an affine map of the bands themselves."""
    net = {"name": "linear", "centred": True}
    module = _built(net, pairs)
    assert isinstance(module, Affine)
    x = pairs.spectra.astype(np.float64)
    _enough(pairs, x.shape[1], "bands")
    mean = x.mean(axis=0)
    weight, bias = least_squares(x - mean, pairs.answers.astype(np.float64), on.options.ridge or 0.0)
    _put(module.mean, mean)
    _put(module.affine.weight, weight)
    _put(module.affine.bias, bias)
    return net, module


def _polynomial(on: FitInput, pairs: Pairs) -> tuple[dict[str, Any], nn.Module]:
    """Return an affine map of monomials, or of their roots."""
    net = {"name": "polynomial", "degree": on.options.degree, "root": on.options.root}
    module = _built(net, pairs)
    assert isinstance(module, Monomials)
    _enough(pairs, len(module.monomials), f"terms of degree {on.options.degree}")
    _expanded(
        module, pairs, on.options.ridge, bias=not on.options.root
    )  # roots: twice the light gives twice the output
    return net, module


def _rbf(on: FitInput, pairs: Pairs) -> tuple[dict[str, Any], nn.Module]:
    """Return an affine map of Gaussians around the centres of k-means, with the mean distance of centres as width."""
    net = {"name": "rbf", "centres": on.options.centres}
    module = _built(net, pairs)
    assert isinstance(module, Gaussians)
    _enough(pairs, on.options.centres, "centres")
    x = pairs.spectra.astype(np.float64)
    mean, gain = x.mean(axis=0), 1 / _positive(x.std(axis=0))
    some = ((x - mean) * gain).astype(np.float32)[:: -(-len(x) // PLACED)]
    centres = best_start(some, on.options.centres, seed=on.seed, passes=PASSES, option="--centres")
    for buffer, values in ((module.mean, mean), (module.gain, gain), (module.centres, centres)):
        _put(buffer, values)
    _put(module.width, _apart(centres))
    _expanded(module, pairs, on.options.ridge, bias=True)
    return net, module


class LinearRegression(_Regression):
    """Least squares from the bands of the scene to those of the target, or to reference numbers of samples."""

    REFERENCES: ClassVar[bool] = True
    USES: ClassVar[tuple[str, ...]] = ("samples", "ridge", *SAMPLE_OPTIONS)
    FIT: ClassVar[Fitting] = staticmethod(_linear)


class PolynomialRegression(_Regression):
    """Least squares from monomials of the bands, or from their roots, with a ridge."""

    USES: ClassVar[tuple[str, ...]] = ("samples", "ridge", "degree", "root")
    FIT: ClassVar[Fitting] = staticmethod(_polynomial)


class RbfRegression(_Regression):
    """A network of radial basis functions (Moody and Darken, Neural Computation 1, 1989), with a ridge."""

    USES: ClassVar[tuple[str, ...]] = ("samples", "ridge", "centres")
    FIT: ClassVar[Fitting] = staticmethod(_rbf)


def _built(net: dict[str, Any], pairs: Pairs) -> nn.Module:
    """Return the net without its weights."""
    params = {key: value for key, value in net.items() if key != "name"}
    return build(net["name"], pairs.spectra.shape[1], pairs.answers.shape[1], **params).eval()


def _expanded(module: Monomials | Gaussians, pairs: Pairs, ridge: float | None, *, bias: bool) -> None:
    """Fit the affine map of a net's terms, standardised by the drawn pixels, but not centred without ``bias``."""
    spectra = torch.from_numpy(pairs.spectra.astype(np.float64))
    terms = deepcopy(module).double().terms(spectra[None])[0].numpy()
    mean = terms.mean(axis=0) * bias
    gain = 1 / _positive(np.sqrt(np.square(terms - mean).mean(axis=0)))
    answers, penalty = pairs.answers.astype(np.float64), RIDGE if ridge is None else ridge
    fitted = least_squares((terms - mean) * gain, answers, penalty, bias=bias)
    layer = module.read
    places = (layer.mean, layer.gain, layer.affine.weight, layer.affine.bias)
    for place, values in zip(places, (mean, gain, *fitted), strict=True):
        _put(place, values)


def _enough(pairs: Pairs, terms: int, what: str) -> None:
    """Refuse fewer pixels than parameters for a band."""
    if len(pairs.spectra) <= terms:
        raise UserError(
            "--samples",
            found=f"{len(pairs.spectra)} pixels with data in both scenes",
            expected=f"more than {terms}, as many as there are {what}",
            do="Give more --samples or a larger region, or choose a lower --degree or fewer --centres.",
        )


def _rmse(module: nn.Module, pairs: Pairs) -> float:
    """Return the root mean square error of the net on the drawn pixels, over pixels and bands."""
    with torch.inference_mode():
        answer = module(torch.from_numpy(pairs.spectra).T[None, :, :, None])[0, :, :, 0].T.numpy()
    return float(np.sqrt(np.square(answer - pairs.answers, dtype=np.float64).mean()))


def _apart(centres: Float64[np.ndarray, "centre band"]) -> float:
    """Return the mean distance between two centres, or 1 for a single one."""
    distance = np.sqrt(np.square(centres[:, None] - centres).sum(axis=2))
    n = len(centres)
    return float(distance.sum() / (n * (n - 1))) if n > 1 else 1.0


def _positive(values: Float64[np.ndarray, " term"]) -> Float64[np.ndarray, " term"]:
    """Return deviations as divisors, with 1 for 0."""
    return np.where(values > 0, values, 1.0)


def _put(place: torch.Tensor, values: np.ndarray | float) -> None:
    """Write float64 values into a tensor of a net."""
    with torch.no_grad():
        place.copy_(torch.tensor(values))
