"""Planning: the plan of a prediction from a model, a scene and the options of the user."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.types import Roi
from tilespec.models.model import Model
from tilespec.models.nets import tile_class_of
from tilespec.models.nets.norms import spatial_norms
from tilespec.models.probe.receptive_field import measured_class
from tilespec.models.tasks import task
from tilespec.predict.options import ProductOptions
from tilespec.predict.output_store import edge_of
from tilespec.predict.predictor import Averaging, ModelSpec
from tilespec.spectra.scale_check import check_encoding, check_scale
from tilespec.storage.backends.paths import absolute
from tilespec.storage.ledger import Ledger, sidecar
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import PredictPlan, axes, canonical_batch

NUMERICS = 3
"""The version of the arithmetic, part of the fingerprint; it is raised when bits of a prediction change."""
TILE = 256
"""The default tile in pixels for a model without trained patches, halved while its input exceeds `VALUES`."""
VALUES = 1 << 22
"""The largest number of input values of a default tile, so that many channels lead to small tiles."""
PANEL_BYTES = 1 << 30
"""The largest bytes of buffers that grow with a panel's width; wider planes are divided into panels."""


def plan_of(
    model: Model, folder: str, scene: str, out: str, options: ProductOptions, threads: int
) -> tuple[PredictPlan, dict[str, Any]]:
    """Return the plan of a prediction and the settings that decide its bytes; no file is written.

    Args:
        model: The model that predicts.
        folder: The absolute path of the model's folder, from which workers load it.
        scene: The URL of the scene.
        out: The URL of the prediction.
        options: The options of the user.
        threads: The number of threads of one task.

    Raises:
        UserError: bands or wavelengths differ from the model's, overlap >= tile, the region is outside the scene,
            or the net has no norms to freeze.
    """
    opened = Scene.open(scene)
    _check(model, folder, options)
    roi = Roi.of(opened.shape, options.rows, options.cols)
    prepared = model.recipe.applied_to(opened)
    if not prepared:
        check_encoding(opened, decodes=model.recipe.decodes)
        check_scale(model.recipe.level, opened, roi)
    spec = ModelSpec(
        folder=str(Path(folder).absolute()),
        digest=model.digest,
        channels=model.channels,
        classes=model.classes,
        prepared=prepared,
        probabilities=options.probabilities,
        precision=options.precision,
        averaging=Averaging(flips=options.flips, samples=options.samples, spread=options.disagreement),
    )
    grid = grid_of(model, roi, options)
    settings = _settings(opened, model, roi, grid, options)
    edge = edge_of(model.channels[1] if options.probabilities or not model.classes else 1)
    url = absolute(out)
    product = Product(
        url=url,
        height=grid.y.length,
        edge=min(edge, grid.y.length),
        ledger=Ledger(folder=sidecar(url), key=fingerprint(settings)),
        width=grid.x.length,
        panel=_panel(grid, model.channels, edge),
    )
    plan = PredictPlan(
        scene=absolute(scene),
        roi=roi,
        product=product,
        grid=grid,
        spec=spec,
        threads=threads,
        batch=canonical_batch(grid, model.channels),
        disagreement=options.disagreement,
    )
    return plan, settings


def _check(model: Model, folder: str, options: ProductOptions) -> None:
    """Refuse options that have no meaning for a model."""
    if options.norm == "frozen" and not spatial_norms(model.outline):
        raise UserError(
            "--norm",
            found=f"frozen, for {folder}",
            expected="a net with norms over space; this one has no statistics of a tile to replace",
            do="Leave --norm out: its tiles do not depend on each other.",
        )
    if options.probabilities and not model.classes:
        raise UserError(
            "--probabilities",
            found=f"a model that predicts {model.channels[1]} values for each pixel",
            expected="a model of classes",
            do="Leave it out: the values are the prediction.",
        )


def grid_of(model: Model, roi: Roi, options: ProductOptions) -> Grid:
    """Return the grid of a model on a region, with the model's defaults for missing options."""
    reach = tile_class_of(model.outline) or measured_class(model.module(), model.channels[0])
    side = options.tile if options.tile is not None else model.tile or _side(model.channels[0], reach.align)
    geometry = task(model.task).geometry
    whole = geometry.scale.numerator  # tiles begin where input pixels do
    shared = options.overlap
    if shared is None:
        shared = side // 2 // whole * whole if reach.kind == "approximate" else 0
    plane = geometry.plane(roi.shape)
    if min(plane) < 1:
        raise UserError(
            "region",
            found=f"{roi.shape[0]} x {roi.shape[1]} pixels",
            expected=f"more: output scale {geometry.scale}, margin {geometry.margin} leave no output pixel",
            do="Choose a larger region.",
        )
    y, x = axes(plane, side, shared)
    reach = replace(reach, halo=reach.halo + geometry.margin)
    return Grid(y=y, x=x, window=options.window, scale=geometry.scale, origin=geometry.margin, reach=reach)


def _side(channels: int, align: int) -> int:
    """Return the default tile of a net that was not trained on patches."""
    side = TILE
    while side > TILE // 4 and side * side * channels > VALUES:
        side //= 2
    return -(-side // align) * align


def _panel(grid: Grid, channels: tuple[int, int], edge: int) -> int | None:
    """Return the width of a panel in pixels, None for a single panel; it does not depend on the machine."""
    first, last = grid.read(grid.y, 0)
    rows_in = 2 * (last - first) - grid.y.overlap / grid.scale  # a tile row and the new rows of the next one
    column = 4 * (rows_in * channels[0] / grid.scale + (grid.y.tile + 3 * edge) * channels[1])
    panels = -int(-(column * grid.x.length) // PANEL_BYTES)
    width = -(-grid.x.length // max(panels, 1))
    return None if panels <= 1 else -(-width // edge) * edge


def _settings(scene: Scene, model: Model, roi: Roi, grid: Grid, options: ProductOptions) -> dict[str, Any]:
    """Return everything that decides the bytes of the prediction."""
    return {
        "verb": "predict",
        "scene": scene.digest,
        "region": [roi.y0, roi.y1, roi.x0, roi.x1],
        "model": model.digest,
        "grid": grid.to_json(),
        "probabilities": options.probabilities,
        "disagreement": options.disagreement,
        "flips": options.flips,
        "samples": options.samples,
        "norm": options.norm,
        "precision": options.precision,
        "backend": "torch cpu",
        "numerics": NUMERICS,
    }
