"""Reconstruction: spectra predicted from pictures are compared with the true ones, in one section for each truth."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tilespec.output.report import plots
from tilespec.output.report.inputs import FieldRun, Runs, name_of
from tilespec.output.report.maps import scored
from tilespec.output.report.metamer_pairs import of_metamers
from tilespec.output.report.page_parts import Key, PageTable, Picture, Row, Section
from tilespec.output.report.reconstructed import Reconstruction, ReconstructionSet, chosen, reconstruction_sets
from tilespec.output.report.scores import EXACT
from tilespec.output.report.state import completeness, failures

FIGURES: Final = (
    ("rmse", "RMSE", 4),
    ("rmse_pixel", "RMSE of pixels", 4),
    ("rmse_relative", "relative RMSE", 4),
    ("mrae", "MRAE", 4),
    ("gfc", "GFC", 5),
    ("sam", "SAM (°)", 3),
    ("delta_e", "ΔE00", 3),
    ("psnr", "PSNR (dB)", 4),
)
"""The keys of an evaluation, their titles and numbers of digits; a key that no method has is left out."""
METAMERS: Final = (
    "Different spectra may have one colour (metamers), and no method can tell them apart where texture does not. Good "
    "figures on one data set do not carry over to others, to other cameras or to other light."
)
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TRUTH: Final = "truth"


def of_reconstructions(runs: Runs, marked: Sequence[tuple[int, int]] = ()) -> list[Section]:
    """Return a section for each truth of reconstructed spectra.

    Args:
        runs: The inputs of the report.
        marked: The pixels of the scene (row, column) whose spectra are drawn in addition to those at quantiles of the
            error.
    """
    return [_section(one, marked) for one in reconstruction_sets(runs)]


def _section(reconstructions: ReconstructionSet, marked: Sequence[tuple[int, int]]) -> Section:
    """Return table, pictures, errors and spectra of reconstructions of one truth."""
    roi, name = reconstructions.roi, name_of(reconstructions.truth.url)
    named = {pixel: "" for pixel in marked if roi.y0 <= pixel[0] < roi.y1 and roi.x0 <= pixel[1] < roi.x1}
    shown = dict(list(({**chosen(reconstructions), **named}).items())[: len(LETTERS)])
    rows = [
        _pictures(reconstructions, list(shown)),
        *_errors(reconstructions),
        *_curves(reconstructions),
        *_spectra(reconstructions, shown),
        *of_metamers(reconstructions),
    ]
    scored = [one.run for one in reconstructions.reconstructions if one.run.scores is not None]
    every = "Every pixel" if reconstructions.stride == 1 else f"One pixel of {reconstructions.stride} in each direction"
    return Section(
        key=f"reconstruction-{name}",
        title=f"Reconstructed spectra: {name}",
        lead=f"{reconstructions.truth.channels} channels, {roi}. {every} is shown. {METAMERS}",
        tables=(_table(scored),) if scored else (),
        rows=tuple(rows),
        facts=tuple(fact for one in reconstructions.reconstructions for fact in failures(one.run)),
    )


def _table(runs: Sequence[FieldRun]) -> PageTable:
    """Return the figures of all methods, the smallest error first."""
    lines = sorted(((run, dict(run.scores or {})) for run in runs), key=lambda item: _number(item[1].get("rmse")))
    columns = [column for column in FIGURES if any(scores.get(column[0]) is not None for _, scores in lines)]
    seams = any(scores.get("seam_score") is not None for _, scores in lines)
    rows = tuple(
        (
            _named(run, scores),
            *(_digits(scores.get(key), digits) for key, _, digits in columns),
            *((_seam(run, scores),) if seams else ()),
        )
        for run, scores in lines
    )
    head = ("method", *(title for _, title, _ in columns), *(("seam score",) if seams else ()))
    return PageTable(head=head, rows=rows, best=(0,) if len(rows) > 1 else (), notes=_notes(lines))


def _named(run: FieldRun, scores: Mapping[str, Any]) -> str:
    """Return the name of a line of the table, with its warnings."""
    name = run.name if run.method == run.name else f"{run.name} ({run.method})"
    return name + " †" * bool(scores.get("overlaps_training")) + " ‡" * bool(completeness(run))


def _seam(run: FieldRun, scores: Mapping[str, Any]) -> str:
    """Return the seam score and, in brackets, the truth's; no figure if the net cannot make seams."""
    if (run.map.attrs.get("grid") or {}).get("kind") in EXACT:
        return "exact"
    score, truth = scores.get("seam_score"), scores.get("seam_score_truth")
    return _digits(score, 3) + ("" if score is None or truth is None else f" ({_digits(truth, 3)})")


def _notes(lines: Sequence[tuple[FieldRun, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Return notes for the comparison of the lines."""
    notes = ["All figures are our own, on this scene; none is quoted."]
    if any(scores.get("overlaps_training") for _, scores in lines):
        notes.append("† Scored on pixels that the model was trained on: not a test on other pixels.")
    notes += [f"‡ {run.name} is {completeness(run)}." for run, _ in lines if completeness(run)]
    if any(scores.get("overlaps_training", None) is None for _, scores in lines):
        notes.append("For some lines it is not known whether the model was trained on the scored pixels.")
    if len({repr([scores.get(key) for key in ("region", "peak", "mask", "floor")]) for _, scores in lines}) > 1:
        notes.append("Not all lines were measured on the same pixels and scale: evaluate them with equal options.")
    if any(scores.get("peak") for _, scores in lines):
        notes.append("Errors of lines that were evaluated with --peak are of a scale of 0 to 255.")
    notes += dict.fromkeys(f"{run.name}: {note}" for run, scores in lines for note in scores.get("notes", ()))
    return tuple(notes)


def _pictures(group: ReconstructionSet, marks: Sequence[tuple[int, int]]) -> Row:
    """Return the truth and the reconstructions in the same colours, stretched as the truth is."""
    limits = plots.limits(group.colours)
    at = {letter: _thinned(group, pixel) for letter, pixel in zip(LETTERS, marks, strict=False)}
    pictures = [Picture(source=plots.png(plots.between(group.colours, limits), at), title=TRUTH.title(), caption="")]
    pictures += [
        Picture(source=plots.png(plots.between(one.colours, limits)), title=one.run.name, caption="")
        for one in group.reconstructions
    ]
    note = f"{_channels(group)} as red, green and blue, all stretched from the 2nd to the 98th percentile of the truth"
    return Row(pictures=tuple(pictures), title="Side by side", note=note, columns=_columns(len(pictures)))


def _errors(reconstructions: ReconstructionSet) -> list[Row]:
    """Return the maps of errors on one scale, and the legend of the scale."""
    top = plots.top([one.errors for one in reconstructions.reconstructions])
    pictures = tuple(
        Picture(
            source=plots.sequential(one.errors, top), title=one.run.name, caption=_middle(one), frame=scored(one.run)
        )
        for one in reconstructions.reconstructions
    )
    framed = ". The frame is the region that was scored" if any(picture.frame for picture in pictures) else ""
    note = f"root mean square over the channels of a pixel, in the scene's unit; one scale for all{framed}"
    bar = Picture(source=plots.scale(top), title="", caption="From dark to bright; black: not known.", plot=True)
    return [
        Row(pictures=pictures, title="Errors", note=note, columns=_columns(len(pictures))),
        Row(pictures=(bar,), columns=1),
    ]


def _middle(one: Reconstruction) -> str:
    """Return the median error of a map, in a sentence."""
    finite = one.errors[np.isfinite(one.errors)]
    return f"Half of the pixels are below {float(np.median(finite)):.4g}." if finite.size else "Nothing to compare."


def _curves(reconstructions: ReconstructionSet) -> list[Row]:
    """Return the error of each channel for the evaluated methods."""
    curves = {
        one.run.name: np.array([np.nan if v is None else v for v in one.run.scores["channels"]["rmse"]], np.float64)
        for one in reconstructions.reconstructions
        if one.run.scores is not None and "channels" in one.run.scores
    }
    if not curves or reconstructions.truth.channels < 2:
        return []
    order = [one.run.name for one in reconstructions.reconstructions]
    colours = [_colour(order.index(name)) for name in curves]
    keys = tuple(Key.of(colour, name) for colour, name in zip(colours, curves, strict=True))
    plot = plots.lines(reconstructions.truth.axis, list(curves.values()), ylabel="RMSE", colours=colours)
    caption = "Root mean square error of each channel, over the pixels that were evaluated."
    return [
        Row(
            pictures=(Picture(source=plot, title="Errors by band", caption=caption, plot=True),), legend=keys, columns=1
        )
    ]


def _spectra(reconstructions: ReconstructionSet, shown: Mapping[tuple[int, int], str]) -> list[Row]:
    """Return true and predicted spectra of some pixels."""
    if not shown or reconstructions.truth.channels < 2:
        return []
    pictures = []
    for letter, ((y, x), text) in zip(LETTERS, shown.items(), strict=False):
        truth, *predicted = reconstructions.spectra(y, x)
        plot = plots.compared(reconstructions.truth.axis, truth, predicted)
        title = f"{letter}: row {y}, column {x}"
        pictures.append(Picture(source=plot, title=title, caption=text or "Chosen.", plot=True))
    keys = [
        Key.of(plots.INK, TRUTH),
        *(Key.of(_colour(i), one.run.name) for i, one in enumerate(reconstructions.reconstructions)),
    ]
    note = "pixels at quantiles of the methods' mean error, and the requested ones"
    return [Row(pictures=tuple(pictures), title="Spectra", note=note, legend=tuple(keys))]


def _thinned(reconstructions: ReconstructionSet, pixel: tuple[int, int]) -> tuple[int, int]:
    """Return the position of a pixel of the scene in the pictures."""
    return (pixel[0] - reconstructions.roi.y0) // reconstructions.stride, (
        pixel[1] - reconstructions.roi.x0
    ) // reconstructions.stride


def _channels(reconstructions: ReconstructionSet) -> str:
    """Return the channels that are shown."""
    axis = reconstructions.truth.axis
    if axis is None or axis.unit == "1":
        return "Channels " + ", ".join(str(band + 1) for band in reconstructions.bands)
    return ", ".join(f"{axis.values[band]:.0f}" for band in reconstructions.bands) + f" {axis.unit}"


def _columns(count: int) -> int:
    """Return the number of pictures in a line: at most four, and if possible without a single one in the last line."""
    return max(2, min(count, 4) if count != 5 else 3)


def _colour(index: int) -> str:
    return plots.COLOURS[index % len(plots.COLOURS)]


def _number(value: Any) -> float:
    return float("inf") if value is None else float(value)


def _digits(value: Any, digits: int) -> str:
    """Return a number with a given number of significant digits."""
    return "–" if value is None else f"{float(value):#.{digits}g}".rstrip(".")
