"""Synthesis: tables of synthetic spectra beside the labelled spectra of a scene, and paths between spectra."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.core.progress import Progress
from tilespec.evaluate.synthetic_spectra import COLLAPSED, COPY, both_kinds, compare
from tilespec.output.report import plots
from tilespec.output.report.inputs import Runs, name_of
from tilespec.output.report.page_parts import Key, PageTable, Picture, Row, Section
from tilespec.storage.scene import Scene
from tilespec.storage.spectra_table import SpectraTable

KINDS: Final = ("real", "synthetic")
COLOURS: Final = plots.COLOURS[1], plots.COLOURS[0]
"""The colours of real and of synthetic spectra."""
WAYS: Final = ("real to real", "real to synthetic", "synthetic to synthetic", "synthetic to real")
"""What a classifier learned from, and what it was judged on."""
PUBLISHED: Final = (0.8963, 0.9594, 0.9927, 0.8803)
"""The figures of the authors' notebook (Pavia University, 5 % of the labels) in the order of `WAYS`."""
CITATION: Final = (
    "In grey: as in the authors' notebook to Audebert, Le Saux and Lefevre (IGARSS 2018), on Pavia University with 5 % "
    "of the labels. None of our figures was measured on it."
)
MEANING: Final = (
    "Synthetic spectra are as good as real ones where all four are alike. They are easier to tell apart where they "
    "vary less than real ones."
)
SHOWN: Final = 24
"""The largest number of classes of which a plot is drawn, and of spectra of a path."""

Spectra = Float32[np.ndarray, "_spectrum _band"]
Classes = Mapping[int, Spectra]


def of_synthesis(runs: Runs, progress: Progress) -> list[Section]:
    """Return a section for each table of spectra."""
    return [_path(table) if table.shares is not None else _compared(table, runs, progress) for table in runs.tables]


def _path(table: SpectraTable) -> Section:
    """Return the spectra along a path, from violet to yellow."""
    chosen = np.unique(np.linspace(0, len(table.labels) - 1, SHOWN).round().astype(int))
    spectra = table.read(0, len(table.labels))
    colours = ["#{:02x}{:02x}{:02x}".format(*plots.shade(k / max(len(chosen) - 1, 1))) for k in range(len(chosen))]
    source = plots.lines(table.axis, list(spectra[chosen]), ylabel="value in the scene", colours=colours)
    ends = [_class_name(table.classes, int(table.labels[k])) for k in (0, -1)]
    steps = np.abs(np.diff(spectra, axis=0)).max(axis=1)
    caption = (
        f"{len(chosen)} of {len(table.labels)} spectra. The largest difference of neighbours is {steps.max():.3g}, the "
        f"smallest {steps.min():.3g}: a generator that knows a few spectra by heart jumps."
    )
    keys = (Key.of(colours[0], f"{ends[0]}, the begin"), Key.of(colours[-1], f"{ends[1]}, the end"))
    picture = Picture(source=source, caption=caption, plot=True)
    return Section(
        key=f"path-{name_of(table.url)}",
        title=f"Path: {name_of(table.url)}",
        lead=f"Synthetic spectra along a path from {ends[0]} to {ends[1]}.",
        rows=(Row(pictures=(picture,), legend=keys, columns=1),),
    )


def _compared(table: SpectraTable, runs: Runs, progress: Progress) -> Section:
    """Return the figures and plots of a table beside those of the first scene whose classes and bands it has."""
    key, title = f"spectra-{name_of(table.url)}", f"Synthetic spectra: {name_of(table.url)}"
    for scene in runs.scenes:
        if "labels" not in scene.layers or scene.shape[2] != table.bands:
            continue
        real, fake = both_kinds(table, scene, scene.roi, 0, progress)
        if any(min(len(real[c]), len(fake[c])) > 1 for c in set(real) & set(fake)):
            figures = compare(real, fake, scene.classes(), 0)
            lead = (
                f"{len(table.labels):,} spectra from a generator, beside the labelled spectra of {name_of(scene.url)}."
            )
            return Section(
                key=key,
                title=title,
                lead=lead,
                tables=(_ways(figures["svm"]), _per_class(figures)),
                rows=(*_overlay(real, fake), *_means(table, scene, real, fake)),
            )
    facts = ("compared with", "no scene of this report with labels of the same bands and classes")
    return Section(key=key, title=title, lead=f"{len(table.labels):,} spectra from a generator.", facts=(facts,))


def _ways(svm: Mapping[str, float] | None) -> PageTable:
    """Return the accuracies of a linear support vector machine in four ways, above the published ones."""
    ours = ("here", *("–" if svm is None else f"{svm[way]:.2%}" for way in WAYS))
    theirs = ("published", *(f"{share:.2%}" for share in PUBLISHED))
    return PageTable(
        title="Linear SVM: learned from, judged on",
        head=("", *WAYS),
        rows=(ours, theirs),
        muted=(1,),
        notes=(MEANING, CITATION),
    )


def _per_class(figures: Mapping[str, Any]) -> PageTable:
    """Return the figures of each class."""
    rows = tuple(
        (name, f"{row['real']:,}", f"{row['synthetic']:,}", f"{row['mean_rmse']:.4f}", f"{row['spread_ratio']:.2f}")
        for name, row in figures["per_class"].items()
    )
    spreads = (
        "Means are compared in shares of the range of the real spectra. The ratio of spreads is the median over bands "
        f"of synthetic over real deviations; less than {COLLAPSED:g} is a partial collapse."
    )
    near = (
        "From the nearest real spectrum of their class synthetic ones are "
        f"{figures['neighbour_ratio']:.2f} times as far as real ones from each other; {figures['copies']:.1%} are "
        f"copies, nearer than {COPY:g} of that."
    )
    return PageTable(
        head=("class", *KINDS, "RMSE of means", "ratio of spreads"), rows=rows, notes=(spreads, near, *figures["notes"])
    )


def _overlay(real: Classes, fake: Classes) -> tuple[Row, ...]:
    """Return all spectra in the plane of the first two principal components of the real ones."""
    both = sorted(set(real) & set(fake))
    known = np.concatenate([real[c] for c in both]).astype(np.float64)
    mean, (_, _, axes) = known.mean(axis=0), np.linalg.svd(known - known.mean(axis=0), full_matrices=False)
    scores = [[(x[c] - mean) @ axes[:2].T for c in both] for x in (real, fake)]
    groups = [np.concatenate(one) for one in scores]
    ends = tuple(zip(*(np.array([f(np.concatenate(groups), axis=0) for f in (np.min, np.max)])).tolist(), strict=True))
    tints = [plots.COLOURS[k % len(plots.COLOURS)] for k in range(len(both))]
    named = {"xlabel": "component 1", "ylabel": "component 2"}
    whole = plots.scatter(groups, COLOURS, ends, **named)
    by_class = [plots.scatter(one, tints, ends, **named) for one in scores]
    pictures = (
        Picture(source=whole, title="Both kinds", caption="Real spectra below synthetic ones.", plot=True),
        *(
            Picture(source=source, title=f"{kind.capitalize()} ones by class", caption="A colour a class.", plot=True)
            for kind, source in zip(KINDS, by_class, strict=True)
        ),
    )
    note = "principal components of the real spectra"
    return (Row(pictures=pictures, title="Overlay", note=note, legend=_legend(), columns=3),)


def _means(table: SpectraTable, scene: Scene, real: Classes, fake: Classes) -> tuple[Row, ...]:
    """Return means and deviations of both kinds, a plot for each class."""
    pictures = []
    for c in sorted(set(real) & set(fake))[:SHOWN]:
        means, deviations = zip(*(_moments(x[c]) for x in (real, fake)), strict=True)
        source = plots.banded(table.axis, means, deviations, COLOURS, size=plots.NARROW)
        name = _class_name(scene.classes(), c)
        caption = f"{len(real[c])} real and {len(fake[c])} synthetic spectra."
        pictures.append(Picture(source=source, title=name, caption=caption, plot=True))
    note = "areas are one standard deviation"
    return (Row(pictures=tuple(pictures), title="Means of classes", note=note, legend=_legend(), columns=3),)


def _moments(spectra: Spectra) -> tuple[Float64[np.ndarray, " band"], Float64[np.ndarray, " band"]]:
    """Return the mean and the deviation of each band."""
    return spectra.mean(axis=0, dtype=np.float64), spectra.std(axis=0, dtype=np.float64)


def _legend() -> tuple[Key, ...]:
    return tuple(Key.of(colour, kind) for colour, kind in zip(COLOURS, KINDS, strict=True))


def _class_name(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)
