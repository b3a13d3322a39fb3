"""Output store: the arrays and attributes of a prediction's store."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from tilespec.core.types import UNLABELLED, Roi, SpectralAxis
from tilespec.models.ensemble import Ensemble
from tilespec.models.tasks import task
from tilespec.models.tasks.base import stored_arrays
from tilespec.storage.backends.paths import free_bytes
from tilespec.storage.layout import TABLE, ArraySpec, class_attrs, constants
from tilespec.storage.product import Product
from tilespec.storage.rasters import shift_georeference
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import PredictPlan

OBJECTS = (256, 128, 64, 32)
"""The edges of a stored object in pixels; the first one is used whose object stays below `OBJECT_BYTES`."""
OBJECT_BYTES = 16 << 20
"""The largest object in bytes: a new array above 32 MB causes page faults each time, and viewers read it slowly."""

INTERVALS = ("interval_level", "conformal_half_width")
"""What a product says of its intervals, where the model knows it."""


def edge_of(channels: int, width: int) -> int:
    """Return the edge in pixels of a stored object with ``channels`` float32 channels, from the output alone.

    A plane one pixel wide, a table of spectra, has objects that are as high as those of a table.
    """
    if width == 1:
        return TABLE
    return next((edge for edge in OBJECTS if 4 * edge * edge * channels <= OBJECT_BYTES), OBJECTS[-1])


def space_needed(plan: PredictPlan, *, probabilities: bool) -> dict[str, int]:
    """Return the bytes of a product before encoding, and the free bytes at its location."""
    channels = plan.spec.channels[1]
    pixel = (1 + 4 * channels * probabilities) if plan.spec.classes else 4 * channels
    size = plan.grid.y.length * plan.grid.x.length * (pixel + 4 * plan.disagreement)
    return {"bytes_to_write": size, "bytes_free": free_bytes(plan.product.url)}


def create(plan: PredictPlan, models: Ensemble, settings: Mapping[str, Any], *, probabilities: bool) -> None:
    """Create the store of a plan, or open it to resume."""
    scene = Scene.open(plan.scene)
    georef = moved_to(scene.georef, plan.roi, plan.grid)
    width = models.channels[1] // len(_names(models))
    channels = SpectralAxis(name="channel", unit="1", values=tuple(range(width)))
    axis = None if models.classes else models.spectral_out or channels
    Product.open(
        plan.product.url,
        _arrays(plan, models, mapped=georef is not None, probabilities=probabilities),
        settings=dict(settings),
        attrs=_attrs(plan, scene, models, str(settings["norm"])),
        constants=constants(axis, georef, (plan.grid.y.length, plan.grid.x.length)),
        panel=plan.product.panel,
        table=scene.table,
    )


def _arrays(plan: PredictPlan, models: Ensemble, *, mapped: bool, probabilities: bool) -> list[ArraySpec]:
    """Return the stored arrays: classes, or channels; probabilities and disagreement if requested."""
    plane = (plan.grid.y.length, plan.grid.x.length)
    wide = edge_of(models.channels[1] if probabilities or not models.classes else 1, plane[1])
    edge = (plan.product.edge, min(wide, plane[1]))
    attrs = {"grid_mapping": "spatial_ref"} if mapped else {}
    one = ArraySpec(
        name="prediction",
        shape=plane,
        dtype="uint8",
        dims=("y", "x"),
        chunks=edge,
        attrs={**class_attrs(models.classes), **attrs},
        fill=UNLABELLED,
    )
    real = replace(one, dtype="float32", attrs=attrs, fill=float("nan"))
    last = "class" if models.classes else "band"
    width = models.channels[1] // len(_names(models))
    many = replace(real, shape=(*plane, width), dims=("y", "x", last), chunks=(*edge, width))
    specs = [one] if models.classes else [replace(many, name=name) for name in _names(models)]
    if models.classes and probabilities:
        specs.append(replace(many, name="probability"))
    if plan.disagreement:
        text = "standard deviation between the tiles that cover a pixel, root mean square over channels"
        specs.append(replace(real, name="disagreement", attrs={**attrs, "long_name": text}))
    return specs


def _names(models: Ensemble) -> tuple[str, ...]:
    """Return the names of the stored arrays of values."""
    return stored_arrays(task(models.task))


def _quantities(models: Ensemble) -> dict[str, Any]:
    """Return what is known of the channels of a prediction of numbers: of several models what all have in common."""
    of_task = {key: list(models.task[key]) for key in ("quantities", "units") if key in models.task}
    provenance = models.first.provenance if len(models.members) == 1 else {}
    return of_task | {key: provenance[key] for key in INTERVALS if key in provenance}


def _attrs(plan: PredictPlan, scene: Scene, models: Ensemble, norm: str) -> dict[str, Any]:
    """Return the root attributes, which do not differ between runs."""
    return {
        "title": f"Prediction of {Path(scene.url).name}",
        "tilespec_kind": "prediction",
        "origin": [plan.roi.y0, plan.roi.x0],
        "plane": list(scene.shape[:2]),
        "method": models.method,
        "task": models.task["name"],
        **{key: models.task[key] for key in ("quantities", "units") if key in models.task},
        "model_digest": models.digest,
        "scene_digest": scene.digest,
        "train_regions": models.train_regions,
        "norm": norm,
        "spatial_norms": list(models.norms),
        "fingerprint": plan.product.ledger.key,
        "grid": plan.grid.to_json(),
        **_quantities(models),
    }


def moved_to(georef: Mapping[str, Any] | None, roi: Roi, grid: Grid) -> dict[str, Any] | None:
    """Return the georeference of the output plane, shifted to the region and its margin, with scaled pixels."""
    return shift_georeference(georef, (roi.y0 + grid.origin, roi.x0 + grid.origin), float(1 / Fraction(grid.scale)))
