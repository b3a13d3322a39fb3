"""Infer: a model folder and a raw scene in, the blended prediction out."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tilespec.cluster import connect, run
from tilespec.errors import UserError
from tilespec.grid import Grid
from tilespec.ledger import Ledger, fingerprint
from tilespec.memory import Peak
from tilespec.model import Model
from tilespec.predict import Facts, PredictPlan, axes, describe, run_slab
from tilespec.predictor import ModelSpec
from tilespec.product import ArraySpec, Product
from tilespec.progress import Progress, Silent
from tilespec.scene import Scene, class_attrs, constants
from tilespec.tasks import task
from tilespec.types import UNLABELLED, Roi, SpectralAxis, TileClass

NUMERICS = 1
"""Raised when the bits of a prediction change for the same model and scene: part of the fingerprint."""
OBJECT = 256
"""Edge of a stored object of a prediction."""
TILE = 256
"""Default tile, where the model does not say what it was trained on; halved while its input exceeds `VALUES`."""
VALUES = 1 << 22
"""Input values of a default tile: many channels make small tiles, so that memory stays flat."""


def predict(  # noqa: PLR0913 - the options of a verb
    model: str,
    scene: str,
    out: str,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    window: str = "cosine",
    workers: int = 0,
    cluster: str | None = None,
    rows: str | None = None,
    cols: str | None = None,
    probabilities: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Predict ``scene`` with ``model`` into the store ``out``, blended; resume what was interrupted.

    Args:
        model: Model folder.
        scene: Scene store, raw or transformed by the model's own recipe.
        out: Prediction store: ``prediction(y, x)`` uint8 for classes, else ``prediction(y, x, channel)`` float32.
        tile: Output pixels of a tile; default: the patch the model was trained on.
        overlap: Output pixels that neighbours share; default: half a tile, 0 for exact nets.
        window: Blending window: cosine, linear, none.
        workers: Processes on this machine; 0 stays in this one.
        cluster: ``local``, the address of a scheduler, or a dotted path.
        rows: Region "A:B"; the product covers only the region, and says its origin.
        cols: Region "A:B".
        probabilities: Store ``probability(y, x, class)`` as well.
        dry_run: Return the plan, write nothing.
        progress: Where progress goes.

    Raises:
        UserError: bands or wavelengths differ from the model's, overlap >= tile, or other settings in ``out``.
    """
    opened, loaded = Scene.open(scene), Model.load(model)
    roi = Roi.of(opened.shape, rows, cols)
    prepared = _prepared(loaded, opened)
    grid = _grid(loaded, roi, tile, overlap, window)
    spec = ModelSpec(folder=model, digest=loaded.digest, prepared=prepared, probabilities=probabilities)
    settings = _settings(opened, loaded, roi, grid, probabilities)
    plan = PredictPlan(
        scene=scene,
        roi=roi,
        product=Product(
            url=out,
            height=grid.y.length,
            edge=min(OBJECT, grid.y.length),
            ledger=Ledger(folder=Path(f"{out.rstrip('/')}.tilespec"), key=fingerprint(settings)),
        ),
        grid=grid,
        spec=spec,
        threads=_threads(workers),
    )
    if dry_run:
        return describe(plan, loaded.channels, opened)
    _create(plan, opened, loaded, settings)
    return _execute(plan, workers, cluster, progress or Silent())


def _execute(plan: PredictPlan, workers: int, cluster: str | None, progress: Progress) -> dict[str, Any]:
    """Run the slabs that are missing, publish, and return what was counted."""
    total, missing = Facts(), plan.product.missing()
    started = time.monotonic()
    with connect(workers, cluster) as client, Peak() as peak:
        startup = time.monotonic() - started
        progress.start("predict", _tiles(plan, missing), "tiles")
        if client is None:
            for rows in plan.slabs(missing, 1):
                total.add(run_slab(plan, rows, progress))
        else:
            slabs = plan.slabs(missing, 2 * max(workers, 1))
            for facts in run(client, _slab, [(plan, rows) for rows in slabs]):
                total.add(facts)
                progress.advance(facts.tiles + facts.empty)
        progress.finish()
        plan.product.finish()
    result = {
        "tiles": total.tiles,
        "tiles_empty": total.empty,
        "tiles_planned": plan.grid.tiles,
        "rows_done": len(missing),
        "nodata": plan.product.counts().get("nodata", 0),
        "seconds": peak.seconds,
        "startup_seconds": startup,
        "network_seconds": total.network_seconds,
        "read_seconds": total.read_seconds,
        "bytes_read": total.bytes_read,
        "bytes_written": total.bytes_written,
        "peak_memory": peak.bytes,
        "fingerprint": plan.product.ledger.key,
        "workers": workers,
        "out": plan.product.url,
    }
    if missing:
        plan.product.ledger.note("predict", result)
    return result


def _slab(plan: PredictPlan, rows: list[int]) -> Facts:
    """Run one slab on a worker."""
    return run_slab(plan, rows, Silent())


def _tiles(plan: PredictPlan, missing: list[int]) -> int:
    """Return how many tile evaluations the missing rows need in this process."""
    spans = [(plan.product.span(s[0])[0], plan.product.span(s[-1])[1]) for s in plan.slabs(missing, 1)]
    return sum(len(plan.grid.y.covering(*span)) for span in spans) * plan.grid.x.count


def _threads(workers: int) -> int:
    """Return the threads of one task: all cores in this process, one for each worker."""
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(workers, 1))


def _prepared(model: Model, scene: Scene) -> bool:
    """Return whether the scene went through the model's recipe already; refuse one that does not fit."""
    digest = scene.attrs.get("recipe_digest")
    if digest is None:
        model.recipe.check(scene.shape[2], scene.spectral, scene.url)
        return False
    if digest != model.recipe.digest:
        raise UserError(
            scene.url,
            found=f"a scene transformed by recipe {digest}",
            expected=f"a raw scene, or one transformed by the model's own recipe {model.recipe.digest}",
            do="Give the raw scene: predict applies the recipe itself.",
        )
    return True


def _grid(model: Model, roi: Roi, tile: int | None, overlap: int | None, window: str) -> Grid:
    """Return the grid of a model on a region, with the model's defaults for what is not given."""
    reach: TileClass = model.module().tile_class  # type: ignore[assignment]
    side = tile if tile is not None else model.tile or _side(model.channels[0], reach.align)
    shared = overlap if overlap is not None else (side // 2 if reach.kind == "approximate" else 0)
    geometry = task(model.task).geometry
    plane = tuple(int((length - 2 * geometry.margin) * geometry.scale) for length in roi.shape)
    y, x = axes((plane[0], plane[1]), side, shared)
    reach = replace(reach, halo=reach.halo + geometry.margin)
    return Grid(y=y, x=x, window=window, scale=geometry.scale, origin=geometry.margin, reach=reach)


def _side(channels: int, align: int) -> int:
    """Return the default tile of a net that was not trained on patches."""
    side = TILE
    while side > TILE // 4 and side * side * channels > VALUES:
        side //= 2
    return -(-side // align) * align


def _settings(scene: Scene, model: Model, roi: Roi, grid: Grid, probabilities: bool) -> dict[str, Any]:
    """Return everything that decides the bytes of the prediction."""
    return {
        "verb": "predict",
        "scene": scene.digest or scene.content_digest(),
        "region": [roi.y0, roi.y1, roi.x0, roi.x1],
        "model": model.digest,
        "grid": grid.to_json(),
        "probabilities": probabilities,
        "numerics": NUMERICS,
    }


def _create(plan: PredictPlan, scene: Scene, model: Model, settings: Mapping[str, Any]) -> None:
    """Create the store, or open it to resume."""
    height, width = plan.grid.y.length, plan.grid.x.length
    channels, classes = model.channels[1], bool(model.classes)
    edge = (plan.product.edge, min(OBJECT, width))
    georef = _shifted(scene.georef, plan.roi)
    mapping = {} if georef is None else {"grid_mapping": "spatial_ref"}
    one = ArraySpec(
        name="prediction",
        shape=(height, width),
        dtype="uint8",
        dims=("y", "x"),
        chunks=edge,
        attrs={**class_attrs(model.classes), **mapping},
        fill=UNLABELLED,
    )
    many = replace(
        one,
        shape=(height, width, channels),
        dtype="float32",
        dims=("y", "x", "class" if classes else "band"),
        chunks=(*edge, channels),
        attrs=mapping,
        fill=float("nan"),
    )
    specs = [one if classes else many]
    if classes and plan.spec.probabilities:  # type: ignore[attr-defined]
        specs.append(replace(many, name="probability"))
    axis = None if classes else SpectralAxis(name="channel", unit="1", values=tuple(range(channels)))
    Product.open(
        plan.product.url,
        specs,
        settings=dict(settings),
        attrs=_attrs(plan, scene, model),
        constants=constants(axis, georef),
    )


def _attrs(plan: PredictPlan, scene: Scene, model: Model) -> dict[str, Any]:
    """Return the root attributes: nothing that varies between runs."""
    return {
        "title": f"Prediction of {Path(scene.url).name}",
        "tilespec_kind": "prediction",
        "origin": [plan.roi.y0, plan.roi.x0],
        "method": model.provenance.get("method", model.net["name"]),
        "model_digest": model.digest,
        "scene_digest": scene.digest,
        "train_regions": model.provenance.get("train_regions", []),
        "fingerprint": plan.product.ledger.key,
        "grid": plan.grid.to_json(),
    }


def _shifted(georef: Mapping[str, Any] | None, roi: Roi) -> dict[str, Any] | None:
    """Return the georeference of a region."""
    if georef is None or "GeoTransform" not in georef:
        return None if georef is None else dict(georef)
    a, b, c, d, e, f = (float(v) for v in str(georef["GeoTransform"]).split())
    moved = (a + b * roi.x0 + c * roi.y0, b, c, d + e * roi.x0 + f * roi.y0, e, f)
    return {**georef, "GeoTransform": " ".join(repr(v) for v in moved)}
