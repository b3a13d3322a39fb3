"""Evaluate: metrics of a prediction against its truth, in one pass over both, stored beside the prediction.

Classes are counted and channels are subtracted, whatever the task. The metrics that a task from outside tilespec
brings are computed beside; those of tilespec's own tasks are all in `tilespec.evaluate.metrics.table`.

The seam score (`tilespec.evaluate.seams`, one more pass) is reported together with the task's own score: a net with
statistics of each tile can blend to a seamless map while accuracy falls, and an accurate map can have seams.

The published protocol (Mishra and Herrmann 2021) scores 1000 random patches of 512 x 512. Their positions are a pure
function of the seed and the shape of the region, so that every method is scored on the same ones; their sums come from
summed-area tables, without reading a pixel twice.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, final

import zarr

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.device import device_of
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import plugins
from tilespec.core.types import Roi
from tilespec.evaluate.bootstrap import BlockStatistics
from tilespec.evaluate.channels import channels_case
from tilespec.evaluate.class_maps import classes_case
from tilespec.evaluate.comparison import Comparison, Excluded, JoinedStatistics, metrics_of
from tilespec.evaluate.intervals import check_blocks, over_blocks
from tilespec.evaluate.metrics.base import Metric
from tilespec.evaluate.metrics.confusion import Patches
from tilespec.evaluate.metrics.table import METRICS
from tilespec.evaluate.options import EvaluateOptions
from tilespec.evaluate.seams import NOTHING, seam_score
from tilespec.evaluate.synthetic_spectra import evaluate_spectra
from tilespec.storage.files import write_atomic
from tilespec.storage.group import open_group
from tilespec.storage.ledger import sidecar
from tilespec.storage.spectra_table import is_spectra_table

__all__ = ["evaluate"]

NONE_LEFT: Final = Excluded()
PUBLISHED: Final = 512
"""The side of a patch in pixels, as published by Mishra and Herrmann (2021)."""
Kind = Literal["classes", "field"]
CASES: Final[dict[Kind, Callable[..., Comparison]]] = {"classes": classes_case, "field": channels_case}
"""How a prediction is compared, by the kind of truth that its task has."""
UNNAMED: Final[dict[Kind, str]] = {"classes": "segment", "field": "reconstruct"}
"""The task of a store that names none."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredBlocks:
    """All statistics of an evaluation, and the pixels that it leaves out."""

    statistics: JoinedStatistics
    """The statistics over the same blocks."""
    excluded: Excluded = NONE_LEFT
    """The counts of pixels that were left out."""

    def __add__(self, other: "ScoredBlocks") -> "ScoredBlocks":
        return ScoredBlocks(statistics=self.statistics + other.statistics, excluded=self.excluded + other.excluded)


@with_options(EvaluateOptions)
def evaluate(pred: str, truth: str, options: EvaluateOptions, progress: Progress) -> dict[str, Any]:
    """Return the metrics of the prediction ``pred`` against ``truth``; keep them beside ``pred``.

    Classes: those of one name are compared (`tilespec.evaluate.class_names`), clusters by their best assignment
    (`tilespec.evaluate.clusters`). Pixels without a label count nowhere; labelled pixels that the prediction leaves as
    nodata count as errors (`tilespec.evaluate.metrics.confusion`).

    Channels: RMSE, MAE, bias, R2, PSNR and spectral angle, of all and of each channel
    (`tilespec.evaluate.metrics.channel_errors`); ``pixels``, ``rmse_pixel``, ``rmse_relative``,
    ``rmse_relative_mean``, ``gfc``, ``mrae`` and more of the spectra of pixels
    (`tilespec.evaluate.metrics.spectral_errors`); ``delta_e``, their colour difference CIEDE2000, where the wavelengths
    cover the visible range (`tilespec.evaluate.colours`); ``psnr_peak`` over ``peak``; of maps of quantities, which
    have no spectral axis, ``spatially_correlated_variance``, ``correlated_variance_bound`` and ``out_of_range``
    (`tilespec.evaluate.metrics.variogram`). ``docs/evaluate.md`` says what each is, and what is left out of it. The
    keys ``seam_*`` are those of `tilespec.evaluate.seams.seam_score`, None where there are no tiles or only one.

    A table of synthetic spectra is compared with the labelled spectra of a scene
    (`tilespec.evaluate.synthetic_spectra.evaluate_spectra`).

    Args:
        pred: Prediction of classes, of channels or of one quantity; a scene's cube is channels too; or a table that
            `synth` wrote.
        truth: Scene with labels, or with a cube of the same channels; or another prediction.
        options: How they are compared; given by name.
        progress: Where progress is shown.

    Raises:
        UserError: the two lie on different planes or are of different scenes, their classes or channels differ, or a
            patch or enough blocks do not fit into the region.
    """
    if is_spectra_table(pred) and not is_spectra_table(truth):
        compared = evaluate_spectra(pred, truth, options, progress)
        return compared if options.dry_run else _stored_beside(pred, compared)
    kind, task = _kind(pred)
    own, notes = _own(task)
    case = CASES[kind](pred, truth, options.layer, options.rows, options.cols, options)
    case = case.adding(dict.fromkeys([*(one for one in METRICS.values() if one.truth in (kind, None)), *own])).on(
        device_of(options.device)
    )
    side = min(PUBLISHED, *case.roi.shape) if options.patch_size is None else options.patch_size
    _check_patches(case.roi, options.patches, side)
    check_blocks(case.roi, bootstrap=options.bootstrap, folds=options.blocks, size=options.block_size)
    plan = {**case.plan, "task": task, "patches": options.patches, "patch_size": side, "seed": options.seed}
    if options.dry_run:
        return {**plan, "pixels": case.roi.shape[0] * case.roi.shape[1], "dry_run": True}
    drawn = Patches.draw(case.roi.shape, count=options.patches, size=side, seed=options.seed)
    split = options.block_size if options.bootstrap or options.blocks else None
    with Peak() as used:
        case = case if case.prepared is None else case.prepared(case, progress)
        folds, patch, figures = _statistics(case, case.patches(drawn), split, progress)
        scores = case.result(folds, patch)
        if figures is not None:
            over = over_blocks(case, figures, bootstrap=options.bootstrap, folds=options.blocks, seed=options.seed)
            scores |= {**over, "notes": [*scores.get("notes", []), *over["notes"]]}
        if notes:
            scores |= {"notes": [*scores.get("notes", []), *notes]}
        seams = _seams(pred, truth, case.roi, progress)
    result = {**plan, **scores, **seams, "seconds": used.seconds, "peak_memory": used.bytes}
    return _stored_beside(pred, result)


def _kind(pred: str) -> tuple[Kind, str]:
    """Return what a store holds, and the task that predicted it: as it says, else by what it holds."""
    group = open_group(pred)
    named, array = group.attrs.get("task"), group.get("prediction")
    channels = isinstance(array, zarr.Array) and (array.ndim == 3 or array.dtype.kind == "f")
    kind: Kind = "field" if channels or (array is None and "cube" in group) else "classes"
    return kind, str((named.get("name") if isinstance(named, dict) else named) or UNNAMED[kind])


def _own(task: str) -> tuple[tuple[Metric, ...], list[str]]:
    """Return the metrics of a task from outside tilespec, a dotted path or a plug-in; or none, and why."""
    if ":" not in task and task not in plugins("task"):
        return (), []
    try:
        return metrics_of(task), []
    except UserError as error:
        return (), [f"without the metrics of its task: {error}"]


def _statistics(
    case: Comparison, patches: Any, split: int | None, progress: Progress
) -> tuple[tuple[Any, ...], dict[str, Any], BlockStatistics | None]:
    """Return the statistics, the figures of patches and counts, and the score of each block if requested."""
    first, *others = case.statistics
    if split is not None:
        first = BlockStatistics(zero=first, size=split, corner=(case.roi.y0, case.roi.x0))
    zero = JoinedStatistics(parts=(first, patches, *others))
    progress.start("evaluate", len(case.pieces), "blocks")
    done: ScoredBlocks = reduce_blocks(case.pieces, partial(_contribution, case, zero), progress=progress)
    progress.finish()
    score, patch, *rest = done.statistics.parts
    figures = patch.finish() | done.excluded.plain()
    if not isinstance(score, BlockStatistics):
        return (score, *rest), figures, None
    return (score.total(), *rest), figures, score


def _contribution(case: Comparison, zero: JoinedStatistics, piece: Roi) -> ScoredBlocks:
    """Return the contribution of one piece."""
    statistics, left = case.contribution(zero, piece)
    return ScoredBlocks(statistics=statistics, excluded=left)


def _seams(pred: str, truth: str, roi: Roi, progress: Progress) -> dict[str, Any]:
    """Return the seam scores; a scene has none, because it was not predicted in tiles."""
    if "prediction" not in open_group(pred):
        return {**NOTHING, "seam_note": "no seam score: not tiled"}
    rows, cols = f"{roi.y0}:{roi.y1}", f"{roi.x0}:{roi.x1}"
    return seam_score(pred, truth=truth, rows=rows, cols=cols, progress=progress)


def _check_patches(roi: Roi, patches: int, size: int) -> None:
    """Refuse patches that are larger than the region, and name the largest possible size."""
    largest = min(roi.shape)
    if not 1 <= size <= largest:
        raise UserError(
            "--patch-size",
            found=f"{size} for a region of {roi.shape[0]} x {roi.shape[1]} pixels",
            expected=f"1 to {largest}",
            do=f"Give --patch-size {largest} or less, or a larger region.",
        )
    if patches < 1:
        raise UserError("--patches", found=patches, expected="1 or more", do="The published number is 1000.")


def _stored_beside(pred: str, result: dict[str, Any]) -> dict[str, Any]:
    """Write the result beside the prediction, for `report`; return it, with a note where nothing can be written."""
    folder = sidecar(pred)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "evaluation.json", json.dumps(result, indent=1) + "\n")
    except OSError as error:
        note = f"not kept for `report`: {folder / 'evaluation.json'}: {error.strerror or error}"
        return result | {"notes": [*result.get("notes", []), note]}
    return result
