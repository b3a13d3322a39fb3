"""Study: a grid of trainings and baselines, each scored on scenes not used for training, in one table.

For each variant, fold and seed it trains, predicts the test scenes and evaluates them, through `tilespec.api` alone.
Finished results are stored, so that the same command resumes an interrupted study, and a larger grid runs only its new
parts. Means over test scenes are weighted by their valid pixels, as Alvarez-Gila et al. (2017) weigh folds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tilespec.baselines.options import BaselineOptions
from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.memory import Peak
from tilespec.core.options import options_of, with_options
from tilespec.core.progress import Progress
from tilespec.evaluate.options import EvaluateOptions
from tilespec.predict.options import PredictOptions
from tilespec.storage.backends.paths import local
from tilespec.storage.files import write_atomic
from tilespec.storage.layout import COMPLETE, INCOMPLETE
from tilespec.storage.lock import locked
from tilespec.training.config import resolve
from tilespec.workflows.study.augmentation import with_synthetic
from tilespec.workflows.study.options import StudyOptions
from tilespec.workflows.study.pixel_splits import pixel_split
from tilespec.workflows.study.result_table import as_csv, as_markdown, rows_of
from tilespec.workflows.study.run import LABELS, Results, Run, StudySettings
from tilespec.workflows.study.splits import (
    WHOLE,
    Split,
    StudyScene,
    among,
    folds_of,
    groups_of,
    items_of,
    read_folds,
    under,
)
from tilespec.workflows.study.variants import Source, Variant, plain, toml, values_of, variants_of

__all__ = ["Variant", "study"]

RESULTS = "results.jsonl"
"""The file by which the folder of a study is known."""
OURS = {"train.seed": "--seeds", "data.scene": "--fold, or data.scene in the configuration or --set"}
"""The settings that a study sets itself, and the options for them."""
PASSED_ON: Final[tuple[tuple[str, Any, frozenset[str]], ...]] = (
    ("--predict", PredictOptions, frozenset({"rows", "cols", "dry_run", "overwrite"})),
    ("--evaluate", EvaluateOptions, frozenset({"rows", "cols", "dry_run", "overwrite"})),
    (
        "--baseline-option",
        BaselineOptions,
        frozenset({"rows", "cols", "dry_run", "overwrite", "labels", "target", "seed"}),
    ),
)
"""The options for those of other verbs, and what of them the study decides itself."""
Divide = Callable[[int, Path], tuple[Split, ...]]
"""The splits by the seed of a run; the labels of pixel splits are written into a folder."""
RUN_ERRORS = (UserError, IncompleteError, RuntimeError, OSError, MemoryError)
"""The exceptions that end one run and not the study; torch raises `RuntimeError`."""


@with_options(StudyOptions)
def study(config: Source | Sequence[Source], out: str, options: StudyOptions, progress: Progress) -> dict[str, Any]:
    """Train and judge every variant on every fold with every seed; return one table of means and spreads.

    Without folds, the training region is ``data.rows``, ``data.cols`` of ``data.scene``, and the test region is
    ``data.test_rows``, ``data.test_cols`` of the same scenes. With folds, scenes, or those regions of them, are either
    for training or for test; each group of scenes is tested after a training on the other groups. With a split,
    labelled pixels of each scene are for training or for test. Trainings of the task ``synthesize`` are judged by the
    classifiers that learn from their spectra (`tilespec.workflows.study.augmentation`).

    Args:
        config: TOML file, ``preset:NAME``, or a mapping of tables; or several to compare.
        out: Folder of models, predictions, ``results.jsonl`` and ``table.{csv,json,md}``.
        options: What is compared, and how; given by name.
        progress: Where progress is shown.

    Returns:
        ``scores``: a row for each variant and fold, with mean and standard deviation over seeds of every score; over
        the folds, weighted by valid pixels; ``table``: the same as Markdown; ``failed``; ``status``: ``incomplete`` if
        a run failed; the others are done, and the same command tries it again.

    Raises:
        UserError: a name does not exist, a scene is for training and for test, or settings do not match; all are
            checked before any run.
        KeyboardInterrupt: the study was stopped by a signal; the same command resumes.
    """
    place = Path(local(out, "a study"))
    _check_place(place)
    configs = [config] if isinstance(config, str | Path | Mapping) else list(config)
    settings = {key: toml(value) for key, value in options.settings().items()}
    own_options = [
        {key: plain(value) for key, value in (one or {}).items()}
        for one in (options.predict, options.evaluate, options.baseline_options)
    ]
    varied = {key: values_of(one) if isinstance(one, str) else one for key, one in (options.vary or {}).items()}
    baselines = _listed(options.baselines)
    grid = variants_of(configs, varied, baselines, own_options[2], options.variants)
    _check_asked(
        options.seeds, {key for one in grid for key in one.changes} | set(settings) - {"data.scene"}, own_options
    )
    divide = _division(configs[0], settings, options)
    shared = StudySettings(
        out=place,
        overrides=settings,
        split=not (options.folds or options.fold or options.split),
        predict=own_options[0],
        evaluate=own_options[1],
        discard=options.discard,
    )

    def runs_in(folder: Path) -> list[Run]:
        divisions = [divide(seed, folder) for seed in range(options.seeds)]
        first = Run(variant=grid[0], fold=divisions[0][0], seed=0, place=shared)
        variants = with_synthetic(grid, _listed(options.synthetic), lambda one: replace(first, variant=one).generates)
        return [  # what tells most first: all variants with one seed
            Run(variant=one, fold=each, seed=seed, place=shared)
            for seed, division in enumerate(divisions)
            for each in division
            for one in variants
        ]

    results = Results(path=place / RESULTS)
    with TemporaryDirectory() as folder:
        plan = _plan(runs_in(Path(folder)), results, progress)
    if options.dry_run:
        return {**plan, "out": out, "dry_run": True}
    with locked(str(place)), Peak() as used:
        place.mkdir(parents=True, exist_ok=True)
        results.path.touch()  # by which the folder is known from now on
        runs = runs_in(place / LABELS)
        _carry_out(runs, results, progress)
        told_by = _written(place, runs, results)
    return {**told_by, "out": out, "runs": len(runs), "seconds": used.seconds, "peak_memory": used.bytes}


def _check_place(place: Path) -> None:
    """Refuse a folder that no study has written."""
    if place.is_file() or (place.is_dir() and any(place.iterdir()) and not (place / RESULTS).exists()):
        raise UserError(
            place,
            found="something that is there already and is no study",
            expected="a free place, or the folder of a study",
            do="Give another --out.",
        )


def _listed(texts: Sequence[str]) -> list[str]:
    """Return the names in texts, which commas separate."""
    return [name for text in texts for name in text.split(",") if name]


def _division(config: Source, settings: Mapping[str, str], options: StudyOptions) -> Divide:
    """Return the splits by seed: pixels, folds of scenes, or the single fold of a test region within the scenes."""
    if options.split:
        if options.folds or options.fold or options.root or {"data.test_rows", "data.test_cols"} & set(settings):
            raise UserError(
                "--split",
                found="folds or a test region too",
                expected="one of them",
                do="Leave the others out: a split gives the pixels of training and of test.",
            )
        scenes = items_of(resolve(config, settings).data)
        return partial(_pixel_splits, tuple(options.split), scenes)
    division = _folds(config, settings, list(options.folds), list(options.fold), (options.root, options.target_root))
    return lambda *_: division


def _pixel_splits(texts: Sequence[str], scenes: Sequence[StudyScene], seed: int, folder: Path) -> tuple[Split, ...]:
    return tuple(pixel_split(text, scenes, seed, folder) for text in texts)


def _folds(
    config: Source, settings: Mapping[str, str], folds: list[str], fold: list[str], roots: tuple[str | None, str | None]
) -> tuple[Split, ...]:
    """Return the folds of scenes, or the single fold of a test region within the scenes."""
    root, target_root = roots
    if root is None and target_root is not None:
        raise UserError("--target-root", found=target_root, expected="--root too", do="Say where the scenes lie.")
    if root is not None and not (folds or fold):
        raise UserError("--root", found="no folds", expected="lists of names", do="Give --folds or --fold.")
    items: tuple[StudyScene, ...] = ()
    if root is not None and "data.scene" in settings:
        raise UserError("--root", found="data.scene too", expected="one of them", do="Leave data.scene out.")
    if root is None:
        items = items_of(resolve(config, settings).data)
    find = under(root, target_root) if root is not None else among(items)
    if not folds and not fold:
        return (Split(name=WHOLE, train=items, test=items),)
    tables = [file for file in folds if file.endswith(".toml")]
    if tables and len(folds) + len(fold) > 1:
        raise UserError(
            "--folds", found=f"{tables[0]} and others", expected="one TOML file alone", do="Choose one way."
        )
    if tables:
        return read_folds(tables[0], find)
    return folds_of(groups_of(folds, fold), find, items)


def _check_asked(seeds: int, keys: AbstractSet[str], own: Sequence[Mapping[str, Any]]) -> None:
    """Refuse options that no verb has, and settings that the study sets itself."""
    if seeds < 1:
        raise UserError("--seeds", found=seeds, expected="1 or more", do="3 show how much chance decides.")
    for key in keys & set(OURS):
        raise UserError(key, found="a setting that the study makes", expected=OURS[key], do="Use that.")
    for (flag, kind, ours), options in zip(PASSED_ON, own, strict=True):
        names = {option.name for option in options_of(kind)} - ours
        for name in sorted(set(options) - names):
            expected = f"one of {', '.join(sorted(names))}"
            raise UserError(f"{flag} {name}", found="an unknown option", expected=expected, do="Check the spelling.")


def _plan(runs: Sequence[Run], results: Results, say: Progress) -> dict[str, Any]:
    """Check every unfinished run, once for each variant and fold, and return the plan."""
    done = results.done()
    checked: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        pair = (run.variant.name, run.fold.name)
        if run.key not in done and pair not in checked:
            say.say(f"checking {pair[0]}, fold {pair[1]}")
            checked[pair] = run.check()
    folds = {run.fold.name: run.fold for run in runs}
    return {
        "variants": list(dict.fromkeys(run.variant.name for run in runs)),
        "folds": {name: {"train": _names(fold.train), "test": _names(fold.test)} for name, fold in folds.items()},
        "parameters": {f"{one}, {fold}": plan.get("parameters") for (one, fold), plan in checked.items()},
        "runs": [{"run": run.name, "key": run.key, "done": run.key in done} for run in runs],
    }


def _carry_out(runs: Sequence[Run], results: Results, say: Progress) -> None:
    """Run the unfinished runs; the error of a failed run is recorded, and the others continue."""
    done = results.done()
    for number, run in enumerate(runs, start=1):
        if run.key in done:
            continue
        say.say(f"run {number} of {len(runs)}: {run.name}")
        card = {"key": run.key, "variant": run.variant.name, "fold": run.fold.name, "seed": run.seed}
        try:
            line = {**card, "changes": dict(run.variant.changes), **run.carry_out(say)}
        except RUN_ERRORS as error:
            line = {**card, "error": f"{type(error).__name__}: {error}"}
            say.say(f"failed: {line['error']}")
        results.keep(line)
        done = results.done()


def _written(place: Path, runs: Sequence[Run], results: Results) -> dict[str, Any]:
    """Write the table of these runs, and return it with the failed runs."""
    lines = results.lines()
    failed = [lines[run.key] for run in runs if "error" in lines[run.key]]
    rows = rows_of(runs, results.done())
    texts = {"csv": as_csv(rows), "json": json.dumps(rows, indent=1) + "\n", "md": as_markdown(rows)}
    for kind, text in texts.items():
        write_atomic(place / f"table.{kind}", text)
    return {
        "status": INCOMPLETE if failed else COMPLETE,
        "scores": rows,
        "failed": failed,
        "table": texts["md"],
        "notes": [*_notes(runs, lines)],
    }


def _notes(runs: Sequence[Run], lines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return notes on the table for the user."""
    notes = [f"{run.name} failed: {lines[run.key]['error']}" for run in runs if "error" in lines[run.key]]
    for run in runs:
        torn = [scene["scene"] for scene in lines[run.key].get("scenes", ()) if scene["status"] != COMPLETE]
        notes += [f"{run.name}: the prediction of {', '.join(torn)} is not whole"] if torn else []
    return notes


def _names(items: Sequence[StudyScene]) -> list[str]:
    return [item.name for item in items]
