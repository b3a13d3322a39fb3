"""Evaluate: metrics of a class map against labels, in one pass over both, kept beside the prediction.

Beside the task's own score stands the seam score (`tilespec.seams`, one more pass): a net with statistics of each tile
can blend to a seamless map while accuracy falls, and an accurate map can have seams, so neither is shown alone.

The published protocol (Mishra and Herrmann 2021) scores 1000 random patches of 512 x 512. Where they lie is a
pure function of the seed and the shape of the region, so that every method is scored on the same ones; their
counts come from `tilespec.metrics.PatchCounts`, without reading a pixel twice.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import zarr

from tilespec.errors import UserError
from tilespec.ledger import write_atomic
from tilespec.memory import Peak
from tilespec.metrics import Confusion, MapPair, PatchCounts, Patches
from tilespec.product import COMPLETE, WRITING
from tilespec.progress import Progress, Silent
from tilespec.scene import content_of, open_group
from tilespec.seams import seam_score
from tilespec.types import UNLABELLED, Roi

PIXELS = 1 << 22
"""About how many pixels are held at once."""


@final
@dataclass(frozen=True, kw_only=True)
class PlacedMap:
    """A class map that is stored, and where it lies in its scene."""

    url: str
    """Where the store is."""
    array: zarr.Array[Any]
    """``y, x``, class indices, 255 = unlabelled or nodata."""
    roi: Roi
    """The part of the scene that it covers."""
    classes: tuple[str, ...]
    """Names of the classes; may be empty."""
    attrs: Mapping[str, Any]
    """Root attributes of the store."""
    whole_scene: bool
    """Whether the store holds a cube too."""

    @classmethod
    def open(cls, url: str, *names: str) -> "PlacedMap":
        """Open the first array of ``names`` in the store at ``url`` as a class map.

        Raises:
            UserError: there is no such store or array, it is no class map, or it is still being written.
        """
        group = open_group(url)
        name = next((name for name in names if name in group), None)
        array = None if name is None else group[name]
        if not isinstance(array, zarr.Array) or array.ndim != 2 or array.dtype.kind not in "iu":
            raise UserError(
                url,
                found=f"arrays {sorted(group.array_keys())}",
                expected=f"a class map {names[0]}(y, x) of integers",
                do="Name a store that `tilespec predict` wrote, and a scene with labels.",
            )
        status = group.attrs.get("tilespec_status", COMPLETE)
        if status == WRITING:  # what is incomplete has ended: the parts that failed are nodata
            raise UserError(
                url,
                found=f"status {status!r}",
                expected=f"status {COMPLETE!r}",
                do="The run that writes it has not finished: run the same command again, it resumes.",
            )
        y0, x0 = (int(v) for v in group.attrs.get("origin", (0, 0)))
        roi = Roi(y0=y0, y1=y0 + array.shape[0], x0=x0, x1=x0 + array.shape[1])
        named = group.attrs.get("classes") or str(array.attrs.get("flag_meanings", "")).split()
        classes = tuple(str(value) for value in named)
        return cls(
            url=url,
            array=array,
            roi=roi,
            classes=classes,
            attrs=dict(group.attrs),
            whole_scene="cube" in group,
        )

    @property
    def status(self) -> str:
        """``complete``; or ``incomplete``, where tiles failed and are nodata."""
        return str(self.attrs.get("tilespec_status", COMPLETE))

    def read(self, roi: Roi) -> np.ndarray:
        """Return the classes of a region, given in pixels of the scene."""
        y, x = self.roi.y0, self.roi.x0
        return np.asarray(self.array[roi.y0 - y : roi.y1 - y, roi.x0 - x : roi.x1 - x])


def evaluate(  # noqa: PLR0913 - a verb has as many options as its command has flags
    pred: str,
    truth: str,
    *,
    patches: int = 1000,
    patch_size: int = 512,
    rows: str | None = None,
    cols: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the metrics of the class map ``pred`` against the labels ``truth``; keep them beside ``pred``.

    Pixels without a label count nowhere; labelled pixels that the prediction leaves as nodata count as errors. The
    keys ``seam_*`` are those of `tilespec.seams.seam_score`, None where there are no tiles or only one.
    ``rows`` and ``cols`` ("A:B", in pixels of the scene) restrict both; default is all that was predicted.

    Raises:
        UserError: the two lie on different planes, their classes differ, or a patch does not fit into the region.
    """
    predicted, true = PlacedMap.open(pred, "prediction"), PlacedMap.open(truth, "labels", "prediction")
    roi = _region(predicted, true, rows, cols)
    _check_patches(roi, patches, patch_size)
    plan = {**_plan(predicted, true, roi), "patches": patches, "patch_size": patch_size, "seed": seed}
    if dry_run:
        return {**plan, "pixels": roi.shape[0] * roi.shape[1], "dry_run": True}
    drawn = Patches.draw(roi.shape, count=patches, size=patch_size, seed=seed)
    with Peak() as peak:
        scores = _fold(predicted, true, roi, drawn, progress or Silent())
        rows, cols = f"{roi.y0}:{roi.y1}", f"{roi.x0}:{roi.x1}"
        seams = seam_score(pred, truth=truth, rows=rows, cols=cols, progress=progress)
    result = {**plan, **scores, **seams, "seconds": peak.seconds, "peak_memory": peak.bytes}
    _keep(pred, result)
    return result


def _plan(predicted: PlacedMap, true: PlacedMap, roi: Roi) -> dict[str, Any]:
    """Return what is scored against what, and whether the model has seen it."""
    return {
        "pred": predicted.url,
        "truth": true.url,
        "method": _method(predicted.attrs),
        "status": predicted.status,
        "classes": list(_classes(predicted, true)),
        "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]},
        "overlaps_training": _overlaps(predicted.attrs, content_of(true.attrs), roi),
    }


def _fold(predicted: PlacedMap, true: PlacedMap, roi: Roi, drawn: Patches, progress: Progress) -> dict[str, Any]:
    """Return all metrics of a region, from one pass over its strips."""
    classes = max(len(predicted.classes), len(true.classes), 2)
    confusion, counts, nodata = Confusion.zero(classes), PatchCounts.zero(drawn, classes), 0
    progress.start("evaluate", roi.shape[0], "rows")
    for strip in _strips(roi, int(predicted.array.chunks[0])):
        block = _pair(predicted, true, strip, classes)
        origin = strip.y0 - roi.y0, strip.x0 - roi.x0
        confusion, counts = confusion + confusion.of(block, origin), counts + counts.of(block, origin)
        nodata += int((block[1] == UNLABELLED).sum())
        progress.advance(strip.shape[0])
    progress.finish()
    whole, patch = confusion.finish(), counts.finish()
    scene_iou = whole["iou"][1] if classes == 2 else whole["miou"]
    matrix = confusion.counts.tolist()
    lost = {"nodata": nodata, "nodata_labelled": whole.pop("nodata")}
    return {**patch, "scene_iou": scene_iou, **whole, **lost, "confusion": matrix}


def _strips(roi: Roi, edge: int) -> Iterator[Roi]:
    """Cut a region into strips of whole rows of objects, about `PIXELS` each."""
    height = max(edge, PIXELS // roi.shape[1] // edge * edge)
    for y in range(roi.y0 // height * height, roi.y1, height):
        yield Roi(y0=max(y, roi.y0), y1=min(y + height, roi.y1), x0=roi.x0, x1=roi.x1)


def _pair(predicted: PlacedMap, true: PlacedMap, strip: Roi, classes: int) -> MapPair:
    """Return truth and prediction of a strip, checked to hold classes and 255 only."""
    planes = []
    for source in (true, predicted):
        plane = source.read(strip)
        wrong = (plane != UNLABELLED) & ((plane < 0) | (plane >= classes))
        if wrong.any():
            raise UserError(
                source.url,
                found=f"the value {int(plane[wrong][0])} in {strip}",
                expected=f"classes 0 to {classes - 1}, and {UNLABELLED} for none",
                do="Ingest the labels with --ignore-label, or predict with a model of the same classes.",
            )
        planes.append(plane.astype(np.uint8, copy=False))
    return np.stack(planes)


def _region(predicted: PlacedMap, true: PlacedMap, rows: str | None, cols: str | None) -> Roi:
    """Return the region to score: ``rows``, ``cols`` of the scene, or all that the prediction covers."""
    whole = predicted.roi
    part = "origin" in predicted.attrs and not _strangers(predicted, true)
    if not (_inside(whole, true.roi) if part else whole == true.roi):
        raise UserError(
            predicted.url,
            found=f"a prediction of {whole}",
            expected=f"one {'inside' if part else 'of'} {true.roi}, where the labels of {true.url} lie",
            do="Name the scene that was predicted.",
        )
    plane = (true.roi.y1, true.roi.x1)
    asked = Roi.of(plane, rows, cols)
    roi = Roi(
        y0=asked.y0 if rows else whole.y0,
        y1=asked.y1 if rows else whole.y1,
        x0=asked.x0 if cols else whole.x0,
        x1=asked.x1 if cols else whole.x1,
    )
    if not _inside(roi, whole):
        raise UserError(
            "region",
            found=str(roi),
            expected=f"a part of {whole}, what was predicted",
            do="Give other --rows, --cols.",
        )
    return roi


def _strangers(predicted: PlacedMap, true: PlacedMap) -> bool:
    """Whether the truth is a whole scene, and known not to be the one that was predicted."""
    ours, theirs = predicted.attrs.get("scene_digest"), content_of(true.attrs)
    return true.whole_scene and None not in (ours, theirs) and ours != theirs


def _inside(inner: Roi, outer: Roi) -> bool:
    """Whether ``inner`` is a part of ``outer``."""
    rows = outer.y0 <= inner.y0 and inner.y1 <= outer.y1
    return rows and outer.x0 <= inner.x0 and inner.x1 <= outer.x1


def _check_patches(roi: Roi, patches: int, size: int) -> None:
    """Refuse patches that do not fit, naming the largest that does."""
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


def _classes(predicted: PlacedMap, true: PlacedMap) -> tuple[str, ...]:
    """Return the names of the classes; refuse the same names in another order."""
    ours, theirs = predicted.classes, true.classes
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise UserError(
            predicted.url,
            found=f"classes {', '.join(ours)}",
            expected=f"the order of the labels: {', '.join(theirs)}",
            do="Ingest the labels again in the order of the model's classes.",
        )
    return theirs if len(theirs) >= len(ours) else ours


def _method(attrs: Mapping[str, Any]) -> str | None:
    """Return what made a prediction, by name, if it says so."""
    found = attrs.get("method") or attrs.get("net")
    name = found.get("name") if isinstance(found, Mapping) else found
    return None if name is None else str(name)


def _overlaps(attrs: Mapping[str, Any], digest: str | None, roi: Roi) -> bool | None:
    """Whether pixels of the region taught the model; None when nobody knows."""
    regions = attrs.get("train_regions")
    known = {digest, attrs.get("scene_digest")} - {None}
    if regions is None or not known:
        return None
    far = 1 << 62
    same = [region for region in regions if region.get("digest") in known]
    if any(roi.overlaps(Roi.of((far, far), _text(r.get("rows")), _text(r.get("cols")))) for r in same):
        return True
    return None if any(not region.get("digest") for region in regions) else False


def _text(span: Any) -> str | None:
    """Return a span of rows as "A:B", from text or from two numbers."""
    return span if span is None or isinstance(span, str) else f"{span[0]}:{span[1]}"


def _keep(pred: str, result: dict[str, Any]) -> None:
    """Write the result beside the prediction, for `report`."""
    folder = Path(f"{pred.rstrip('/')}.tilespec")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "evaluation.json", json.dumps(result, indent=1) + "\n")
