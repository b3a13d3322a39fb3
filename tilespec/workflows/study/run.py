"""Run: one training (or baseline) of a study, scored on every test scene of its fold; it can be resumed."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.progress import Progress
from tilespec.core.registry import load
from tilespec.core.types import UNLABELLED, Roi
from tilespec.evaluate.comparison import metrics_of
from tilespec.evaluate.metrics.base import Metric
from tilespec.evaluate.metrics.table import figures
from tilespec.models.tasks import TASKS
from tilespec.models.tasks.base import generates
from tilespec.storage.files import parse_json, read_json, write_atomic
from tilespec.storage.inventory import digests
from tilespec.storage.layer import label_map
from tilespec.storage.ledger import sidecar
from tilespec.storage.rasters import ValueRaster
from tilespec.training.config import resolve
from tilespec.training.settings import Config
from tilespec.workflows.study.pixel_splits import write_labels
from tilespec.workflows.study.splits import Split, StudyScene
from tilespec.workflows.study.variants import Variant, toml

WEIGHTS: Final = ("pixels", "labelled")
"""The keys for the number of valid pixels of an evaluation: of channels, of classes."""
LABELS: Final = "labels"
"""The folder of the labels of parts of scenes."""
LEARNED: Final = ("steps", "parameters", "seconds", "published_step", "fit_seconds")
"""The stored results of a training or a fit."""


@final
@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """The settings that all runs of a study share."""

    out: Path
    """The folder of all results."""
    overrides: Mapping[str, str]
    """The settings that replace those of every configuration, like ``--set`` of `tilespec train`."""
    split: bool
    """Whether the test region is a part of the training scenes; otherwise it is in other scenes."""
    predict: Mapping[str, Any]
    """The options of every prediction."""
    evaluate: Mapping[str, Any]
    """The options of every evaluation."""
    discard: bool
    """Whether predictions are deleted as soon as they are scored."""
    known: dict[str, str] = field(default_factory=dict)
    """The hashes of stores that were requested so far, because every run needs all of them."""

    def contents(self, items: tuple[StudyScene, ...]) -> list[list[str]]:
        """Return the hashes of the contents of scenes and their truths, independent of their paths."""
        return [[self._content(item.scene), "" if item.truth is None else self._content(item.truth)] for item in items]

    def _content(self, store: str) -> str:
        """Return the hash of a store's contents."""
        if store not in self.known:
            self.known[store] = digests(store).store
        return self.known[store]


@final
@dataclass(frozen=True, kw_only=True)
class Run:
    """A variant on a fold with a seed."""

    variant: Variant
    """The variant of the run."""
    fold: Split
    """The training scenes and the test scenes."""
    seed: int
    """The seed of weights, patches and samples."""
    place: StudySettings
    """The settings of the study."""

    @property
    def name(self) -> str:
        """The name for progress messages."""
        return f"{self.variant.name} / {self.fold.name} / seed {self.seed}"

    @cached_property
    def config(self) -> Config:
        """The resolved configuration of its training, including the test region."""
        scenes = [item.scene for item in self.fold.train]
        overrides = {**self.place.overrides, **self.variant.changes, "train.seed": str(self.seed)}
        return resolve(self.variant.config, {**overrides, "data.scene": toml(scenes), **self._truths()})

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """What its task is judged by."""
        return metrics_of(self.config.task.name)

    @property
    def generates(self) -> bool:
        """Whether its training is one of a generator of spectra, which predicts nothing."""
        return self.variant.baseline is None and generates(load(TASKS, self.config.task.name, "task"))

    def tables(self) -> dict[str, Any]:
        """Return the configuration of its training, without the test region if that is in other scenes."""
        changes = {} if self.place.split else {"test_rows": None, "test_cols": None}
        data = self.config.data.model_copy(update=changes)
        whole = self.config.model_copy(update={"data": data})
        return whole.model_dump(mode="json", exclude_unset=True)

    @cached_property
    def key(self) -> str:
        """The fingerprint of everything that decides its result, independent of the paths of scenes."""
        return fingerprint([*self._predicts(), dict(self.place.evaluate)])

    @property
    def generator(self) -> "Run | None":
        """The run of the generator whose spectra its baseline learns from too."""
        one = self.variant.generator
        return None if one is None else replace(self, variant=one)

    @property
    def model(self) -> Path:
        """The folder of its model, which runs with other predictions or scores share."""
        return self.place.out / "models" / fingerprint(self.learns())[:16]

    def check(self) -> dict[str, Any]:
        """Return the plan of its training after all checks that are possible beforehand.

        Raises:
            UserError: settings, scenes or labels do not match, or there are no test pixels.
        """
        data = self.config.data
        if self.place.split and data.test_rows is None and data.test_cols is None:
            raise UserError(
                "data.test_rows",
                found="no test region",
                expected="rows or columns outside the training region, or folds of scenes",
                do='Give for example --set data.test_rows="0:500", or --fold A=scene1 --fold B=scene2.',
            )
        for item in self.fold.test:
            self._region(item)
        if self.generator is not None:
            self.generator.check()
        if self.variant.baseline is None:
            return dict(api.train(self.tables(), str(self.model), dry_run=True))
        return dict(api.baseline(**self._fitted(), out=f"{self.model}.zarr", dry_run=True))

    def carry_out(self, progress: Progress) -> dict[str, Any]:
        """Train, predict every test scene and score it, or resume an interrupted run; return the result."""
        made: dict[str, str] = {}
        if self.variant.baseline is None:
            results, model = api.train(self.tables(), str(self.model), progress=progress), str(self.model)
        else:
            if self.generator is not None:
                made["synthetic"] = self.generator.synthetic(progress)
            results = api.baseline(**self._fitted(), **made, out=f"{self.model}.zarr", progress=progress)
            model = results["model"]
        scenes = [self._evaluate(model, item, progress) for item in self.fold.test]
        if self.variant.baseline is not None and self.place.discard:
            for store in (f"{self.model}.zarr", *made.values()):
                _drop(store)
        learned = {name: results[name] for name in LEARNED if name in results}
        return {"learned": learned, **averaged(scenes, self.metrics), "scenes": scenes}

    def synthetic(self, progress: Progress) -> str:
        """Train a generator, and fill its training labels with spectra; return the synthetic scene."""
        api.train(self.tables(), str(self.model), progress=progress)
        out = f"{self.model}.filled.zarr"
        api.synth(str(self.model), out, labels=self._taught(), seed=self.seed, progress=progress)
        return out

    def _taught(self) -> str:
        """Return the store of the labels that are for training."""
        item, data = self.fold.train[0], self.config.data
        store = item.truth or item.scene
        if data.rows is None and data.cols is None:
            return store
        layer = label_map(store)
        labels = np.full(layer.shape, UNLABELLED, np.uint8)
        roi = Roi.of(labels.shape, data.rows, data.cols)
        labels[roi.slices] = layer.read(roi)
        return write_labels(self.place.out / LABELS, item, layer, labels, {"region": str(roi)})

    def learns(self) -> list[Any]:
        """Return the settings that decide its model."""
        kind: list[Any] = [self.variant.baseline, dict(self.variant.options), self.seed]
        data = self.config.data
        if self.variant.baseline is None:
            kind = [Config.model_validate(self.tables()).deciding()]
        if self.generator is not None:
            kind.append(self.generator.learns())
        return [*kind, [data.rows, data.cols], self.place.contents(self.fold.train)]

    def _predicts(self) -> list[Any]:
        """Return the settings that decide its predictions."""
        data = self.config.data
        region, options = [data.test_rows, data.test_cols], {**self.place.predict, **self.variant.predict}
        return [self.learns(), self.place.contents(self.fold.test), region, options]

    def _truths(self) -> dict[str, str]:
        """Return the key that names the truths, if they are in other stores than the scenes."""
        truths = {
            item.key: [one.truth for one in self.fold.train] for item in self.fold.train if item.truth is not None
        }
        return {f"data.{key}": toml(stores) for key, stores in truths.items()}

    def _fitted(self) -> dict[str, Any]:
        """Return the options of its baseline."""
        item, *others = self.fold.train
        if others:
            raise UserError(
                f"--baseline {self.variant.baseline}",
                found=f"{len(self.fold.train)} training scenes in fold {self.fold.name}",
                expected="one: a baseline is fitted on one scene",
                do="Give folds with one such training scene, or leave the baselines out.",
            )
        data = self.config.data
        region = {"rows": data.rows, "cols": data.cols, "seed": self.seed}
        truth = {} if item.truth is None else {item.key: item.truth}
        return {"name": self.variant.baseline, "scene": item.scene, **region, **truth, **self.variant.options}

    def _evaluate(self, model: str, item: StudyScene, progress: Progress) -> dict[str, Any]:
        """Return the scores of one test scene, or the stored ones of a finished scene."""
        file = self.place.out / "scores" / self.key[:16] / f"{item.name}.json"
        done = read_json(file)
        if done is not None:
            return done
        maps = self.place.out / "maps" / fingerprint(self._predicts())[:16]
        roi, pred = self._region(item), str(maps / f"{item.name}.zarr")
        where = {"rows": f"{roi.y0}:{roi.y1}", "cols": f"{roi.x0}:{roi.x1}"}
        maps.mkdir(parents=True, exist_ok=True)
        options = {**self.place.predict, **self.variant.predict}
        predicted = api.predict(model, item.scene, pred, **where, **options, progress=progress)
        evaluated = api.evaluate(pred, item.truth or item.scene, **self.place.evaluate, progress=progress)
        weight = next(evaluated[name] for name in WEIGHTS if name in evaluated)
        scores = {name: evaluated[name] for name in figures(self.metrics) if name in evaluated}
        facts = {"scene": item.name, "weight": weight, "scores": scores, "status": predicted["status"]}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(facts, indent=1) + "\n")
        if self.place.discard:
            _drop(pred)
        return facts

    def _region(self, item: StudyScene) -> Roi:
        """Return the scored part of a test scene."""
        data = self.config.data
        return Roi.of(ValueRaster.open(item.scene).roi.shape, data.test_rows, data.test_cols)


def averaged(scenes: list[dict[str, Any]], own: Sequence[Metric] = ()) -> dict[str, Any]:
    """Return the mean of each score over scenes, weighted by their valid pixels, and how many these are.

    A scene that has not a score (nothing of its kind to be judged) does not count in that score. ``own`` are metrics
    of the task that tilespec does not have.
    """
    total = sum(scene["weight"] for scene in scenes)
    if not total:
        raise UserError(
            "study",
            found="test scenes without a valid pixel",
            expected="pixels that have a truth and a prediction",
            do="Choose another test region, or check its labels and masks.",
        )
    scores = {}
    for name in figures(own):
        values = [(scene["scores"][name], scene["weight"]) for scene in scenes if scene["scores"].get(name) is not None]
        weight = sum(one for _, one in values)
        if weight:
            scores[name] = math.fsum(value * one for value, one in values) / weight
    return {"pixels": total, "scores": scores}


def _drop(store: str) -> None:
    """Delete a store and its ledger."""
    for left in (Path(store), Path(str(sidecar(store)))):
        shutil.rmtree(left, ignore_errors=True)


@final
@dataclass(frozen=True, kw_only=True)
class Results:
    """The lines of a study by the fingerprint of everything that decides them."""

    path: Path
    """The path of the file."""

    def lines(self) -> dict[str, dict[str, Any]]:
        """Return the newest line of each key, without incomplete lines."""
        return {line["key"]: line for line in self._all()}

    def done(self) -> dict[str, dict[str, Any]]:
        """Return the lines of the runs that ended without an error."""
        return {key: line for key, line in self.lines().items() if "error" not in line}

    def keep(self, line: Mapping[str, Any]) -> None:
        """Add a line, which replaces an older one with its key."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = {**self.lines(), line["key"]: dict(line)}
        write_atomic(self.path, "".join(json.dumps(one) + "\n" for one in lines.values()))

    def _all(self) -> Iterator[dict[str, Any]]:
        if self.path.exists():
            for text in self.path.read_text().splitlines():
                line = parse_json(text)
                if line is not None and "key" in line:
                    yield line
