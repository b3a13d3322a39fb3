"""Corpus: the regions and the targets of a training, opened and checked beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.core.types import Roi, SpectralAxis
from tilespec.models.tasks import TASKS, task
from tilespec.models.tasks.base import Geometry
from tilespec.spectra.bands import Bands, same_bands
from tilespec.spectra.scale_check import same_scale
from tilespec.spectra.steps import parse, plan
from tilespec.storage.layer import Layer
from tilespec.storage.scene import Scene
from tilespec.storage.spectra_table import is_spectra_table
from tilespec.training.data.density import Density, WeightedRegion, weighted
from tilespec.training.data.kinds import kind_of
from tilespec.training.data.targets import Answers, Target, ValueTarget
from tilespec.training.settings import Config, Data

SOURCES = ("labels", "target", "references")
"""The keys of ``[data]`` that name where targets come from."""


@final
@dataclass(frozen=True, kw_only=True)
class TrainingRegion:
    """The training region of one scene."""

    scene: Scene
    """The scene of the spectra."""
    roi: Roi
    """The region of the patches."""
    truth: Target
    """The target of the net in this region."""
    geometry: Geometry
    """How the truth lies on the scene, and what of a patch is predicted."""

    def answers(self, roi: Roi) -> Answers:
        """Return what the net should answer on a part of the region: without the margin."""
        return self.truth.read(self.geometry.target(roi))


@final
@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """All training regions, which have the same bands, and the common properties of their targets."""

    regions: tuple[TrainingRegion, ...]
    """The training region of each scene."""
    options: Mapping[str, Any]
    """The options that follow for the task from the targets (`tilespec.training.data.targets.TargetSummary`)."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The counts of the targets as plain data."""
    classes: tuple[str, ...] = ()
    """The names of the classes in their order, none for targets of values."""
    axis: SpectralAxis | None = None
    """The spectral axis of the channels of target values."""
    density: Density | None = None
    """The probability of each pixel; None: all patches of a scene are equally likely."""

    @property
    def bands(self) -> int:
        """The bands of every scene."""
        return self.regions[0].scene.shape[2]

    @property
    def answers(self) -> Bands:
        """The kind of targets: classes, or channels."""
        return Bands(count=self.options.get("channels", len(self.classes)), axis=self.axis)

    @property
    def whole_samples(self) -> bool:
        """Whether samples are learned from as a whole, and not patches."""
        return self.regions[0].truth.KEY == "references"

    def fits(self) -> tuple[int, int]:
        """Return the largest height and width that fit every training region."""
        shapes = [region.roi.shape for region in self.regions]
        return min(h for h, _ in shapes), min(w for _, w in shapes)

    def provenance(self) -> list[dict[str, Any]]:
        """Return the training regions for the model card; `tilespec evaluate` compares the evaluated region to them."""
        return [
            {
                "scene": region.scene.url.rstrip("/").rpartition("/")[2],
                "digest": region.scene.digest,
                region.truth.KEY: region.truth.digest,
                "shape": list(region.scene.shape),
                "rows": [region.roi.y0, region.roi.y1],
                "cols": [region.roi.x0, region.roi.x1],
            }
            for region in self.regions
        ]


def open_training_set(config: Config) -> TrainingSet:
    """Return the opened scenes, and labels or targets, of a configuration.

    Raises:
        UserError: scenes, labels or targets do not exist or differ in size; labels are not classes; the training region
            overlaps the test region; scenes differ in bands, class names or target bands; the whole region is unknown;
        weights do not exist or are all 0; or keys do not apply to the task.
    """
    data, named = config.data, load(TASKS, config.task.name, "task")
    kind = kind_of(named)
    _check_keys(config, kind.KEY, kind.LACKS)
    task_options = config.task.model_extra or {}
    geometry = task({"name": config.task.name, **kind.LEAST, **task_options}).geometry
    _check_geometry(config, geometry)
    scenes = tuple(Scene.open(url).raw() for url in data.scene)
    rois = [_roi(data, scene, geometry) for scene in scenes]
    grounds = [*zip(scenes, rois, kind.of(data, scenes, geometry), strict=True), *_synthetic(data, kind, geometry)]
    training_regions = tuple(_ground(*ground, geometry) for ground in grounds)
    _same_bands(training_regions)
    if getattr(named, "same_bands", False):
        _check_target_bands(training_regions, config.recipe.steps)
    same_scale([(region.scene, region.roi) for region in training_regions])
    truths, regions = zip(*((region.truth, geometry.target(region.roi)) for region in training_regions), strict=True)
    survey = kind.survey(truths, regions, task_options)
    unlabelled = bool(task_options.get("unlabelled", False))
    density = _density(data, training_regions, len(survey.classes), unlabelled=unlabelled)
    return TrainingSet(regions=training_regions, density=density, **vars(survey))


def with_fewer_components(config: Config, training_set: TrainingSet) -> Config:
    """Return the configuration with ``data.adapt`` applied to the recipe: no more components than bands."""
    if not (config.data.adapt and config.recipe.steps):
        return config
    steps = _fewer(config.recipe.steps, training_set.bands)
    return config.model_copy(update={"recipe": config.recipe.model_copy(update={"steps": steps})})


def with_patch(config: Config, training_set: TrainingSet, align: int) -> Config:
    """Return the configuration with a patch that suits the scenes.

    Args:
        config: The configuration of the user.
        training_set: The opened scenes.
        align: The number of which sides of patches must be multiples.

    Raises:
        UserError: without ``data.adapt``: the patch is no multiple of ``align``, or larger than a training region.
    """
    region, geometry = training_set.fits(), training_set.regions[0].geometry
    sides = [side for side in range(align, min(region) + 1, align) if geometry.fits(side)]
    wanted = config.data.patch
    patch = max((side for side in sides if side <= wanted), default=wanted) if config.data.adapt else wanted
    _check_patch(patch, align, sides, region, geometry)
    return config.model_copy(update={"data": config.data.model_copy(update={"patch": patch})})


def _check_geometry(config: Config, geometry: Geometry) -> None:
    """Refuse a margin of broken output pixels, and a balance of classes that do not lie on the scene's pixels."""
    if (geometry.margin * geometry.scale).denominator != 1:
        raise UserError(
            f"task {config.task.name}",
            found=f"a margin of {geometry.margin} pixels at output scale {geometry.scale}",
            expected=f"a multiple of {geometry.scale.denominator}, so that predictions lie on the pixels of a truth",
            do="Give the task another margin.",
        )
    if geometry.scale != 1 and config.data.balance != "none":
        raise UserError(
            "data.balance",
            found=f"{config.data.balance!r}, for a task of output scale {geometry.scale}",
            expected="'none': pixels of the scene are drawn, and labels of another scale are of other pixels",
            do="Leave it out; data.weight draws by a layer of the scene.",
        )


def _check_target_bands(regions: Sequence[TrainingRegion], steps: str | None) -> None:
    """Refuse targets for tasks that answer spectra on other bands than the scene's, before or after the recipe."""
    for region in regions:
        scene, truth = region.scene, region.truth
        assert isinstance(truth, ValueTarget), "only tasks of values answer spectra"
        raw = Bands(count=scene.shape[2], axis=scene.spectral)
        answered = Bands(count=truth.channels, axis=truth.axis)
        try:
            expected = raw if answered.count == raw.count else plan(parse(steps or ""), raw)
            same_bands(expected, answered, truth.store)
        except UserError as error:
            raise UserError(
                truth.store,
                found=f"other bands than in {scene.url} ({error})",
                expected="the bands of the scene, or those that the recipe leaves: their spectra are predicted",
                do="Resample or crop the target to such bands, or set task.name=calibrate.",
            ) from error


def _check_keys(config: Config, key: str, lacks: tuple[str, ...]) -> None:
    """Refuse keys that do not apply to a task whose targets come from ``data.KEY``."""
    others = [name for name in SOURCES if name != key]
    for name in (*others, *lacks):
        value = getattr(config.data, name)
        if value != Data.model_fields[name].default:
            raise UserError(
                f"data.{name}",
                found=f"{list(value) if isinstance(value, tuple) else value!r}, for task {config.task.name}",
                expected=f"nothing: the targets of that task are data.{key}",
                do="Leave it out, or choose a task that has a use for it.",
            )


def _synthetic(data: Data, kind: Any, geometry: Geometry) -> list[tuple[Scene, Roi, Target]]:
    """Return the scenes of ``data.synthetic``, each with its whole region and its own target.

    Raises:
        UserError: one is a table of spectra, and patches are larger than one pixel.
    """
    for url in data.synthetic:
        if data.patch > 1 and is_spectra_table(url):
            raise UserError(
                f"data.synthetic: {url}",
                found="a table of spectra, which have no places",
                expected=f"scenes with labels, for patches of {data.patch} pixels",
                do="Set data.patch=1 and a net of single spectra, or `tilespec synth MODEL OUT --labels SCENE`.",
            )
    if not data.synthetic:
        return []
    scenes = tuple(Scene.open(url).raw() for url in data.synthetic)
    truths = kind.of(Data(scene=data.synthetic), scenes, geometry)
    return [(scene, geometry.within(scene.roi), truth) for scene, truth in zip(scenes, truths, strict=True)]


def _roi(data: Data, scene: Scene, geometry: Geometry) -> Roi:
    """Return a region of a scene of whole output pixels, which keeps off the test region."""
    roi = geometry.within(Roi.of(scene.shape, data.rows, data.cols))
    if data.test_rows or data.test_cols:
        test = Roi.of(scene.shape, data.test_rows, data.test_cols)
        if roi.overlaps(test):
            raise UserError(
                f"data.rows, data.cols of {scene.url}",
                found=f"training on {roi}",
                expected=f"no pixel of the test region ({test})",
                do="Move one of the two regions; scores on training pixels are too good.",
            )
    return roi


def _ground(scene: Scene, roi: Roi, truth: Target, geometry: Geometry) -> TrainingRegion:
    """Return the training region of one scene, after checking that the truth lies on it."""
    height, width = (int(length * geometry.scale) for length in scene.shape[:2])
    if truth.shape != (height, width):
        times = "the size" if geometry.scale == 1 else f"{geometry.scale} times the size"
        raise UserError(
            truth.store,
            found=f"{truth.KEY} of {truth.shape[0]} x {truth.shape[1]} pixels",
            expected=f"{height} x {width}, {times} of {scene.url}",
            do=f"The {truth.KEY} must lie on the scene pixel by pixel: bring one of the two to the other's size first.",
        )
    return TrainingRegion(scene=scene, roi=roi, truth=truth, geometry=geometry)


def _density(data: Data, regions: Sequence[TrainingRegion], classes: int, *, unlabelled: bool) -> Density | None:
    """Return the probability of each pixel, if weights or a balance of classes are requested."""
    if data.shares is not None and (len(data.shares) != len(regions) or not any(data.shares)):
        raise UserError(
            "data.shares",
            found=f"{list(data.shares)}",
            expected=f"{len(regions)} numbers, one for each of data.scene and data.synthetic, not all 0",
            do="Give one for each scene, in the same order.",
        )
    if data.weight is None and data.balance == "none":
        return None
    fields = [
        WeightedRegion(roi=g.roi, labels=g.truth.plane if g.geometry.scale == 1 else None, weight=_weight(data, g))
        for g in regions
    ]
    return weighted(fields, classes=classes, balance=data.balance, unlabelled=unlabelled, shares=data.shares)


def _weight(data: Data, region: TrainingRegion) -> Layer | None:
    """Return the weights of a scene's pixels: a layer of the scene, or of its label store if the scene has none."""
    if data.weight is None:
        return None
    stores = (region.scene.url, region.truth.store)
    layer = next(filter(None, (Layer.find(store, data.weight) for store in stores)), None)
    if layer is None or layer.shape != region.scene.shape[:2]:
        raise UserError(
            "data.weight",
            found=f"no {data.weight}(y, x) of {region.scene.shape[0]} x {region.scene.shape[1]} pixels",
            expected=f"one of {', '.join(region.scene.layers)}, or a layer of {region.truth.store}",
            do="Bring it in as a layer of that size, or name another.",
        )
    return layer


def _same_bands(regions: tuple[TrainingRegion, ...]) -> None:
    """Refuse scenes with different bands."""
    from tilespec.spectra.recipe import Recipe

    first = regions[0].scene
    recipe = Recipe.empty(first.shape[2], first.spectral)
    for region in regions[1:]:
        recipe.check(region.scene.shape[2], region.scene.spectral, region.scene.url)


def _smaller(side: int) -> str:
    """Return what a net that halves its input often can be given instead, for a region of ``side`` pixels."""
    halvings = side.bit_length() - 2  # the coarsest layer then has 2 x 2 pixels
    if halvings < 1:
        return "Choose a larger region, or a pixelwise net."
    return f"Set net.n_down={halvings} and data.patch={2 ** (halvings + 1)}, or choose a larger region."


def _check_patch(patch: int, align: int, sides: list[int], region: tuple[int, int], geometry: Geometry) -> None:
    """Refuse a patch that is larger than a region, not aligned, or without whole output pixels.

    Args:
        patch: Its side.
        align: Sides are multiples of this.
        sides: All that a region has room for, ascending.
        region: Height and width that every region has.
        geometry: What of a patch is predicted.
    """
    if not sides or patch > sides[-1]:
        least = next(side for side in count(align, align) if geometry.fits(side))
        raise UserError(
            "data.patch",
            found=f"{patch} pixels, in a training region of {region[0]} x {region[1]}",
            expected=f"at most {sides[-1]}" if sides else f"a region of at least {least} x {least}",
            do=f"Set data.patch={sides[-1]}." if sides else _smaller(min(region)),
        )
    if patch not in sides:
        whole = "" if geometry == Geometry() else f", with output scale {geometry.scale} and margin {geometry.margin}"
        raise UserError(
            "data.patch",
            found=f"{patch} pixels{whole}",
            expected=f"a multiple of {align}, which the net halves to whole numbers"
            if patch % align
            else "sides of whole output pixels",
            do=f"Set data.patch={next(side for side in sides if side >= patch)}.",
        )


def _fewer(steps: str, bands: int) -> str:
    """Return the steps with at most as many principal components as bands."""
    parts = [part.strip() for part in steps.split(",")]
    name, count = "pca=", str(bands)
    return ",".join(
        name + count if p.lower().startswith(name) and p[len(name) :].isdigit() and int(p[len(name) :]) > bands else p
        for p in parts
    )
