"""Diagnostics: Q, Hotelling's T2 and DModX of PLS for every pixel, streamed to a store beside the prediction.

Q is the squared distance of a spectrum from the model, T2 the squared distance of its scores from their mean in
deviations of each. DModX is the distance from the model in units of its usual distance, ``sqrt(Q / mean Q)`` (Wold,
Sjostrom and Eriksson, Chemometrics and Intelligent Laboratory Systems 58, 2001). A pixel beyond the limits is unlike
the pixels that the model was fitted on.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.baselines.pls.limits import q_limit, t2_limit
from tilespec.baselines.pls.pls import Pls
from tilespec.cluster.shares import finish, write_rows
from tilespec.core.buffers import Buffers
from tilespec.core.progress import Progress
from tilespec.core.types import Roi, Spectra
from tilespec.models.model import Model
from tilespec.spectra.pieces import pieces
from tilespec.spectra.recipe import Recipe
from tilespec.storage.blocks import blocks
from tilespec.storage.layout import CHUNK, ArraySpec, constants, height_of
from tilespec.storage.lock import locked
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

MEANS = {
    "q": "squared residual of the spectrum (Q)",
    "t2": "Hotelling's T2 of the scores",
    "dmodx": "distance of the spectrum from the model over its root mean square (DModX)",
}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PlsResiduals:
    """The map from a spectrum after the recipe to its Q, T2 and DModX."""

    mean: Float64[np.ndarray, " band"]
    """The spectrum that is subtracted."""
    gain: Float64[np.ndarray, " band"]
    """The factor of each band after the subtraction."""
    rotations: Float64[np.ndarray, "band component"]
    """The matrix from spectra to scores."""
    loadings: Float64[np.ndarray, "band component"]
    """The matrix from scores back to spectra."""
    variances: Float64[np.ndarray, " component"]
    """The variances of the scores of the fitted pixels."""
    q_mean: float
    """The mean Q of such pixels."""
    q_limit: float
    """The value above 95 % of the Q of such pixels (Jackson and Mudholkar 1979)."""
    t2_limit: float
    """The value above 95 % of the T2 of such pixels (F distribution)."""

    @classmethod
    def of_model(cls, model: Pls, left: Float64[np.ndarray, " band"]) -> "PlsResiduals":
        """Return the map of a model, with limits that hold for normal residuals and scores.

        Args:
            model: The PLS regression; the limit of T2 is that of a new spectrum like the fitted ones.
            left: The eigenvalues of the mean product of residuals of the spectra that the limit of Q is for.
        """
        return cls(
            mean=model.mean_x,
            gain=1 / model.scale,
            rotations=model.rotations,
            loadings=model.loadings,
            variances=model.squares / max(model.n - 1, 1),
            q_mean=float(left.sum()),
            q_limit=q_limit(left),
            t2_limit=t2_limit(model.n, model.components),
        )

    @property
    def limits(self) -> dict[str, float]:
        """The limit of each."""
        return {"q": self.q_limit, "t2": self.t2_limit, "dmodx": float(np.sqrt(self.q_limit / (self.q_mean or 1.0)))}

    def of(self, x: Spectra) -> Float32[np.ndarray, "3 pixel"]:
        """Return Q, T2 and DModX of spectra ``pixel band``, computed in float64; NaN for an invalid one."""
        centred = (x - self.mean) * self.gain
        scores = centred @ self.rotations
        left = centred - scores @ self.loadings.T
        q, t2 = (left**2).sum(axis=1), (scores**2 / self.variances).sum(axis=1)
        return np.stack([q, t2, np.sqrt(q / (self.q_mean or 1.0))]).astype(np.float32)


def diagnose(
    out: str, scene: Scene, model: Model, residuals: Mapping[str, PlsResiduals], *, client: Any, progress: Progress
) -> dict[str, Any]:
    """Write ``q``, ``t2`` and ``dmodx`` of every pixel of a scene into ``OUT.diagnostics``; resume an interrupted run.

    With several models, by quantity, the names of the arrays end in that of the quantity: ``q_fat``.
    """
    named = residuals if len(residuals) > 1 else dict.fromkeys([""], *residuals.values())
    ends = {name: re.sub(r"\W+", "_", f"_{name}") if name else "" for name in named}
    named = {ends[name]: each for name, each in named.items()}
    url = f"{out.rstrip('/')}.diagnostics"
    with locked(url) as hold:
        product = _product(url, scene, model, named)
        write = partial(_write_row, scene, model.recipe, named)
        counts = write_rows(product, write, "diagnostics", hold=hold, client=client, progress=progress)
        scene.check_unchanged()
        finish(product, hold)
    limits = {f"{key}_limit_95": limit for key, limit in _limits(named).items()}
    return {"diagnostics": url, "diagnostics_rows_written": counts["rows"], **limits, **product.counts()}


def _limits(named: Mapping[str, PlsResiduals]) -> dict[str, float]:
    """Return the limit of each array."""
    return {key + suffix: limit for suffix, each in named.items() for key, limit in each.limits.items()}


def _product(url: str, scene: Scene, model: Model, named: Mapping[str, PlsResiduals]) -> Product:
    """Open the store of the diagnostics."""
    limits = _limits(named)
    mapped = {} if scene.georef is None else {"grid_mapping": "spatial_ref"}
    plane = scene.shape[:2]
    specs = [
        ArraySpec(
            name=name,
            shape=plane,
            dtype="float32",
            dims=("y", "x"),
            chunks=(min(height_of(plane), plane[0]), min(CHUNK, plane[1])),
            attrs={"long_name": MEANS[name.partition("_")[0]], "limit_95": limit, **mapped},
            fill=float("nan"),
        )
        for name, limit in limits.items()
    ]
    return Product.open(
        url,
        specs,
        settings={"diagnostics": model.digest, "scene": scene.digest, "limits": limits},
        attrs={"title": "Q, Hotelling's T2 and DModX", "model_digest": model.digest},
        constants=constants(None, scene.georef, plane),
        table=scene.table,
    )


def _write_row(
    scene: Scene, recipe: Recipe, named: Mapping[str, PlsResiduals], product: Product, row: int
) -> Counter[str]:
    """Write one row of objects; return the number of pixels beyond a limit."""
    y0, y1 = product.span(row)
    strip, room = Roi(y0=y0, y1=y1, x0=0, x1=scene.shape[1]), Buffers()
    limits = _limits(named)
    values = np.empty((len(limits), *strip.shape), np.float32)
    for block in blocks(scene, strip):
        spectra = scene.read(block.roi, room).reshape(-1, scene.shape[2])
        parts = [np.concatenate([each.of(piece) for each in named.values()]) for piece in pieces(recipe.steps, spectra)]
        rows = slice(block.roi.y0 - y0, block.roi.y1 - y0)
        values[:, rows, block.roi.x0 : block.roi.x1] = np.concatenate(parts, axis=1).reshape(-1, *block.roi.shape)
    planes = dict(zip(limits, values, strict=True))
    beyond = {f"{key}_beyond_limit": int((plane > limits[key]).sum()) for key, plane in planes.items()}
    product.write(row, planes, beyond)
    return Counter(rows=1)
