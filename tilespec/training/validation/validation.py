"""Validation: scores during a training, by the predictor of `tilespec predict`, on pixels not used for training.

What is judged is what `tilespec predict` would write: tiles, overlap, blending, norms and recipe are its own, and the
scores are the metrics that the task names, over the pixels of all held-out regions. Patches or losses would judge
something else.

A pass over raw bands costs more than such a prediction, so the scores after the recipe are written once. After that a
validation reads them, 4 bytes for each channel and pixel, and writes and reads the prediction.

The folder of the training gets ``validation.jsonl`` (`tilespec.training.validation.history`) and ``validation/``:
scratch, and the weights of the best validation; and also those of the best one until each existing checkpoint, because
a training may resume there.
"""

import math
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from tilespec.cluster.connect import Connection
from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.types import Roi
from tilespec.evaluate.comparison import Comparison, JoinedStatistics, metrics_of
from tilespec.evaluate.evaluate import CASES
from tilespec.evaluate.metrics.base import Metric
from tilespec.evaluate.options import ScoreOptions
from tilespec.models.determinism import torch_threads
from tilespec.models.ensemble import Ensemble
from tilespec.models.model import Model
from tilespec.models.nets.norms import spatial_norms
from tilespec.models.tensors import plain, read, write
from tilespec.predict.options import PredictOptions
from tilespec.predict.predict import predict_scene
from tilespec.predict.predictor import forget
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import scratch_folder
from tilespec.training.data.training_set import TrainingRegion, TrainingSet
from tilespec.training.run import checkpoint, run_folder
from tilespec.training.settings import Config
from tilespec.training.setup import Setup
from tilespec.training.validation import history
from tilespec.training.validation.held_out import held_out
from tilespec.training.validation.history import Line, best, rewind, stopped
from tilespec.training.validation.sample_means import METRICS, SampleMeans
from tilespec.training.validation.scratch_scenes import as_is, remove, source

__all__ = ["Validation", "best", "clear", "held_out", "history", "rewind", "stopped"]

SCRATCH: Final = "validation"
"""The folder of scratch data below that of a training."""
JUDGING: Final = ScoreOptions(illuminant="none")
"""The options of the scores: every known pixel counts; colours are compared at the end."""


def best_weights(folder: StorePath, step: int) -> StorePath:
    """Return the file of the weights after a step, if they are the best so far."""
    return folder / SCRATCH / f"best-{step:06d}.safetensors"


def clear(folder: StorePath) -> None:
    """Delete the scratch data of a training that has its model, if there are any."""
    shutil.rmtree(scratch_folder(folder / SCRATCH), ignore_errors=True)
    if (folder / SCRATCH).on_disk is None:
        (folder / SCRATCH).clear()


@final
@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation of one training; its state is in the training's folder."""

    config: Config
    """The settings; ``config.validation`` is the table ``[validate]``."""
    corpus: TrainingSet
    """The training regions."""
    held: TrainingSet
    """The validation regions, none where samples are held out."""
    means: SampleMeans | None
    """The means of held-out samples, where references are learned."""
    cast: Setup
    """The task and the net."""
    metrics: tuple[Metric, ...]
    """What the task is judged by, the leading one first."""
    recipe: Recipe
    """The recipe before the net."""
    folder: StorePath
    """The folder of the training."""

    @classmethod
    def of(
        cls, config: Config, training_set: TrainingSet, setup: Setup, recipe: Recipe, folder: StorePath
    ) -> "Validation | None":
        """Return the validation of a training, or None without held-out regions. It reads labels, and writes nothing.

        Raises:
            UserError: as for `held_out`; or the task does not have the metric; or the net has no norms to freeze.
        """
        means = SampleMeans.of(config, training_set, setup, recipe)
        held = None if means is not None else held_out(config, training_set)
        if held is None and means is None:
            return None
        for region in (held or training_set).regions:
            recipe.check(region.scene.shape[2], region.scene.spectral, region.scene.url)
        metrics = metrics_of(config.task.name) if means is None else METRICS
        _check_metrics(config, metrics)
        _check_norms(config, setup)
        return cls(
            config=config,
            corpus=training_set,
            held=held or replace(training_set, regions=()),
            means=means,
            cast=setup,
            metrics=metrics,
            recipe=recipe,
            folder=folder,
        )

    @property
    def parts(self) -> list[str]:
        """What is held out, as text: regions, or samples by their ids."""
        return [str(region.roi) for region in self.held.regions] if self.means is None else self.means.ids

    @property
    def metric(self) -> Metric:
        """What is compared: as asked, else the leading one of the task."""
        wanted = self.config.validation.metric
        return next(metric for metric in self.metrics if wanted in (None, metric.name))

    def due(self, done: int) -> bool:
        """Return whether a validation follows after ``done`` steps."""
        return done % self.config.validation.every == 0 or done == self.config.train.steps

    def run(self, step: int, weights: Mapping[str, Tensor], *, progress: Progress | None = None) -> dict[str, float]:
        """Validate ``weights`` after ``step`` steps; write the line of the history, and store the best weights.

        Nothing that the training depends on changes: torch's threads and random numbers are as before. Files of an
        interrupted validation are overwritten.

        Args:
            step: The number of steps done.
            weights: The state of the generator, on any device.
            progress: The progress that counts tiles and rows of scores, from which waiting ranks see that rank 0 works.

        Returns:
            The metrics of the task, and ``seconds``; NaN means undefined, and is every metric of weights that are not
            finite.
        """
        began, tensors = time.monotonic(), plain(weights)
        sound = all(bool(torch.isfinite(value).all()) for value in tensors.values())
        figures = self._figures(tensors, progress or Silent()) if sound else {}
        scores = {metric.name: figures.get(metric.figure) for metric in self.metrics}
        line = {"step": step, **scores, "seconds": time.monotonic() - began}
        self._keep(line)
        return {key: math.nan if value is None else value for key, value in line.items() if key != "step"}

    def chosen(self) -> tuple[int, dict[str, Tensor]] | None:
        """Return the step and the weights of the best validation for the model; None means the last weights."""
        step = best(history.read(self.folder), self.metric) if self.config.validation.keep == "best" else None
        if step is None:
            return None
        try:
            return step, read(self._weights(step))
        except (OSError, UserError) as error:
            warnings.warn(f"{self._weights(step)} cannot be read ({error}): the last weights stand in", stacklevel=2)
            return None

    def state(self, step: int) -> StorePath:
        """Return the file of the state of the training after a step."""
        return self.folder / SCRATCH / f"state-{step:06d}.safetensors"

    def store_state(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Store the state of the training after the best validation; delete those that are no longer needed."""
        (self.folder / SCRATCH).mkdir(parents=True, exist_ok=True)
        write(self.state(step), dict(tensors))
        useful = {self.state(top) for top in self._tops(history.read(self.folder))}
        for path in (self.folder / SCRATCH).glob("state-*.safetensors"):
            if path not in useful:
                path.unlink()

    def cost(self, channels: int) -> dict[str, int]:
        """Return the disk space of validations in bytes before encoding: ``once``, and ``each`` time, without weights.

        Args:
            channels: The number of channels after the recipe, which is known before its fit.
        """
        once, each = 0, 0
        for region in self.held.regions:
            pixels = region.roi.shape[0] * region.roi.shape[1]
            raw, scores = pixels * region.scene.shape[2] * region.scene.dtype.itemsize, 4 * pixels * channels
            direct = as_is(region, recipe=self.config.recipe.given)
            truth = math.prod(region.geometry.beneath(region.roi).shape) * region.truth.empty((1, 1)).nbytes
            once += 0 if direct else raw + scores + 2 * truth  # read and written
            each += (raw if direct else scores) + 3 * truth  # and what is predicted, written and read
        return {"once": once, "each": each}

    @property
    def _scratch(self) -> Path:
        """The folder of this machine for what a validation writes and deletes."""
        return scratch_folder(self.folder / SCRATCH)

    def _weights(self, step: int) -> StorePath:
        """Return the path of the weights of a validation."""
        return best_weights(self.folder, step)

    def _figures(self, tensors: dict[str, Tensor], progress: Progress) -> dict[str, Any]:
        """Return the figures of all regions, or samples, together."""
        if self.means is not None:
            (self._scratch / "model").mkdir(parents=True, exist_ok=True)
            write(self._scratch / "model" / "model.safetensors", tensors)
            with torch.random.fork_rng(devices=[]), torch_threads():
                return self.means.figures(tensors)
        contents: dict[str, Any] = {
            "training_set": self.corpus,
            "setup": self.cast,
            "recipe": self.recipe,
            "weights": tensors,
        }
        with torch.random.fork_rng(devices=[]), torch_threads():
            model = run_folder.publish(store_path(self._scratch / "model"), self.config, **contents, source=SCRATCH)
            try:
                parts = [self._region(n, region, model, progress) for n, region in enumerate(self.held.regions)]
            finally:
                forget()  # the next validation has other weights
        folds = reduce(JoinedStatistics.__add__, (folds for _, folds in parts))
        return parts[0][0].result(folds.parts, {})

    def _region(
        self, number: int, region: TrainingRegion, model: Model, progress: Progress
    ) -> tuple[Comparison, JoinedStatistics]:
        """Predict one region, and return its contribution to the scores."""
        settings, out = self.config.validation, str(self._scratch / "prediction.zarr")
        url = str(self._scratch / f"scores-{number}.zarr")
        held_scene = source(region, self.recipe, self.held.classes, url, progress)
        options: dict[str, Any] = {
            **held_scene.region,
            "tile": settings.tile,
            "overlap": settings.overlap,
            "norm": settings.norm,
        }
        remove(out)
        try:
            models = Ensemble(members=(model,), folders=(str((self._scratch / "model").absolute()),))
            predict_scene(models, held_scene.scene, out, PredictOptions(**options), progress, workers=Connection())
            case = CASES[self.cast.task.truth](out, held_scene.truth, None, None, None, JUDGING).adding(self.metrics)
            return case, reduce_blocks(case.pieces, partial(_contribution, case))
        finally:
            remove(out)

    def _keep(self, line: dict[str, Any]) -> None:
        """Store the weights if they are the best, then the line; delete weights that are no longer needed."""
        lines = [before for before in history.read(self.folder) if before["step"] < line["step"]] + [line]
        candidate = self._scratch / "model" / "model.safetensors"
        if self.config.validation.keep == "best" and best(lines, self.metric) == line["step"]:
            self._weights(line["step"]).put_file(candidate)
        history.write(self.folder, lines)
        useful = self._useful(lines)
        for path in (self.folder / SCRATCH).glob("best-*.safetensors"):
            if path not in useful:
                path.unlink()
        shutil.rmtree(self._scratch / "model", ignore_errors=True)

    def _useful(self, lines: Sequence[Line]) -> set[StorePath]:
        """Return the files of the present best weights, and of those at the time of each checkpoint."""
        return {self._weights(top) for top in self._tops(lines)}

    def _tops(self, lines: Sequence[Line]) -> set[int]:
        """Return the step of the present best validation, and of those at the time of each checkpoint."""
        ends = [*checkpoint.steps(self.folder / run_folder.CHECKPOINTS), lines[-1]["step"]]
        tops = (best([line for line in lines if line["step"] <= end], self.metric) for end in ends)
        return {top for top in tops if top is not None}


def _check_metrics(config: Config, metrics: Sequence[Metric]) -> None:
    """Refuse a metric that the task does not have, that has no better values, or that pixels alone do not decide."""
    compared = [metric.name for metric in metrics if metric.pixels and metric.better]
    wanted = config.validation.metric or (metrics[0].name if metrics else None)
    if wanted not in compared:
        raise UserError(
            "validate.metric",
            found=repr(wanted),
            expected=f"one of the metrics of {config.task.name}: {', '.join(compared) or 'it has none'}",
            do="Leave it out for the first of them." if compared else "Leave [validate] out.",
        )


def _check_norms(config: Config, setup: Setup) -> None:
    """Refuse to freeze norms in a net without any."""
    if config.validation.norm == "tile":
        return
    if not spatial_norms(setup.outline["generator"]):
        raise UserError(
            "validate.norm",
            found="frozen, for a net without statistics of its tiles",
            expected="tile",
            do="Leave it out: there is nothing to freeze.",
        )


def _contribution(case: Comparison, piece: Roi) -> JoinedStatistics:
    """Return the contribution of one piece to the scores."""
    scores: JoinedStatistics = case.contribution(JoinedStatistics(parts=case.statistics), piece)[0]
    return scores
