"""Diagnostics: Q residuals and Hotelling's T2 of PLS for every pixel, streamed to a store beside the prediction.

Q is the squared distance of a spectrum from the model, T2 the squared distance of its scores from their mean in
deviations of each. A pixel beyond the limits is unlike the pixels that the model was fitted on.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.buffers import Buffers
from tilespec.core.progress import Progress
from tilespec.core.types import Roi, Spectra
from tilespec.models.model import Model
from tilespec.spectra.pieces import pieces
from tilespec.spectra.recipe import Recipe
from tilespec.storage.blocks import blocks
from tilespec.storage.layout import CHUNK, ArraySpec, constants
from tilespec.storage.lock import locked
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

MEANS = {"q": "squared residual of the spectrum (Q)", "t2": "Hotelling's T2 of the scores"}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PlsResiduals:
    """The map from a spectrum after the recipe to its Q and its T2."""

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
    q_limit: float
    """The value above 95 % of the Q of such pixels (Jackson and Mudholkar 1979)."""
    t2_limit: float
    """The value above 95 % of the T2 of such pixels (F distribution)."""

    def of(self, x: Spectra) -> Float32[np.ndarray, "2 pixel"]:
        """Return Q and T2 of spectra ``pixel band``, computed in float64; NaN for an invalid one."""
        centred = (x - self.mean) * self.gain
        scores = centred @ self.rotations
        left = centred - scores @ self.loadings.T
        both = np.stack([(left**2).sum(axis=1), (scores**2 / self.variances).sum(axis=1)])
        return both.astype(np.float32)


def diagnose(
    out: str, scene: Scene, model: Model, residuals: PlsResiduals, *, client: Any, progress: Progress
) -> dict[str, Any]:
    """Write ``q`` and ``t2`` of every pixel of a scene into ``OUT.diagnostics``; resume what was interrupted."""
    url = f"{out.rstrip('/')}.diagnostics"
    with locked(url):
        product = _product(url, scene, model, residuals)
        missing = product.missing()
        progress.start("diagnostics", len(missing), "rows")
        counts: Counter[str] = Counter()
        if missing:
            write = partial(_write_row, scene, model.recipe, residuals, product)
            counts = reduce_blocks(missing, write, client=client, progress=progress)
        scene.check_unchanged()
        product.finish()
        progress.finish()
    limits = {"q_limit_95": residuals.q_limit, "t2_limit_95": residuals.t2_limit}
    return {"diagnostics": url, "diagnostics_rows_written": counts["rows"], **limits, **product.counts()}


def _product(url: str, scene: Scene, model: Model, residuals: PlsResiduals) -> Product:
    """Open the store of the diagnostics."""
    limits = {"q": residuals.q_limit, "t2": residuals.t2_limit}
    mapped = {} if scene.georef is None else {"grid_mapping": "spatial_ref"}
    plane = scene.shape[:2]
    specs = [
        ArraySpec(
            name=name,
            shape=plane,
            dtype="float32",
            dims=("y", "x"),
            chunks=(min(CHUNK, plane[0]), min(CHUNK, plane[1])),
            attrs={"long_name": MEANS[name], "limit_95": limit, **mapped},
            fill=float("nan"),
        )
        for name, limit in limits.items()
    ]
    return Product.open(
        url,
        specs,
        settings={"diagnostics": model.digest, "scene": scene.digest, "limits": limits},
        attrs={"title": "Q residuals and Hotelling's T2", "model_digest": model.digest},
        constants=constants(None, scene.georef, plane),
    )


def _write_row(scene: Scene, recipe: Recipe, residuals: PlsResiduals, product: Product, row: int) -> Counter[str]:
    """Write one row of objects; return the number of pixels beyond a limit."""
    y0, y1 = product.span(row)
    strip, room = Roi(y0=y0, y1=y1, x0=0, x1=scene.shape[1]), Buffers()
    values = np.empty((2, *strip.shape), np.float32)
    for block in blocks(scene, strip):
        spectra = scene.read(block.roi, room).reshape(-1, scene.shape[2])
        part = np.concatenate([residuals.of(piece) for piece in pieces(recipe.steps, spectra)], axis=1)
        rows = slice(block.roi.y0 - y0, block.roi.y1 - y0)
        values[:, rows, block.roi.x0 : block.roi.x1] = part.reshape(2, *block.roi.shape)
    q, t2 = values
    beyond = {
        "q_beyond_limit": int((q > residuals.q_limit).sum()),
        "t2_beyond_limit": int((t2 > residuals.t2_limit).sum()),
    }
    product.write(row, {"q": q, "t2": t2}, beyond)
    return Counter(rows=1)
