"""Planning: the plan of a prediction from a model, a scene and the options of the user."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.types import Roi, TileClass
from tilespec.models.model import Model
from tilespec.models.nets.norms import spatial_norms
from tilespec.models.probe.receptive_field import measured_class
from tilespec.models.tasks import task
from tilespec.predict.options import Asked
from tilespec.predict.output_store import edge_of
from tilespec.predict.predictor import Averaging, ModelSpec
from tilespec.spectra.scale_check import same_scale
from tilespec.storage.backends.paths import absolute
from tilespec.storage.ledger import Ledger, beside
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


def plan_of(model: str, scene: str, out: str, asked: Asked, threads: int) -> tuple[PredictPlan, dict[str, Any]]:
    """Return the plan of a prediction and the settings that decide its bytes. The function writes no file.

    Raises:
        UserError: bands or wavelengths differ from the model's, overlap >= tile, the region is outside the scene, or
            the net has no norms to freeze.
    """
    opened, loaded = Scene.open(scene), Model.load(model)
    if asked.norm == "frozen" and not spatial_norms(loaded.module()):
        raise UserError(
            "--norm",
            found=f"frozen, for {model}",
            expected="a net with norms over space; this one has no statistics of a tile to replace",
            do="Leave --norm out: its tiles do not depend on each other.",
        )
    if asked.probabilities and not loaded.classes:
        raise UserError(
            "--probabilities",
            found=f"a model that predicts {loaded.channels[1]} values for each pixel",
            expected="a model of classes",
            do="Leave it out: the values are the prediction.",
        )
    roi = Roi.of(opened.shape, asked.rows, asked.cols)
    averaging = Averaging(flips=asked.flips, samples=asked.samples, spread=asked.disagreement)
    spec = ModelSpec(
        folder=str(Path(model).absolute()),
        digest=loaded.digest,
        prepared=_prepared(loaded, opened, roi),
        probabilities=asked.probabilities,
        precision=asked.precision,
        averaging=averaging,
    )
    grid = grid_of(loaded, roi, asked)
    settings = _settings(opened, loaded, roi, grid, asked)
    edge = edge_of(loaded.channels[1] if asked.probabilities or not loaded.classes else 1)
    url = absolute(out)
    product = Product(
        url=url,
        height=grid.y.length,
        edge=min(edge, grid.y.length),
        ledger=Ledger(folder=beside(url), key=fingerprint(settings)),
        width=grid.x.length,
        panel=_panel(grid, loaded.channels, edge),
    )
    plan = PredictPlan(
        scene=absolute(scene),
        roi=roi,
        product=product,
        grid=grid,
        spec=spec,
        threads=threads,
        batch=canonical_batch(grid, loaded.channels),
        disagreement=asked.disagreement,
    )
    return plan, settings


def grid_of(model: Model, roi: Roi, asked: Asked) -> Grid:
    """Return the grid of a model on a region, with the model's defaults for missing options."""
    module = model.module()
    declared = getattr(module, "tile_class", None)  # users' nets may not say: then it is measured
    reach: TileClass = declared or measured_class(module, model.channels[0])
    side = asked.tile if asked.tile is not None else model.tile or _side(model.channels[0], reach.align)
    shared = asked.overlap if asked.overlap is not None else (side // 2 if reach.kind == "approximate" else 0)
    geometry = task(model.task).geometry
    plane = tuple(int((length - 2 * geometry.margin) * geometry.scale) for length in roi.shape)
    if min(plane) < 1:
        raise UserError(
            "region",
            found=f"{roi.shape[0]} x {roi.shape[1]} pixels",
            expected=f"more: output scale {geometry.scale}, margin {geometry.margin} leave no output pixel",
            do="Choose a larger region.",
        )
    y, x = axes((plane[0], plane[1]), side, shared)
    reach = replace(reach, halo=reach.halo + geometry.margin)
    return Grid(y=y, x=x, window=asked.window, scale=geometry.scale, origin=geometry.margin, reach=reach)


def _side(channels: int, align: int) -> int:
    """Return the default tile of a net that was not trained on patches."""
    side = TILE
    while side > TILE // 4 and side * side * channels > VALUES:
        side //= 2
    return -(-side // align) * align


def _panel(grid: Grid, channels: tuple[int, int], edge: int) -> int | None:
    """Return the width of a panel in pixels, None for a single panel; it does not depend on the machine."""
    first, last = grid.read(grid.y, 0)
    rows_in = 2 * (last - first) - grid.y.overlap / grid.scale  # a tile row and what the next one adds
    column = 4 * (rows_in * channels[0] / grid.scale + (grid.y.tile + 3 * edge) * channels[1])
    panels = -int(-(column * grid.x.length) // PANEL_BYTES)
    width = -(-grid.x.length // max(panels, 1))
    return None if panels <= 1 else -(-width // edge) * edge


def _prepared(model: Model, scene: Scene, roi: Roi) -> bool:
    """Return whether the scene was already transformed by the model's recipe; refuse a scene that does not fit."""
    digest = scene.attrs.get("recipe_digest")
    if digest is None:
        model.recipe.check(scene.shape[2], scene.spectral, scene.url)
        same_scale(model.recipe.level, scene, roi)
        return False
    if digest != model.recipe.digest:
        raise UserError(
            scene.url,
            found=f"a scene transformed by recipe {digest}",
            expected=f"a raw scene, or one transformed by the model's own recipe {model.recipe.digest}",
            do="Give the raw scene: predict applies the recipe itself.",
        )
    return True


def _settings(scene: Scene, model: Model, roi: Roi, grid: Grid, asked: Asked) -> dict[str, Any]:
    """Return everything that decides the bytes of the prediction."""
    return {
        "verb": "predict",
        "scene": scene.digest or scene.content_digest(),
        "region": [roi.y0, roi.y1, roi.x0, roi.x1],
        "model": model.digest,
        "grid": grid.to_json(),
        "probabilities": asked.probabilities,
        "disagreement": asked.disagreement,
        "flips": asked.flips,
        "samples": asked.samples,
        "norm": asked.norm,
        "precision": asked.precision,
        "backend": "torch cpu",
        "numerics": NUMERICS,
    }


def with_norms(plan: PredictPlan, file: Path) -> PredictPlan:
    """Return the plan with the scene's norm statistics."""
    assert isinstance(plan.spec, ModelSpec)
    return replace(plan, spec=replace(plan.spec, norms=str(file)))


def with_threads(plan: PredictPlan, threads: int, available: int) -> PredictPlan:
    """Return the plan with ``threads`` evaluating threads, which share the ``available`` cores."""
    assert isinstance(plan.spec, ModelSpec)
    spec = replace(plan.spec, intra=max(1, available // threads))
    return replace(plan, threads=threads, spec=spec)
