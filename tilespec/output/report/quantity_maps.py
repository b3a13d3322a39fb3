"""Quantity maps: predicted maps of numbers, such as percent fat, on every n-th pixel, with the sums over all pixels."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.core.types import Roi
from tilespec.evaluate.metrics.variogram import LAGS, Variogram
from tilespec.output.measure.numbers_of_samples import SAMPLES, scene_places
from tilespec.output.report.inputs import FieldRun, Runs
from tilespec.output.report.overview import SIDE
from tilespec.storage.backends.paths import store_path
from tilespec.storage.group import open_group
from tilespec.storage.layer import Layer
from tilespec.storage.ledger import sidecar
from tilespec.storage.rasters import ValueRaster
from tilespec.storage.references import LIMITS
from tilespec.storage.scene import Scene
from tilespec.storage.selection import selected

EDGE: Final = 1024
"""The number of rows and columns of a map that are read at once."""
Plane = Float32[np.ndarray, "y x"]
Planes = Float32[np.ndarray, "y x quantity"]
Numbers = Float64[np.ndarray, " sample"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ReferencePairs:
    """The means of samples: measured by the laboratory, and predicted; NaN is unknown."""

    reference: Numbers
    """The reference numbers."""
    predicted: Numbers
    """The predicted means, of a regression those for which the sample was left out of the fit."""
    lower: Numbers
    """The lower ends of the intervals of the means."""
    upper: Numbers
    """The upper ends."""

    @property
    def rmse(self) -> float:
        """The root mean square error of the means; NaN without any."""
        errors = self.predicted - self.reference
        known = errors[np.isfinite(errors)]
        return float(np.sqrt(np.square(known).mean())) if len(known) else float("nan")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class QuantityMaps:
    """The maps of a prediction on every ``stride``-th pixel of its own plane; NaN is outside of samples or no data."""

    run: FieldRun
    """The prediction that is shown."""
    quantities: tuple[str, ...]
    """The names of the quantities."""
    units: tuple[str, ...]
    """Their units, empty where none is known."""
    stride: int
    """The distance in pixels between used pixels."""
    values: Planes
    """The predicted values."""
    widths: Planes | None
    """The widths of the intervals of pixels, if they were predicted."""
    truth: Mapping[str, Plane]
    """The hidden values of a simulated scene by quantity."""
    dmodx: Mapping[str, tuple[Plane, float]]
    """The distances from the model, and the limit for 95 % of usual spectra, by array."""
    sums: Variogram
    """The sums over all pixels."""
    means: Mapping[str, ReferencePairs]
    """The means of samples by quantity, if they are known."""

    def limits(self, quantity: int) -> tuple[float, float] | None:
        """Return the smallest and the largest possible value, if the unit says so."""
        return LIMITS.get(self.units[quantity])

    def figures(self, quantity: int) -> dict[str, float | None]:
        """Return mean, deviation and the figures of `Variogram` of one map."""
        sums = self.sums.channel(quantity)
        n, total, squares = sums.moments[:3, 0].tolist()
        mean = total / n if n else None
        sd = None if mean is None else float(np.sqrt(max(squares / n - mean**2, 0)))
        return {"mean": mean, "sd": sd, **sums.finish()}


def quantity_maps(run: FieldRun, runs: Runs, layer: str, side: int = SIDE) -> QuantityMaps:
    """Read the maps of a prediction once, block by block.

    Args:
        run: The prediction that is shown.
        runs: The inputs of the report. A scene among them that was predicted says which pixels belong to samples.
        layer: The name of its layer of samples: a mask, or ids, 0 for none.
        side: The largest number of pixels on the longer side of a map.
    """
    scene = next((one for one in runs.scenes if one.digest == run.map.attrs.get("scene_digest")), None)
    raster, height, width = run.map, *run.map.layer.shape[:2]
    stride = max(1, -(-max(height, width) // side))
    ends = [Layer.find(raster.url, name, dimensions=(3,)) for name in ("lower", "upper")]
    mask = Layer.find(scene.url, layer) if scene is not None else None
    sums, values = Variogram.zero(raster.channels), _empty(raster, stride)
    widths = None if None in ends else _empty(raster, stride)
    for block in Roi(y0=0, y1=height, x0=0, x1=width).cut(EDGE, EDGE):
        around = Roi(y0=block.y0, y1=min(block.y1 + LAGS, height), x0=block.x0, x1=min(block.x1 + LAGS, width))
        read = _within(raster.layer.read(around), raster, mask, around)
        sums = sums + sums.zero(raster.channels).of(np.stack([_padded(read, block)] * 2))
        own = read[: block.shape[0], : block.shape[1]]
        _thin(values, own, block, stride)
        if widths is not None:
            lower, upper = (one.read(block) for one in ends if one is not None)
            _thin(widths, np.where(np.isfinite(own), upper - lower, np.nan), block, stride)
    names = tuple(str(name) for name in raster.attrs.get("quantities", range(raster.channels)))
    return QuantityMaps(
        run=run,
        quantities=names,
        units=tuple(str(unit) for unit in raster.attrs.get("units") or [""] * len(names)),
        stride=stride,
        values=values,
        widths=widths,
        truth={} if scene is None else _truths(scene, names, side),
        dmodx=_dmodx(raster.url, mask, side),
        sums=sums,
        means=_means(raster.url, names),
    )


def _empty(raster: ValueRaster, stride: int) -> Planes:
    """Return the thinned planes of a map without values."""
    height, width = (-(-n // stride) for n in raster.layer.shape[:2])
    return np.full((height, width, raster.channels), np.nan, np.float32)


def _within(values: Planes, raster: ValueRaster, mask: Layer | None, roi: Roi) -> Planes:
    """Return values of a region of a map, NaN where the scene's pixel at their centre is outside of samples."""
    if mask is None:
        return values
    rows, cols = (places[part] for places, part in zip(scene_places(raster), roi.slices, strict=True))
    around = Roi(y0=int(rows[0]), y1=int(rows[-1]) + 1, x0=int(cols[0]), x1=int(cols[-1]) + 1)
    inside = selected(mask, around)[np.ix_(rows - rows[0], cols - cols[0])]
    return np.where(inside[..., None], values, np.float32(np.nan))


def _padded(values: Planes, block: Roi) -> Float32[np.ndarray, "y2 x2 quantity"]:
    """Return the values of a block with its halo, NaN beyond the plane."""
    height, width = (n + LAGS for n in block.shape)
    after = ((0, height - values.shape[0]), (0, width - values.shape[1]), (0, 0))
    return np.pad(values, after, constant_values=np.nan)


def _thin(planes: Planes, values: Float32[np.ndarray, "y2 x2 quantity"], block: Roi, stride: int) -> None:
    """Write every ``stride``-th pixel of a block into thinned planes."""
    part = values[-block.y0 % stride :: stride, -block.x0 % stride :: stride]
    y, x = (-(-start // stride) for start in (block.y0, block.x0))
    planes[y : y + part.shape[0], x : x + part.shape[1]] = part


def _plane(layer: Layer, mask: Layer | None, side: int) -> Plane:
    """Return every n-th pixel of a layer of a scene's size, NaN outside of a mask."""
    height, width = layer.shape
    stride = max(1, -(-max(height, width) // side))
    plane = np.full((-(-height // stride), -(-width // stride), 1), np.nan, np.float32)
    for block in Roi(y0=0, y1=height, x0=0, x1=width).cut(EDGE, EDGE):
        values = layer.read(block)
        inside = values if mask is None else np.where(selected(mask, block), values, np.nan)
        _thin(plane, inside[..., None], block, stride)
    return plane[..., 0]


def _truths(scene: Scene, names: Sequence[str], side: int) -> dict[str, Plane]:
    """Return the layers of a scene that are named as quantities."""
    layers = {name: Layer.find(scene.url, name) for name in names if name in scene.layers}
    return {
        name: _plane(layer, None, side)
        for name, layer in layers.items()
        if layer is not None and layer.dtype.kind == "f"
    }


def _dmodx(url: str, mask: Layer | None, side: int) -> dict[str, tuple[Plane, float]]:
    """Return the distances from the model that ``baseline --diagnostics`` wrote beside a prediction."""
    store = f"{url.rstrip('/')}.diagnostics"
    names = sorted(open_group(store).array_keys()) if (store_path(store) / "zarr.json").exists() else []
    layers = [Layer.open(store, name) for name in names if name.startswith("dmodx")]
    return {layer.name: (_plane(layer, mask, side), float(layer.attrs["limit_95"])) for layer in layers}


def _means(url: str, names: Sequence[str]) -> dict[str, ReferencePairs]:
    """Return the means of samples from the table of a regression, else from the one of ``measure --references``."""
    tables = (store_path(f"{url.rstrip('/')}.model"), sidecar(url))
    path = next((table / SAMPLES for table in tables if (table / SAMPLES).exists()), None)
    rows = [] if path is None else list(csv.DictReader(io.StringIO(path.read_text())))
    plain = [{re.sub(r" \[.*", "", key): cell for key, cell in row.items()} for row in rows]
    means = {}
    for name in names:
        known = [row for row in plain if row.get(f"{name}_reference")]
        predicted = [
            row.get(f"{name}_cross_validated") or row.get(f"{name}_predicted") or row.get(name) for row in known
        ]
        columns = [[row.get(f"{name}_{key}") for row in known] for key in ("reference", "lower", "upper")]
        reference, lower, upper, values = (
            np.array([float(cell or "nan") for cell in column]) for column in (*columns, predicted)
        )
        if known:
            means[name] = ReferencePairs(reference=reference, predicted=values, lower=lower, upper=upper)
    return means
