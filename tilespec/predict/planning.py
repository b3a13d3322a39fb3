"""Planning: the plan of a prediction from a model, a scene and the options of the user."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from tilespec.cluster.connect import elsewhere
from tilespec.core.device import device_of, kind_of
from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.types import Roi
from tilespec.models.ensemble import Ensemble
from tilespec.models.tasks import task
from tilespec.models.tasks.base import generates
from tilespec.predict.averaged_models import AveragedSpec
from tilespec.predict.options import ProductOptions
from tilespec.predict.output_store import edge_of
from tilespec.predict.predictor import Averaging, ModelSpec
from tilespec.spectra.scale_check import check_encoding, check_scale
from tilespec.storage.backends.paths import absolute
from tilespec.storage.layout import height_of
from tilespec.storage.ledger import Ledger, sidecar
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import PredictPlan, axes, canonical_batch
from tilespec.tiling.windows import profile

NUMERICS = 3
"""The version of the arithmetic, part of the fingerprint; it is raised when bits of a prediction change."""
TILE = 256
"""The default tile in pixels for a model without trained patches, halved while its input exceeds `VALUES`."""
VALUES = 1 << 22
"""The largest number of input values of a default tile, so that many channels lead to small tiles."""
HALOS = 4
"""The smallest default tile of an exact net in halos, which are read and computed around each tile."""
PANEL_BYTES = 1 << 30
"""The largest bytes of buffers that grow with a panel's width; wider planes are divided into panels."""


def plan_of(
    models: Ensemble, scene: str, out: str, options: ProductOptions, threads: int
) -> tuple[PredictPlan, dict[str, Any]]:
    """Return the plan of a prediction and the settings that decide its bytes; no file is written.

    Args:
        models: The model that predicts, or several.
        scene: The URL of the scene.
        out: The URL of the prediction.
        options: The options of the user.
        threads: The number of threads of one task.

    Raises:
        UserError: bands or wavelengths differ from the model's, overlap >= tile, the region is outside the scene,
            or the net has no norms to freeze.
    """
    opened = Scene.open(scene)
    _check(models, options)
    roi = Roi.of(opened.shape, options.rows, options.cols)
    grid = grid_of(models, roi, options)
    device = device_of(options.device, elsewhere=elsewhere(getattr(options, "cluster", None)))
    settings = _settings(opened, models, roi, grid, options) | {"backend": f"torch {kind_of(device)}"}
    edge = edge_of(models.channels[1] if options.probabilities or not models.classes else 1, grid.x.length)
    url = absolute(out)
    product = Product(
        url=url,
        height=grid.y.length,
        edge=min(edge, grid.y.length),
        ledger=Ledger(folder=sidecar(url), key=fingerprint(settings)),
        width=grid.x.length,
        panel=_panel(grid, models.channels, edge),
    )
    plan = PredictPlan(
        scene=absolute(scene),
        roi=roi,
        product=product,
        grid=grid,
        spec=_spec(models, opened, roi, options, device),
        threads=threads,
        batch=canonical_batch(grid, models.channels),
        disagreement=options.disagreement,
    )
    return plan, settings


def _spec(
    models: Ensemble, scene: Scene, roi: Roi, options: ProductOptions, device: str | None
) -> ModelSpec | AveragedSpec:
    """Return the description of the predictor; refuse a scene on another scale than a model's."""
    specs = []
    for model, folder in zip(models.members, models.folders, strict=True):
        prepared = model.recipe.applied_to(scene)
        if not prepared:
            check_encoding(scene, decodes=model.recipe.decodes)
            check_scale(model.recipe.level, scene, roi)
        averaging = Averaging(flips=options.flips, samples=options.samples, spread=options.disagreement)
        specs.append(
            ModelSpec(
                folder=folder,
                digest=model.digest,
                channels=model.channels,
                classes=model.classes,
                prepared=prepared,
                probabilities=options.probabilities,
                precision=options.precision,
                averaging=averaging,
                device=device,
            )
        )
    if len(specs) == 1:
        return specs[0]
    places = [models.recipes[model.recipe.digest] for model in models.members]
    inputs = tuple((part.start, part.stop) for part in places)
    return AveragedSpec(members=tuple(specs), inputs=inputs, channels=models.channels)


def _check(models: Ensemble, options: ProductOptions) -> None:
    """Refuse a model that reads no scene, an unknown window, and options that have no meaning for a model."""
    profile(options.window, 1)  # a single tile needs none
    if generates(task(models.task)):
        raise UserError(
            ", ".join(models.folders),
            found="a generator of spectra, which reads random numbers",
            expected="a model that reads a scene",
            do="Draw spectra, or fill a label map, with `tilespec synth MODEL OUT`.",
        )
    if options.norm == "frozen" and not (models.norms and len(models.members) == 1):
        raise UserError(
            "--norm",
            found=f"frozen, for {', '.join(models.folders)}",
            expected="one net with norms over space, whose statistics of a tile are replaced",
            do="Leave --norm out.",
        )
    if options.probabilities and not models.classes:
        raise UserError(
            "--probabilities",
            found=f"a model that predicts {models.channels[1]} values for each pixel",
            expected="a model of classes",
            do="Leave it out: the values are the prediction.",
        )


def grid_of(models: Ensemble, roi: Roi, options: ProductOptions) -> Grid:
    """Return the grid of a model on a region, with the model's defaults for missing options."""
    reach = models.tile_class
    geometry = task(models.task).geometry
    side = _side(models, roi.shape, geometry.scale) if options.tile is None else options.tile
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
    alone = reach.kind != "approximate" and not reach.halo and reach.align * geometry.scale <= 1
    if alone and 1 in (models.tile, plane[1]):  # single spectra, or images, of which none needs another
        y, x = (replace(axis, tile=min(axis.tile, shared + axis.length)) for axis in (y, x))
    lost = geometry.margin if reach.margin is None else reach.margin
    reach = replace(reach, halo=reach.halo + lost)
    return Grid(y=y, x=x, window=options.window, scale=geometry.scale, origin=geometry.margin, reach=reach)


def _side(models: Ensemble, plane: tuple[int, int], scale: Fraction) -> int:
    """Return the default tile in output pixels.

    It is that of the training, unless that was a single one; of a table an object's height; else `TILE` input pixels.
    That of an exact net, whose answers do not depend on it, is doubled until it is wide beside the halo.
    """
    channels, align = models.channels[0], models.tile_class.align
    if models.tile is not None and models.tile > 1:
        side, reach = models.tile, models.tile_class
        wide = min(HALOS * (reach.halo + (reach.margin or 0)), *plane) if reach.kind == "exact" else 0
        while side < wide * scale and (2 * side / scale) ** 2 * channels <= VALUES:
            side *= 2
        return side
    if plane[1] == 1:
        return -(-height_of(plane) // align) * align
    side = TILE
    while side > TILE // 4 and side * side * channels > VALUES:
        side //= 2
    return max(1, int(-(-side // align) * align * scale))


def _panel(grid: Grid, channels: tuple[int, int], edge: int) -> int | None:
    """Return the width of a panel in pixels, None for a single panel; it does not depend on the machine."""
    first, last = grid.read(grid.y, 0)
    rows_in = 2 * (last - first) - grid.y.overlap / grid.scale  # a tile row and the new rows of the next one
    column = 4 * (rows_in * channels[0] / grid.scale + (grid.y.tile + 3 * edge) * channels[1])
    panels = -int(-(column * grid.x.length) // PANEL_BYTES)
    width = -(-grid.x.length // max(panels, 1))
    return None if panels <= 1 else -(-width // edge) * edge


def _settings(scene: Scene, models: Ensemble, roi: Roi, grid: Grid, options: ProductOptions) -> dict[str, Any]:
    """Return everything that decides the bytes of the prediction."""
    return {
        "verb": "predict",
        "scene": scene.digest,
        "region": [roi.y0, roi.y1, roi.x0, roi.x1],
        "model": models.digest,
        "grid": grid.to_json(),
        "probabilities": options.probabilities,
        "disagreement": options.disagreement,
        "flips": options.flips,
        "samples": options.samples,
        "norm": options.norm,
        "precision": options.precision,
        "numerics": NUMERICS,
    }
