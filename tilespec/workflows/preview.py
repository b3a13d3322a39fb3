"""Preview: what goes into the network, as a page of pictures and spectra: in the scene, after the recipe, augmented."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Float32

from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.types import Roi, SpectralAxis
from tilespec.output.pictures import class_colours, class_picture, picture_bands
from tilespec.output.report import plots
from tilespec.output.report.inputs import name_of
from tilespec.output.report.page import MARK, render
from tilespec.output.report.page_parts import Key, Picture, Row, Section
from tilespec.output.report.page_parts import plain as as_text
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.storage.outputs import check_file
from tilespec.training.augment.augment import Augment
from tilespec.training.config import resolve
from tilespec.training.data.patch_reader import PatchReader
from tilespec.training.data.patches import Patch, PatchStream, turned, undone
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.training_set import TrainingSet
from tilespec.training.objectives.base import Batch
from tilespec.training.ranks.group import Ranks
from tilespec.training.settings import Config
from tilespec.training.setup import Setup, prepared, recipe_of, stream_of
from tilespec.workflows.options import PreviewOptions

STAGES: Final = ("in the scene", "after the recipe", "after augmentation")
"""The stages on the way into the network."""
SPECTRA: Final = 6
"""The number of spectra of a plot."""
LETTERS: Final = "ABCDEF"
"""The names of pixels in pictures."""

Plane = Float[np.ndarray, "y x channel"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A patch at each stage on its way into the network."""

    title: str
    """The place of the patch."""
    scene: Float32[np.ndarray, "y x band"]
    """The spectra of the scene; NaN is no data."""
    scores: Float32[np.ndarray, "y x score"]
    """The spectra after the recipe."""
    augmented: Float32[np.ndarray, "y x score"]
    """What the network reads: turned and augmented."""
    target: np.ndarray
    """What the network should answer to it: classes ``y2, x2``, or values ``y2, x2, channel``."""
    turn: int
    """The symmetry by which the patch was turned."""

    def at(self, y: int, x: int) -> list[Float32[np.ndarray, " channel"]]:
        """Return the spectrum of a pixel at each stage, however the patch was turned."""
        planes = (self.scene, self.scores, turned(self.augmented, undone(self.turn)))
        return [plane[y, x] for plane in planes]


@with_options(PreviewOptions)
def preview(
    config: str | Path | Mapping[str, Any], out: str, options: PreviewOptions, progress: Progress
) -> dict[str, Any]:
    """Write a page ``out`` (.html) about the first patches of a training, as its first step will read them.

    Args:
        config: The TOML file, ``preset:NAME``, or a mapping of tables, as `train` takes it.
        out: Where the page goes; a page that tilespec wrote is replaced.
        options: The number of patches, and the settings that replace those of ``config``; given by name.
        progress: Where the fit of the recipe is reported.

    Returns ``out, patches, bytes, notes, seconds, peak_memory``.

    Raises:
        UserError: settings, scenes or labels do not match; ``out`` is no .html file; or the training learns from whole
            samples and not from patches.
    """
    if not out.endswith((".html", ".htm")):
        raise UserError("OUT", found=repr(out), expected="a file NAME.html", do="Name the page last.")
    check_file(out, MARK, "a page")
    settings, training_set, plan = prepared(resolve(config, options.overrides), 1)
    if training_set.whole_samples:
        raise UserError(
            f"task {settings.task.name}",
            found="a training on whole samples",
            expected="a training on patches",
            do="Look at the scenes themselves: `tilespec report SCENE OUT.html`.",
        )
    if options.dry_run:
        return {"out": out, "patches": options.count, "notes": plan["notes"], "dry_run": True}
    with Peak() as peak:
        progress.start("fit the recipe", 1, "recipes")
        with TemporaryDirectory() as folder:
            recipe = recipe_of(settings, training_set, store_path(folder), Ranks())
        progress.advance(1)
        progress.finish()
        examples = list(first_examples(settings, training_set, recipe, options.count))
        sections = [_settings(settings), *_sections(examples, training_set, recipe)]
        html = render(f"What the network reads: {name_of(training_set.regions[0].scene.url)}", sections)
        store_path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(store_path(out), html)
    facts = {"out": out, "patches": len(examples), "bytes": len(html.encode()), "notes": plan["notes"]}
    return {**facts, "seconds": peak.seconds, "peak_memory": peak.bytes}


def first_examples(config: Config, training_set: TrainingSet, recipe: Recipe, count: int) -> Iterator[Example]:
    """Yield the first ``count`` patches of the first step; those that are mixed have their partners in it."""
    setup = Setup.of(config, recipe.bands_out)
    stream = stream_of(config, training_set, setup)
    assert isinstance(stream, PatchStream), "whole samples are refused before"
    blocks = ScoreCache(training_set.regions, recipe, config.data.cache)
    read = PatchReader(stream, blocks, setup.task)(tuple(range(config.train.batch)), 0)
    batch = Augment.of(config.augment, config.train.seed)(read)
    assert isinstance(batch, Batch), "patches remain patches"
    for k in range(min(count, len(batch.ids))):
        patch = stream.patch(k)
        y = batch.y[k].numpy()
        yield Example(
            title=_place(patch, stream.roi(patch), training_set),
            scene=training_set.regions[patch.scene].scene.read(stream.roi(patch)),
            scores=blocks.read(patch.scene, stream.roi(patch))[0],
            augmented=batch.x[k].numpy().transpose(1, 2, 0),
            target=y.transpose(1, 2, 0) if y.ndim == 3 else y,
            turn=patch.turn,
        )


def _place(patch: Patch, roi: Roi, training_set: TrainingSet) -> str:
    """Return where a patch lies."""
    scene = name_of(training_set.regions[patch.scene].scene.url)
    if roi.shape == (1, 1):
        return f"{scene}: row {roi.y0}, column {roi.x0}"
    return f"{scene}: rows {roi.y0}:{roi.y1}, columns {roi.x0}:{roi.x1}"


def _settings(config: Config) -> Section:
    """Return the settings that decide what the network reads."""
    augment = Augment.of(config.augment, 0).kinds
    turns = "turned and mirrored" if config.data.augment and config.data.patch > 1 else "as it lies"
    facts = (
        ("task", config.task.name),
        ("network", config.net.name),
        ("patch", f"{config.data.patch} x {config.data.patch} pixels, {turns}"),
        ("recipe", config.recipe.path or config.recipe.steps or "none"),
        ("augmentation", as_text(augment) if augment else "none"),
        ("step", f"{config.train.batch} patches"),
    )
    return Section(
        key="settings",
        title="Settings",
        lead="The patches below are the first of the training: the same settings and the same seed read them again.",
        facts=facts,
    )


def _sections(examples: Sequence[Example], training_set: TrainingSet, recipe: Recipe) -> list[Section]:
    """Return single spectra in one section, or a section for each patch."""
    axes, classes = (recipe.axis_in, recipe.axis_out, recipe.axis_out), training_set.classes
    if examples[0].scene.shape[:2] == (1, 1):
        chosen = examples[:SPECTRA]
        names = [f"{one.title}{_class_of(one, classes)}" for one in chosen]
        rows = (_plots([one.at(0, 0) for one in chosen], axes, names), *_targets(chosen, training_set))
        lead = "The first spectra of the training on their way into the network."
        return [Section(key="spectra", title="Spectra", lead=lead, rows=rows)]
    return [
        Section(
            key=f"patch-{k}",
            title=f"Patch {k}",
            lead=f"{one.title}.",
            rows=(
                Row(pictures=_pictures(one, axes), columns=4, legend=_legend(one, classes)),
                _plots([one.at(*place) for place in _pixels(one).values()], axes, list(_pixels(one))),
            ),
        )
        for k, one in enumerate(examples)
    ]


def _pixels(example: Example) -> dict[str, tuple[int, int]]:
    """Return the places of some pixels on a diagonal by their letters."""
    side = example.scene.shape[0]
    places = np.unique(((np.arange(SPECTRA) + 0.5) * side / SPECTRA).astype(int)).tolist()
    return {letter: (k, k) for letter, k in zip(LETTERS, places, strict=False)}


def _plots(spectra: Sequence[Sequence[np.ndarray]], axes: Sequence[SpectralAxis | None], names: Sequence[str]) -> Row:
    """Return a plot of named spectra at each stage."""
    pictures = tuple(
        Picture(
            source=plots.lines(axis, [one[stage] for one in spectra], ylabel="value", size=plots.NARROW),
            title=f"Spectra {title}",
            caption="",
            plot=True,
        )
        for stage, (title, axis) in enumerate(zip(STAGES, axes, strict=True))
    )
    return Row(pictures=pictures, columns=3, legend=tuple(map(Key.of, plots.COLOURS, names)))


def _pictures(example: Example, axes: Sequence[SpectralAxis | None]) -> tuple[Picture, ...]:
    """Return pictures of the stages and of the target; the network's input has the colours of the recipe's output."""
    scene, scores, augmented = (
        plane[..., list(picture_bands(axis, plane.shape[2]))]
        for plane, axis in zip((example.scene, example.scores, example.augmented), axes, strict=True)
    )
    ends, target = plots.limits(scores), example.target
    sources = (
        plots.png(plots.colour(scene), _pixels(example)),
        plots.png(plots.between(scores, ends)),
        plots.png(plots.between(augmented, ends)),
        plots.png(class_picture(target) if target.ndim == 2 else plots.colour(_three(target))),
    )
    titles = (*(title.capitalize() for title in STAGES), "Target")
    return tuple(Picture(source=one, title=title, caption="") for one, title in zip(sources, titles, strict=True))


def _three(values: Plane) -> Plane:
    """Return three channels of values."""
    return values[..., list(picture_bands(None, values.shape[2]))]


def _targets(examples: Sequence[Example], training_set: TrainingSet) -> list[Row]:
    """Return the targets of single spectra as curves, where they are values."""
    if examples[0].target.ndim == 2:
        return []
    axis = training_set.answers.axis
    source = plots.lines(axis, [one.target[0, 0] for one in examples], ylabel="value", size=plots.NARROW)
    return [Row(pictures=(Picture(source=source, title="Targets", caption="", plot=True),), columns=3)]


def _class_of(example: Example, classes: Sequence[str]) -> str:
    """Return the class of a single spectrum behind a comma; nothing where its target is another one."""
    number = int(example.target.flat[0]) if example.target.ndim == 2 else len(classes)
    return f", {classes[number]}" if number < len(classes) else ""


def _legend(example: Example, classes: Sequence[str]) -> tuple[Key, ...]:
    """Return the colours of the classes that are seen."""
    if example.target.ndim == 3:
        return ()
    seen = sorted(set(np.unique(example.target).tolist()) & set(range(len(classes))))
    colours = class_colours(len(classes)).tolist()
    return tuple(Key.of(tuple(colours[k]), classes[k]) for k in seen)
