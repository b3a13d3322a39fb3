"""Numbers of samples: the means of a prediction of numbers over each sample, beside their references, as a table.

For each sample: ``id``, ``valid_pixels``, ``invalid_pixels``; for each quantity its mean, headed ``NAME [UNIT]``, so
that the table can be read as one of references, ``NAME_sd`` over pixels (ddof 1), ``NAME_lower`` and ``NAME_upper``
where the model has an interval of means, and ``NAME_reference`` and ``NAME_error`` with references.
"""

from fractions import Fraction
from functools import partial
from typing import Any, Final

import numpy as np
import zarr
from jaxtyping import Int64

from tilespec.baselines.pls.group_moments import Grouped
from tilespec.cluster.connect import connect
from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.evaluate.metrics.calibration import calibration_scores
from tilespec.output.measure.csv_table import as_csv
from tilespec.output.measure.options import MeasureOptions
from tilespec.storage.backends.base import StorePath
from tilespec.storage.files import write_atomic
from tilespec.storage.group import open_group
from tilespec.storage.layout import CHUNK
from tilespec.storage.ledger import sidecar
from tilespec.storage.outputs import check_file
from tilespec.storage.rasters import ValueRaster, scale_of
from tilespec.storage.references import References
from tilespec.storage.samples import Sample, SampleIndex, indices_of, samples_in
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import centres

Places = Int64[np.ndarray, " _"]

MARK: Final = b"id,valid_pixels,invalid_pixels"
"""The names of columns by which a table that this file wrote is known."""
SAMPLES: Final = "samples.csv"
"""The name of the table beside a prediction, for `report`."""


def is_of_numbers(pred: str) -> bool:
    """Return whether a store holds a prediction of numbers."""
    array = open_group(pred).get("prediction")
    return isinstance(array, zarr.Array) and array.ndim == 3


def measure_numbers(
    pred: str, scene: str, place: StorePath, options: MeasureOptions, progress: Progress
) -> dict[str, Any]:
    """Write the table of a prediction of numbers; return its figures, by quantity those of `calibration_scores`.

    Raises:
        UserError: the prediction is one of another scene, or no id of the references is a sample.
    """
    raster, source = ValueRaster.open(pred), Scene.open(scene)
    _check(raster, source, options)
    check_file(place, MARK, "a table")
    samples = samples_in([source], layer=options.by, mask=options.mask)
    names = [str(name) for name in raster.attrs.get("quantities", range(raster.channels))]
    references = None if options.references is None else _matching(options.references, names, samples)
    plan = {"pred": pred, "scene": scene, "out": str(place), "samples": len(samples), "quantities": names}
    if options.dry_run:
        return plan | {"notes": [], "dry_run": True}
    strips = _plane(raster).cut(CHUNK, raster.layer.shape[1])
    (index,) = indices_of(samples).values()
    with connect(options.workers, options.cluster) as client, Peak() as peak:
        progress.start("measure", len(strips), "strips")
        of = partial(_strip, pred, index)
        sums = reduce_blocks(strips, of, client=client, progress=progress)
        progress.finish()
    source.check_unchanged()
    table, scores = _table(samples, sums, raster, names, references)
    write_atomic(place, as_csv(table))
    notes = [] if references is None else _kept_for_report(pred, as_csv(table))
    facts = {"invalid_pixels": sums.invalid, "columns": len(table), "regressions": scores, "notes": notes}
    return plan | facts | {"seconds": peak.seconds, "peak_memory": peak.bytes}


def _kept_for_report(pred: str, table: str) -> list[str]:
    """Write the table beside the prediction, for `report`; return a note where nothing can be written."""
    folder = sidecar(pred)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / SAMPLES, table)
    except OSError as error:
        return [f"not kept for `report`: {folder / SAMPLES}: {error.strerror or error}"]
    return []


def _check(raster: ValueRaster, scene: Scene, options: MeasureOptions) -> None:
    """Refuse a prediction of another plane, and options for objects of classes."""
    plane, ends = raster.attrs.get("plane", scene.shape[:2]), [int(places[-1]) for places in scene_places(raster)]
    if tuple(plane) != scene.shape[:2] or any(end >= n for end, n in zip(ends, scene.shape, strict=False)):
        raise UserError(
            raster.url,
            found=f"a prediction of a scene of {' x '.join(map(str, plane))} pixels",
            expected=f"one of {scene.shape[0]} x {scene.shape[1]}, or of a part of it",
            do="Name the scene that was predicted.",
        )
    given = {"--polygons": options.polygons, "--regions": options.regions, "--picture": options.picture}
    wrong = [flag for flag, value in given.items() if value is not None]
    if wrong:
        raise UserError(
            wrong[0],
            found="a prediction of numbers",
            expected="samples by --by LAYER, or by --mask LAYER",
            do="Leave it out.",
        )


def _matching(path: str, names: list[str], samples: tuple[Sample, ...]) -> References:
    """Return the references of some of the quantities; refuse a table of other samples or quantities."""
    table = References.read(path)
    ids, known = {sample.id for sample in samples}, [name for name in names if name in table.quantities]
    if not known or not ids & set(table.samples):
        raise UserError(
            path,
            found=f"quantities {', '.join(table.quantities)} of samples {', '.join(table.samples[:5])}",
            expected=f"some of {', '.join(names)} of samples {', '.join(sorted(ids)[:5])}",
            do="Correct the header or the ids, or name the layer of samples with --by.",
        )
    return table.only(known)


def _plane(raster: ValueRaster) -> Roi:
    """Return the region of all pixels of a prediction, in its own pixels."""
    return Roi(y0=0, y1=raster.layer.shape[0], x0=0, x1=raster.layer.shape[1])


def scene_places(raster: ValueRaster) -> tuple[Places, Places]:
    """Return the row and the column of the scene at the centre of each row and column of a prediction."""
    margin, scale = int((raster.attrs.get("grid") or {}).get("origin", 0)), Fraction(scale_of(raster.attrs))
    y0, x0 = raster.attrs.get("origin", (0, 0))
    height, width = raster.layer.shape[:2]
    return centres(height, scale) + margin + y0, centres(width, scale) + margin + x0


def _strip(pred: str, index: SampleIndex, roi: Roi) -> Grouped:
    """Return the moments of each sample's numbers in a strip, and at ``-1 - place`` those of all its pixels.

    A pixel of a prediction at another scale belongs to the sample of the scene's pixel at its centre.
    """
    raster, zero = ValueRaster.open(pred), Grouped(scatter=True)
    rows, cols = (places[part] for places, part in zip(scene_places(raster), roi.slices, strict=True))
    around = Roi(y0=int(rows[0]), y1=int(rows[-1]) + 1, x0=int(cols[0]), x1=int(cols[-1]) + 1)
    plane = index.of(around)[np.ix_(rows - rows[0], cols - cols[0])]
    place = plane[plane >= 0]
    assert raster.scene is not None, "numbers have channels"
    numbers = zero.of((raster.scene.read(roi)[plane >= 0], place))
    return numbers + zero.of((np.ones((len(place), 1), np.float32), -1 - place))


def _table(
    samples: tuple[Sample, ...], sums: Grouped, raster: ValueRaster, names: list[str], references: References | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of the table, and the figures of each quantity."""
    groups, order = sums.finish(), np.argsort([sample.number or 0 for sample in samples], kind="stable")
    chosen = [samples[place] for place in order]
    own = [groups.get(place) for place in order.tolist()]
    table: dict[str, Any] = {
        "id": [sample.id for sample in chosen],
        "valid_pixels": [0 if group is None else group.n for group in own],
    }
    whole = [groups[-1 - place].n if -1 - place in groups else 0 for place in order.tolist()]
    table["invalid_pixels"] = [n - valid for n, valid in zip(whole, table["valid_pixels"], strict=True)]
    units, widths = (raster.attrs.get(key) or [None] * len(names) for key in ("units", "conformal_half_width"))
    scores = {}
    for q, (name, unit, half) in enumerate(zip(names, units, widths, strict=True)):
        mean = np.array([np.nan if group is None else group.mean[q] for group in own])
        spread = [np.nan if g is None or g.n < 2 else float(np.sqrt(g.scatter[q, q] / (g.n - 1))) for g in own]
        table |= {f"{name} [{unit}]" if unit else name: mean, f"{name}_sd": spread}
        if half is not None:
            table |= {f"{name}_lower": mean - half, f"{name}_upper": mean + half}
        if references is not None and name in references.quantities:
            column = references.values[:, references.quantities.index(name)]
            known = dict(zip(references.samples, column.tolist(), strict=True))
            truth = np.array([known.get(sample.id, np.nan) for sample in chosen])
            table |= {f"{name}_reference": truth, f"{name}_error": mean - truth}
            figures = calibration_scores(truth, mean)
            scores[name] = {"rmsep": figures["rmse"]} | {k: v if np.isfinite(v) else None for k, v in figures.items()}
    return table, scores
