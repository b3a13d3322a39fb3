"""Synthetic spectra against real ones: means and spreads of classes, a linear SVM in four ways, nearest neighbours.

The protocol of Audebert, Le Saux and Lefevre (IGARSS 2018): spectra of a generator are as good as real ones if a
classifier that learned from either does as well on both. Their own figures show what a test of accuracy alone does not:
spreads within classes are too small, a partial collapse of modes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress
from tilespec.core.types import UNLABELLED, Roi
from tilespec.evaluate.options import EvaluateOptions
from tilespec.spectra.bands import Bands, same_bands
from tilespec.storage.blocks import GROUP, Block, blocks
from tilespec.storage.scene import Scene
from tilespec.storage.spectra_table import SpectraTable

MOST: Final = 500
"""The largest number of spectra of a class that are compared, of each kind."""
COLLAPSED: Final = 0.5
"""The ratio of synthetic to real deviations below which a class counts as collapsed."""
COPY: Final = 0.05
"""The share of the usual distance to the nearest neighbour below which a synthetic spectrum counts as a copy."""
PENALTY: Final = 1000.0
"""The penalty C of the linear SVM, as in the authors' code."""

Spectra = Float32[np.ndarray, "_spectrum _band"]
Labels = Int64[np.ndarray, " _spectrum"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Some spectra of each class of a scene: those of the smallest random numbers; a statistic of blocks."""

    most: int
    """The largest number of spectra of a class."""
    classes: Mapping[int, tuple[Float64[np.ndarray, " _"], Spectra]] = field(default_factory=dict)
    """The random numbers and the spectra of each class, in the order of the numbers."""

    def __add__(self, other: "Drawn") -> "Drawn":
        joined = dict(self.classes)
        for number, own in other.classes.items():
            parts = [joined[number], own] if number in joined else [own]
            keys, spectra = (np.concatenate(each) for each in zip(*parts, strict=True))
            order = np.argsort(keys, kind="stable")[: self.most]
            joined[number] = keys[order], spectra[order]
        return Drawn(most=self.most, classes=joined)


def drawn(scene: Scene, roi: Roi, most: int, seed: int, progress: Progress) -> Drawn:
    """Return up to ``most`` labelled spectra of each class of a region, all equally likely, in one pass over labels."""
    parts = blocks(scene, roi)
    tasks = [tuple(parts[i : i + GROUP]) for i in range(0, len(parts), GROUP)]
    progress.start("labelled pixels", len(tasks), "blocks")
    found: Drawn = reduce_blocks(tasks, partial(_draw, most, seed), progress=progress)
    progress.finish()
    return found


def _draw(most: int, seed: int, group: tuple[Block, ...]) -> Drawn:
    """Return the draws of some blocks; a pixel's random number follows from the seed and its place."""
    scene, room, total = Scene.open(group[0].url), Buffers(), Drawn(most=most)
    for block in group:
        labels = scene.labels(block.roi)
        if (labels == UNLABELLED).all():
            continue
        (y0, y1), (x0, x1) = (block.roi.y0, block.roi.y1), (block.roi.x0, block.roi.x1)
        keys = np.stack([np.random.default_rng([seed, 21, y]).random(x1)[x0:] for y in range(y0, y1)])
        spectra = scene.read(block.roi, room)
        valid = np.isfinite(spectra).all(axis=2)
        for number in np.unique(labels[valid & (labels != UNLABELLED)]):
            here = valid & (labels == number)
            order = np.argsort(keys[here], kind="stable")[:most]
            total = total + Drawn(most=most, classes={int(number): (keys[here][order], spectra[here][order])})
    return total


def evaluate_spectra(pred: str, truth: str, options: EvaluateOptions, progress: Progress) -> dict[str, Any]:
    """Return how synthetic spectra of a table compare with the labelled spectra of a scene.

    ``per_class`` has for each class of both kinds the numbers of spectra, ``mean_rmse`` of their means, and
    ``spread_ratio``, the median over bands of synthetic over real deviations; ``spread_ratio`` is its mean over
    classes, and ``collapsed`` names those below `COLLAPSED`. ``svm`` has the accuracies of a linear SVM that learned
    from half of the real or of the synthetic spectra, on the other half and on the other kind. ``neighbour_ratio`` is
    the median distance of synthetic spectra from the nearest real one over that of real ones from the nearest other
    one, and ``copies`` the share of synthetic spectra that are nearly a real one.

    Raises:
        UserError: the bands differ, or no class is in both.
    """
    table, scene = SpectraTable.open(pred), Scene.open(truth)
    roi = Roi.of(scene.shape, options.rows, options.cols)
    bands = Bands(count=scene.shape[2], axis=scene.spectral)
    same_bands(bands, Bands(count=table.bands, axis=table.axis), pred)
    plan = {"pred": pred, "truth": truth, "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]}}
    if options.dry_run:
        return {**plan, "dry_run": True}
    with Peak() as used:
        real, fake = both_kinds(table, scene, roi, options.seed, progress)
        figures = compare(real, fake, scene.classes(), options.seed)
    return {**plan, **figures, "seconds": used.seconds, "peak_memory": used.bytes}


def both_kinds(
    table: SpectraTable, scene: Scene, roi: Roi, seed: int, progress: Progress
) -> tuple[dict[int, Spectra], dict[int, Spectra]]:
    """Return the spectra that are compared by the numbers of the scene's classes: its own, and those of the table."""
    real = drawn(scene, roi, 2 * MOST, seed, progress)
    return {c: x for c, (_, x) in sorted(real.classes.items())}, _of_table(table, scene.classes(), 2 * MOST)


def _of_table(table: SpectraTable, names: tuple[str, ...], most: int) -> dict[int, Spectra]:
    """Return the first ``most`` spectra of each class of a table, by the numbers of classes of these names."""
    of, found = table.numbered(names), {}
    for number in np.unique(of[of >= 0]).tolist():
        rows = np.flatnonzero(of == number)[:most]
        found[number] = table.read(int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
    return found


def compare(
    real: Mapping[int, Spectra], fake: Mapping[int, Spectra], names: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Return the figures of `evaluate_spectra` of spectra by class.

    Raises:
        UserError: no class has two spectra of both kinds.
    """
    both = sorted(c for c in set(real) & set(fake) if min(len(real[c]), len(fake[c])) > 1)
    named = {c: names[c] if c < len(names) else str(c) for c in {*real, *fake}}
    if not both:
        raise UserError(
            "classes",
            found=f"a table of {', '.join(named[c] for c in fake) or 'no class of the scene'}",
            expected=f"two spectra or more of one of {', '.join(named[c] for c in real)}",
            do="Compare spectra with a scene of their classes.",
        )
    low, high = min(x.min() for x in real.values()), max(x.max() for x in real.values())
    scaled = [{c: (x[c] - low) / (high - low) for c in both} for x in (real, fake)]
    per_class = {named[c]: _class_figures(scaled[0][c], scaled[1][c]) for c in both}
    ratio = float(np.mean([row["spread_ratio"] for row in per_class.values()]))
    collapsed = [name for name, row in per_class.items() if row["spread_ratio"] < COLLAPSED]
    left = [named[c] for c in sorted({*real, *fake} - {*both})]
    notes = {
        f"a partial collapse: spectra of {', '.join(collapsed)} vary less than half as much as real ones": collapsed,
        f"not compared, for want of two spectra of both kinds: {', '.join(left)}": left,
    }
    return {
        "per_class": per_class,
        "spread_ratio": ratio,
        "collapsed": collapsed,
        "svm": _svm(scaled[0], scaled[1], seed),
        **_neighbours(scaled[0], scaled[1]),
        "notes": [note for note, there in notes.items() if there],
    }


def _class_figures(real: Spectra, fake: Spectra) -> dict[str, float]:
    """Return the figures of one class, in shares of the range of the real spectra."""
    deviations = [x.std(axis=0, ddof=1, dtype=np.float64) for x in (real, fake)]
    apart = real.mean(axis=0, dtype=np.float64) - fake.mean(axis=0, dtype=np.float64)
    ratio = deviations[1] / np.maximum(deviations[0], np.finfo(np.float32).tiny)
    return {
        "real": len(real),
        "synthetic": len(fake),
        "mean_rmse": float(np.sqrt(np.square(apart).mean())),
        "spread_ratio": float(np.median(ratio)),
    }


def _svm(real: Mapping[int, Spectra], fake: Mapping[int, Spectra], seed: int) -> dict[str, float] | None:
    """Return the accuracies of an SVM that learned from half of one kind, on the other half and on the other kind."""
    if len(real) < 2:
        return None
    from sklearn.svm import LinearSVC

    halves = {kind: _halves(x) for kind, x in (("real", real), ("synthetic", fake))}
    table = {}
    for kind, ((x, y), _) in halves.items():
        machine = LinearSVC(C=PENALTY, dual=False, random_state=seed % (1 << 32), max_iter=5000).fit(x, y)
        for other, (_, (tested, truth)) in halves.items():
            table[f"{kind} to {other}"] = float((machine.predict(tested) == truth).mean())
    return table


def _halves(classes: Mapping[int, Spectra]) -> tuple[tuple[Spectra, Labels], tuple[Spectra, Labels]]:
    """Return every second spectrum of each class with its class, and the others."""
    parts = []
    for first in range(2):
        some = {c: x[first::2] for c, x in classes.items()}
        y = np.repeat(np.array(list(some)), [len(x) for x in some.values()])
        parts.append((np.concatenate(list(some.values())), y))
    return parts[0], parts[1]


def _neighbours(real: Mapping[int, Spectra], fake: Mapping[int, Spectra]) -> dict[str, float]:
    """Return how far synthetic spectra lie from real ones of their class, and how many are copies."""
    from sklearn.neighbors import NearestNeighbors

    ratios, near = [], []
    for c, x in real.items():
        tree = NearestNeighbors(n_neighbors=2).fit(x)
        usual = float(np.median(tree.kneighbors(x)[0][:, 1]))
        apart = tree.kneighbors(fake[c], n_neighbors=1)[0][:, 0] / max(usual, np.finfo(np.float32).tiny)
        ratios.append(float(np.median(apart)))
        near.append(float((apart < COPY).mean()))
    return {"neighbour_ratio": float(np.mean(ratios)), "copies": float(np.mean(near))}
