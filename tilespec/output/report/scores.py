"""Scores: the table of methods with published figures, and the confusion of each method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tilespec.output.report.inputs import PredictionRun, Runs
from tilespec.output.report.overview import simulated
from tilespec.output.report.page_parts import PageTable, Section
from tilespec.output.report.state import PER_TILE, completeness, looks_at_tiles

PUBLISHED = (
    ("NDVI > 0.69", "not reported"),
    ("PLS-DA, 6 latent variables", "0.77 ± 0.10"),
    ("pix2pix cGAN", "0.95 ± 0.04"),
)
"""The published IoU, mean ± std over 1000 patches of 512 x 512: Mishra and Herrmann, Chemometr. Intell. Lab. Syst. 215
(2021).
"""
HEAD = (
    "method",
    "IoU, patches of two classes",
    "seam score",
    "IoU, all patches",
    "IoU, region",
    "mean IoU",
    "OA",
    "AA",
    "kappa",
)
WORDS = (
    "OA is overall accuracy, the share of labelled pixels that are right; AA is average accuracy, the mean of the "
    "classes' recall; kappa is agreement beyond chance (Cohen 1960). AA and mean IoU are over the classes of the truth."
)
SEAMS = (
    "Seam score: how much more often classes change where tiles meet than elsewhere; 1 is seamless. In brackets the "
    "truth along the same lines, which is not 1 where the scene itself changes there. No score: one tile, or so few "
    "borders that any other lines would score as much. Exact: the method gives for a tile what it gives for the whole "
    "scene, so that only the scene itself changes at a border."
)
EXACT = ("exact", "pixelwise")
"""The kinds of nets that make no seams."""
CITATION = (
    "In grey: published by Mishra and Herrmann (Chemometrics and Intelligent Laboratory Systems 215, 2021, 104362) on "
    "their measured scene of 36 Arabidopsis plants, 3000 × 2796 × 186. That scene is not bundled, and none of our "
    "figures was measured on it; so the two differ in scene as well as in method."
)
PLANTS = ["background", "plant"]
"""The classes of the published figures."""
MANY = 8
"""The number of classes beyond which a confusion is coloured, with upright heads."""


def methods(runs: Runs) -> Section:
    """Return the table of methods, the best first, above the published figures."""
    scored = [(run, run.scores) for run in runs.predictions if run.scores is not None]
    if not scored:
        return Section(key="methods", title="Methods", lead="")
    scored.sort(key=lambda item: -_rank(item[1]))
    ours = tuple(_line(run, scores) for run, scores in scored)
    comparable = comparable_to_published(runs, [scores for _, scores in scored])
    theirs = tuple((name, figure, *("–",) * (len(HEAD) - 2)) for name, figure in PUBLISHED) if comparable else ()
    table = PageTable(
        head=HEAD,
        rows=(*ours, *theirs),
        muted=tuple(range(len(ours), len(ours) + len(theirs))),
        best=(0,) if len(ours) > 1 else (),
        notes=(WORDS, *_warnings(runs, scored), *([CITATION] if comparable else [])),
    )
    return Section(key="methods", title="Methods", lead=_protocol(runs, scored[0][1]), tables=(table,))


def comparable_to_published(runs: Runs, scores: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the published figures say anything here: of plants in pots, simulated as in that study."""
    simulations = bool(runs.scenes) and all(simulated(scene) for scene in runs.scenes)
    return simulations and all(list(line["classes"]) == PLANTS for line in scores)


def by_class(runs: Runs) -> Section:
    """Return the figures of each class, and its pixels by their predicted class, for each method."""
    scored = [(run, run.scores) for run in runs.predictions if run.scores is not None]
    tables = tuple(table for run, scores in scored for table in (_figures(run, scores), _confusion(scores)))
    lead = "The figures of each class, and the pixels of each true class (rows) by what was predicted (columns)."
    return Section(key="classes", title="Class by class", lead=lead, tables=tables)


def _rank(scores: Mapping[str, Any]) -> float:
    score = scores.get("iou_mean")
    return -1.0 if score is None else float(score)


def _line(run: PredictionRun, scores: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a method's line of the table."""
    name = run.name if run.method == run.name else f"{run.name} ({run.method})"
    flag = " †" * bool(scores.get("overlaps_training")) + " ‡" * bool(completeness(run))
    return (
        name + flag,
        spread(scores.get("iou_mean"), scores.get("iou_std")),
        seams(run, scores),
        spread(scores.get("iou_mean_all"), scores.get("iou_std_all")),
        *(digits(scores.get(key)) for key in ("scene_iou", "miou", "oa", "aa", "kappa")),
    )


def spread(mean: float | None, deviation: float | None) -> str:
    """Return ``mean ± deviation`` with three digits."""
    return "–" if mean is None or deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def seams(run: PredictionRun, scores: Mapping[str, Any]) -> str:
    """Return the seam score and, in brackets, that of the truth; no figure if the net cannot make seams."""
    if (run.map.attrs.get("grid") or {}).get("kind") in EXACT:
        return "exact"
    score, truth = scores.get("seam_score"), scores.get("seam_score_truth")
    if score is None:
        return "–"
    return f"{score:.2f}" if truth is None else f"{score:.2f} ({truth:.2f})"


def digits(value: float | None) -> str:
    """Return a share with three digits."""
    return "–" if value is None else f"{value:.3f}"


def _protocol(runs: Runs, scores: Mapping[str, Any]) -> str:
    """Return the protocol of the figures, and the scored region."""
    simulations = [simulated(scene) for scene in runs.scenes]
    where = (
        "a simulated scene"
        if simulations and all(simulations)
        else "the scene named below"
        if simulations
        else "the user's scene"
    )
    size = scores["patch_size"]
    return (
        f"Intersection over union, mean ± standard deviation over {scores['patches']} random {size} × {size} "
        f"patches, the same for every method (seed {scores['seed']}); measured on {where}. As published, patches "
        f"whose truth holds a single class are dropped and as many are drawn with replacement from the kept "
        f"{scores['kept']}; beside it, all patches, and the whole region without patches."
    )


def _warnings(runs: Runs, scored: Sequence[tuple[PredictionRun, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Return notes for the comparison of the lines."""
    notes = []
    if any(scores.get("overlaps_training") for _, scores in scored):
        notes.append("† Scored on pixels that the model was trained on: not a test on other pixels.")
    notes += [f"‡ {run.name} is {completeness(run)}." for run, _ in scored if completeness(run)]
    tiles = [run.name for run, _ in scored if looks_at_tiles(run, runs.models)]
    notes += [PER_TILE.replace("{names}", ", ".join(tiles))] if tiles else []
    notes += [SEAMS] if any(scores.get("seam_score") is not None for _, scores in scored) else []
    if any(scores.get("overlaps_training", None) is None for _, scores in scored):
        notes.append("For some lines it is not known whether the model was trained on the scored pixels.")
    keys = ("patches", "patch_size", "seed", "region")
    if len({repr([scores.get(key) for key in keys]) for _, scores in scored}) > 1:
        notes.append("Not all lines were measured on the same patches: evaluate them with equal options to compare.")
    return tuple(notes)


def _names(scores: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes of a confusion."""
    known, count = list(scores["classes"]), len(scores["confusion"])
    return [*known, *(str(i) for i in range(len(known), count))]


def _occurring(scores: Mapping[str, Any]) -> list[int]:
    """Return the classes that the truth or the prediction has."""
    matrix = np.asarray(scores["confusion"])
    there = matrix.sum(axis=1) + matrix.sum(axis=0)[: len(matrix)] > 0
    return [int(i) for i in np.flatnonzero(there)]


def _figures(run: PredictionRun, scores: Mapping[str, Any]) -> PageTable:
    """Return the figures of each class that occurs, with the pixels that it has."""
    names, matrix = _names(scores), scores["confusion"]
    keys = ("recall", "precision", "f1", "iou")
    rows = tuple(
        (names[i], _count(sum(matrix[i])), *(digits(scores[key][i]) for key in keys)) for i in _occurring(scores)
    )
    return PageTable(head=("true class", "pixels", "recall", "precision", "F1", "IoU"), rows=rows, title=run.name)


def _confusion(scores: Mapping[str, Any]) -> PageTable:
    """Return a method's confusion; that of many classes is shaded by the share of the true class."""
    names, matrix, shown = _names(scores), scores["confusion"], _occurring(scores)
    lost = any(line[-1] for line in matrix)
    columns = [*shown, *([len(matrix)] if lost else [])]
    wide = len(shown) > MANY
    rows = tuple((names[i], *(_count(matrix[i][j]) for j in columns)) for i in shown)
    heads = (*(f"as {names[i]}" for i in shown), *(("no prediction",) if lost else ()))
    shades = tuple((0.0, *(matrix[i][j] / max(sum(matrix[i]), 1) for j in columns)) for i in shown) if wide else ()
    return PageTable(head=("true class", *heads), rows=rows, shades=shades, upright=wide)


def _count(pixels: int) -> str:
    return f"{pixels:,}".replace(",", " ") if pixels else "0"
