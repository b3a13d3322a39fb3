"""PLS, ridge and least squares of tilespec on measured spectra, beside scikit-learn's PLS on the same preprocessing.

    python benchmarks/chemometrics/chemometrics.py --data shared/data [--out benchmarks/results/chemometrics.json]

The regressions, their cross-validation and the rule for the number of components are those of `tilespec baseline plsr`;
only the means of pixels are missing, because these data are spectra without pictures.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from sklearn.cross_decomposition import PLSRegression

from tilespec.baselines.options import MOST
from tilespec.baselines.pls.cross_validation import one_standard_error
from tilespec.baselines.pls.regression import PlsPath, RidgePath, folds_of, leave_out
from tilespec.baselines.plsr import PENALTIES
from tilespec.core.types import SpectralAxis
from tilespec.evaluate.metrics.calibration import calibration_scores
from tilespec.spectra.bands import Bands
from tilespec.spectra.pieces import transform
from tilespec.spectra.steps import parse
from tilespec.spectra.steps.base import Fitting

RECIPES = ("", "snv", "sg=11:2:1", "snv,sg=11:2:1")
"""Those of `plsr` without absorbance, because all four data sets are absorbance already."""
FOLDS, SEED = 5, 0
Data = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]
"""Spectra, the centres of their bands, which samples are fitted, and the numbers of each quantity."""


def tecator(data: Path) -> Data:
    found = np.load(data / "tecator_meat_nir/tecator.npz")
    train = np.arange(215) < 172
    return (
        found["absorbance"],
        np.linspace(850, 1050, 100),
        train,
        dict(zip(("water", "fat", "protein"), found["chemistry"].T, strict=True)),
    )


def corn(data: Path) -> Data:
    found = loadmat(data / "corn_nir/corn.mat")
    names = ("moisture", "oil", "protein", "starch")
    numbers = dict(zip(names, found["propvals"]["data"][0, 0].T, strict=True))
    return found["m5spec"]["data"][0, 0], np.arange(1100, 2500, 2), np.arange(80) % 4 != 3, numbers


def wheat(data: Path) -> Data:
    found = loadmat(data / "wheat_kernel_nit/NITSingleSeed.mat")
    x = np.concatenate([found["Calibration_X"], found["Validation_X"]])
    y = np.concatenate([found["Calibration_Y"], found["Validation_Y"]]).ravel()
    return x, np.linspace(850, 1050, 100), np.arange(len(x)) < len(found["Calibration_X"]), {"protein": y}


def soil(data: Path) -> Data:
    found = np.load(data / "nirsoil/nirsoil.npz")
    numbers = {name: found[name] for name in ("Nt", "Ciso", "CEC")}
    return found["absorbance"], found["wavelength_nm"], found["train"] == 1, numbers


SETS = {
    "Tecator meat": (tecator, "rows 0:172 (training and monitoring) and 172:215"),
    "corn, m5": (corn, "every fourth sample is a test sample"),
    "wheat kernels": (wheat, "Calibration and Validation of the file"),
    "NIRsoil": (soil, "the flag `train` of the file"),
}


def prepared(x: np.ndarray, centres: np.ndarray, steps: str) -> np.ndarray:
    """Return spectra after the plain steps of a recipe."""
    axis = SpectralAxis(name="wavelength", unit="nm", values=tuple(centres.tolist()))
    bands, fitted, values = Bands(count=len(centres), axis=axis), [], x.astype(np.float32)
    for step in parse(steps):
        on = Fitting(bands=bands, sample=values[:1], reduce=lambda _: None, before=tuple(fitted), seed=0)
        fitted.append(step.fit(on).operator)
    return transform(tuple(fitted), values, len(centres)).astype(np.float64)


def one(x: np.ndarray, centres: np.ndarray, train: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return the figures of one quantity: the recipe by cross-validation, then each regression on it."""
    known = np.isfinite(y)
    train, test, y = train & known, ~train & known, y.astype(np.float64)
    fold = folds_of(int(train.sum()), FOLDS, SEED)
    path, best = PlsPath(sizes=tuple(range(1, MOST + 1))), None
    for steps in RECIPES:
        spectra = prepared(x, centres, steps)
        guess, curves = leave_out(path, spectra[train], y[train], fold)
        if best is None or curves.mean(axis=0)[1:].min() < best[0]:
            best = curves.mean(axis=0)[1:].min(), steps, spectra, guess, curves
    _, steps, spectra, guess, curves = best
    size, least = one_standard_error(curves), 1 + int(curves.mean(axis=0)[1:].argmin())
    score = partial(calibration_scores, y[test])
    models = path(spectra[train], y[train])
    oracle = PLSRegression(size, scale=False).fit(spectra[train], y[train]).predict(spectra[test]).ravel()
    ridges = RidgePath(penalties=PENALTIES, relative=True)
    ridge = ridges(spectra[train], y[train])[
        one_standard_error(leave_out(ridges, spectra[train], y[train], fold)[1]) - 1
    ]
    figures = score(models[size - 1].predict(spectra[test]))
    return {
        "samples": [int(train.sum()), int(test.sum())],
        "recipe": steps,
        "components": size,
        "rmsecv": calibration_scores(y[train], guess[:, size - 1])["rmse"],
        "rmsep": figures["rmse"],
        "r2": figures["r2"],
        "rpd": figures["rpd"],
        "bias": figures["bias"],
        "components_of_least_rmsecv": least,
        "rmsep_of_least_rmsecv": score(models[least - 1].predict(spectra[test]))["rmse"],
        "rmsep_scikit_learn": score(oracle)["rmse"],
        "rmsep_ridge": score(ridge.predict(spectra[test]))["rmse"],
    }


def table(results: dict[str, Any]) -> str:
    """Return the results as a table in Markdown."""
    names = (
        "recipe",
        "components",
        "rmsecv",
        "rmsep",
        "r2",
        "rpd",
        "rmsep_scikit_learn",
        "rmsep_of_least_rmsecv",
        "rmsep_ridge",
    )
    lines = ["| data | quantity | train, test | " + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
    for data, quantities in results.items():
        for name, found in quantities.items():
            cells = [found[key] if isinstance(found[key], str | int) else f"{found[key]:.3g}" for key in names]
            least = f"{cells[-2]} ({found['components_of_least_rmsecv']})"
            cells = [cells[0] or "none", *cells[1:-2], least, cells[-1]]
            lines.append(
                f"| {data} | {name} | {', '.join(map(str, found['samples']))} | " + " | ".join(map(str, cells)) + " |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "chemometrics.json")
    given = parser.parse_args()
    results = {}
    for name, (read, _) in SETS.items():
        x, centres, train, numbers = read(given.data)
        results[name] = {quantity: one(np.asarray(x), np.asarray(centres), train, y) for quantity, y in numbers.items()}
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
