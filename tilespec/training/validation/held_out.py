"""Held out: the validation regions of a training, opened and checked before anything is computed."""

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.spectra.bands import same_bands
from tilespec.spectra.scale_check import same_scale
from tilespec.storage.backends.paths import absolute
from tilespec.storage.scene import Scene
from tilespec.tiling.plan import axes
from tilespec.training.data.training_set import TrainingRegion, TrainingSet, open_training_set
from tilespec.training.settings import Config, Data, Validate


def held_out(config: Config, training_set: TrainingSet) -> TrainingSet | None:
    """Return the opened regions of the table ``[validate]``, or None without any.

    Raises:
        UserError: a held-out region overlaps the training or the test region, has no labels or target, or other bands
            or classes; tile and overlap do not match; or labels or targets are given without scenes.
    """
    validation = config.validation
    for key in ("labels", "target"):
        if getattr(validation, key) is not None and validation.scene is None:
            raise UserError(
                f"validate.{key}",
                found=f"{key} without validate.scene",
                expected="both, or neither",
                do=f"The {key} of data.scene are named in data.{key}.",
            )
    if not any((validation.rows, validation.cols, validation.scene)):
        return None
    held = _open_held_out(config)
    _check_classes(training_set, held)
    for region in held.regions:
        _check_apart(config, training_set, region)
    same_scale([(region.scene, region.roi) for region in (training_set.regions[0], *held.regions)])
    return held


def _open_held_out(config: Config) -> TrainingSet:
    """Open the held-out regions in the same way as the training regions."""
    validation = config.validation
    of: Data | Validate = config.data if validation.scene is None else validation
    data = Data(scene=of.scene or (), labels=of.labels, target=of.target, rows=validation.rows, cols=validation.cols)
    try:
        held = open_training_set(config.model_copy(update={"data": data}))
        for region in held.regions:
            side, _ = region.geometry.plane((config.data.patch, config.data.patch))
            axes(region.geometry.plane(region.roi.shape), validation.tile or side, validation.overlap or 0)
    except UserError as error:
        raise UserError(
            "[validate]",
            found=f"no valid regions ({error})",
            expected="regions with the labels or the target of the training, and tiles that cover them",
            do="Correct [validate]: data.rows, --tile and others in this message are its rows, tile and others.",
        ) from error
    return held


def _check_classes(training_set: TrainingSet, held: TrainingSet) -> None:
    """Refuse labels, or channels, with another meaning than those of the training."""
    if held.classes != training_set.classes:
        raise UserError(
            "[validate]",
            found=f"classes {', '.join(held.classes)}",
            expected=f"{', '.join(training_set.classes)}, as in {training_set.regions[0].truth.store}",
            do="Validate with labels of the same classes, in the same order.",
        )
    same_bands(training_set.answers, held.answers, held.regions[0].truth.store)


def _check_apart(config: Config, training_set: TrainingSet, held: TrainingRegion) -> None:
    """Refuse a held-out region that overlaps the training or the test region."""
    data, used = config.data, [(region, region.roi, "of the training region") for region in training_set.regions]
    if data.test_rows or data.test_cols:
        measured = training_set.regions[: len(data.scene)]  # synthetic scenes, behind them, have no test region
        tests = [Roi.of(region.scene.shape, data.test_rows, data.test_cols) for region in measured]
        used += [(g, roi, "of the test region") for g, roi in zip(measured, tests, strict=True)]
    for region, roi, what in used:
        if _same(region.scene, held.scene) and roi.overlaps(held.roi):
            raise UserError(
                f"validate.rows, validate.cols of {held.scene.url}",
                found=str(held.roi),
                expected=f"no pixel {what} ({roi})",
                do="Move one of them: validation pixels must be neither training pixels nor test pixels.",
            )


def _same(one: Scene, other: Scene) -> bool:
    """Return whether two scenes are the same, by path or by content."""
    return absolute(one.url) == absolute(other.url) or (one.digest is not None and one.digest == other.digest)
