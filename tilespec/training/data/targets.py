"""Targets: the desired output of a net on the plane of a scene. A task names the kind of its targets.

Classes (uint8 ``y, x``, 255 = unknown) come from a label plane, a field (float32 ``y, x, channel``, NaN = unknown) from
the cube of another store. Both are read block by block beside the spectra, and patches turn with them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.buffers import thread_buffers
from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, ClassMap, Reflectance, Roi, SpectralAxis
from tilespec.models.tasks.base import Geometry
from tilespec.spectra.bands import Bands, same_bands
from tilespec.spectra.scale_check import same_scale
from tilespec.storage.blocks import Block, blocks
from tilespec.storage.inventory import digests
from tilespec.storage.layer import Layer
from tilespec.storage.layout import ArraySpec, class_names, cube_spec, layer_spec
from tilespec.storage.rasters import check_labels, in_parts, majority
from tilespec.storage.scene import Scene
from tilespec.training.settings import Data

STRIP: Final = 512
"""The number of rows of labels that are counted at once."""

Answers = UInt8[np.ndarray, "y2 x2"] | Int32[np.ndarray, "y2 x2"] | Float32[np.ndarray, "y2 x2 channel"]
"""A target array of any kind, on the plane of the truth."""
OF_SAMPLES: Final = ("columns", "samples", "mask", "tile")
"""The keys of ``[data]`` for whole samples."""


@final
@dataclass(frozen=True, kw_only=True)
class TargetSummary:
    """The common properties of the targets of a training."""

    options: Mapping[str, Any]
    """The options for the task: the number of classes, or the number of channels and the range of their values."""
    facts: Mapping[str, Any]
    """The counts as plain data for the plan."""
    classes: tuple[str, ...] = ()
    """The names of the classes in their order."""
    axis: SpectralAxis | None = None
    """The spectral axis of the channels of values."""


@runtime_checkable
class Target(Protocol):
    """The interface of every kind of target."""

    KEY: ClassVar[str]
    """The key of the configuration that names its source, and of the digest in the provenance of a model."""
    LACKS: ClassVar[tuple[str, ...]]
    """The keys of ``[data]`` that do not apply to this kind."""
    LEAST: ClassVar[Mapping[str, Any]]
    """Options with which a task can be built before anything is known of the truths; its geometry is the same."""

    @classmethod
    def of(cls, data: Data, scenes: Sequence[Scene], geometry: Geometry) -> "tuple[Target, ...]":
        """Return the target of each scene; ``geometry`` says how it lies there.

        Raises:
            UserError: a target is missing.
        """

    @property
    def store(self) -> str:
        """The URL of the store."""

    @property
    def shape(self) -> tuple[int, int]:
        """The height and the width of the plane in pixels."""

    @property
    def plane(self) -> Layer | None:
        """The layer of classes for balanced draws, if there is one."""

    @property
    def digest(self) -> str | None:
        """The hash of the contents, if a run has recorded one."""

    @property
    def axis(self) -> SpectralAxis | None:
        """The spectral axis of the channels."""

    def empty(self, shape: tuple[int, int]) -> Answers:
        """Return memory for the target of a region."""

    def read(self, roi: Roi) -> Answers:
        """Return the target of a region in newly allocated memory."""

    def spec(self, shape: tuple[int, int], classes: tuple[str, ...]) -> ArraySpec:
        """Return the description of a stored copy of some region."""

    @staticmethod
    def survey(truths: Sequence[Any], regions: Sequence[Roi], options: Mapping[str, Any]) -> TargetSummary:
        """Return the common properties of targets on some regions; ``options`` are those of the task.

        Raises:
            UserError: the targets do not match each other or the task's options, or all regions are unknown.
        """


@final
@dataclass(frozen=True, kw_only=True)
class LabelTarget:
    """A layer of class labels as target."""

    KEY: ClassVar[str] = "labels"
    LACKS: ClassVar[tuple[str, ...]] = OF_SAMPLES
    LEAST: ClassVar[Mapping[str, Any]] = {"classes": 2}

    plane: Layer
    """The layer of the labels; the store is opened once."""
    side: int = 1
    """The number of labels along each side of a pixel of the target, whose class is that of most of them."""

    @classmethod
    def of(cls, data: Data, scenes: Sequence[Scene], geometry: Geometry) -> "tuple[LabelTarget, ...]":
        """Return the labels of each scene, which are its own, unless others are named.

        Where a task answers one class for several pixels, a layer of all pixels is reduced to such classes.
        """
        labels, step = map(cls.open, _stores(data, cls.KEY, data.labels or data.scene)), 1 / geometry.scale
        return tuple(
            replace(one, side=int(step)) if step.denominator == 1 and one.shape == scene.shape[:2] else one
            for one, scene in zip(labels, scenes, strict=True)
        )

    @classmethod
    def open(cls, store: str) -> "LabelTarget":
        """Return the labels of a store.

        Raises:
            UserError: the store has no labels.
        """
        return cls(plane=Layer.open(store, "labels"))

    @property
    def store(self) -> str:
        """The URL of the store."""
        return self.plane.store

    @property
    def shape(self) -> tuple[int, int]:
        """The height and the width of the plane in pixels."""
        height, width = self.plane.shape
        return height // self.side, width // self.side

    @property
    def digest(self) -> str:
        """The hash of the store."""
        return digests(self.store).store

    @property
    def axis(self) -> None:
        """The axis None, because classes have names."""
        return

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, none if the layer has none."""
        return class_names(self.plane.attrs)

    def empty(self, shape: tuple[int, int]) -> ClassMap:
        """Return memory for the labels of a region."""
        return np.empty(shape, np.uint8)

    def read(self, roi: Roi) -> ClassMap:
        """Return the labels of a region, uint8 ``y, x``."""
        return self.labels(roi).astype(np.uint8, copy=False)

    def labels(self, roi: Roi) -> np.ndarray:
        """Return the labels of a region ``y, x`` as numbers of any kind."""
        return majority(self.plane.read(in_parts(roi, self.side)), self.side, self.store)

    def spec(self, shape: tuple[int, int], classes: tuple[str, ...]) -> ArraySpec:
        """Return the description of a stored copy of some region."""
        return layer_spec("labels", shape, classes=classes)

    @staticmethod
    def survey(truths: Sequence["LabelTarget"], regions: Sequence[Roi], options: Mapping[str, Any]) -> TargetSummary:
        """Return the names and the number of the classes: from the options, else named ones, else those in the labels.

        Raises:
            UserError: names differ, labels are not classes, there are none, or more than in the options.
        """
        names = _names(truths)
        counts = sum(np.stack([_count(truth, roi) for truth, roi in zip(truths, regions, strict=True)]))
        present = np.flatnonzero(counts[:UNLABELLED])
        if not len(present):
            raise _unknown("a labelled pixel", "labels other than 255", "label some of it")
        classes = int(options.get("classes") or max(len(names), int(present[-1]) + 1, 2))
        if present[-1] >= classes:
            raise UserError(
                "task.classes",
                found=f"label {present[-1]} in the training region",
                expected=f"labels below {classes}, or 255 for unlabelled",
                do="Raise task.classes, or leave it out to take it from the labels.",
            )
        named = tuple(names[i] if i < len(names) else f"class_{i}" for i in range(classes))
        absent = [name for name, count in zip(named, counts, strict=False) if not count]
        notes = [f"no pixel of the training regions is {', '.join(absent)}: it cannot be learned"] if absent else []
        facts = {"classes": list(named), "labelled_pixels": [int(n) for n in counts[:classes]], "notes": notes}
        return TargetSummary(options={"classes": classes}, facts=facts, classes=named)


@final
@dataclass(frozen=True, kw_only=True)
class ValueTarget:
    """The cube of a store, or its prediction of several channels, as target."""

    KEY: ClassVar[str] = "target"
    LACKS: ClassVar[tuple[str, ...]] = ("balance", "drop_single_class", "synthetic", *OF_SAMPLES)
    LEAST: ClassVar[Mapping[str, Any]] = {"channels": 1, "low": -sys.float_info.max, "high": sys.float_info.max}
    plane: ClassVar[None] = None

    cube: Scene
    """The cube of the values."""

    @classmethod
    def of(cls, data: Data, scenes: Sequence[Scene], geometry: Geometry) -> "tuple[ValueTarget, ...]":
        """Return the target of each scene."""
        del scenes, geometry
        return tuple(map(cls.open, _stores(data, cls.KEY, data.target or ())))

    @classmethod
    def open(cls, store: str) -> "ValueTarget":
        """Return the cube of a store.

        Raises:
            UserError: the store has no cube.
        """
        return cls(cube=Scene.open(store))

    @property
    def store(self) -> str:
        """The URL of the store."""
        return self.cube.url

    @property
    def shape(self) -> tuple[int, int]:
        """The height and the width of the plane in pixels."""
        return self.cube.shape[:2]

    @property
    def channels(self) -> int:
        """The number of values of a pixel."""
        return self.cube.shape[2]

    @property
    def digest(self) -> str:
        """The hash of the cube."""
        return self.cube.digest

    @property
    def axis(self) -> SpectralAxis | None:
        """The spectral axis of the channels."""
        return self.cube.spectral

    def empty(self, shape: tuple[int, int]) -> Reflectance:
        """Return memory for the values of a region."""
        return np.empty((*shape, self.channels), np.float32)

    def read(self, roi: Roi) -> Reflectance:
        """Return the values of a region, float32 ``y, x, channel``, NaN for unknown ones."""
        return self.cube.read(roi)

    def spec(self, shape: tuple[int, int], classes: tuple[str, ...]) -> ArraySpec:
        """Return the description of a stored copy of some region."""
        del classes
        return cube_spec((*shape, self.channels), "float32", spectral=self.axis)

    @staticmethod
    def survey(truths: Sequence["ValueTarget"], regions: Sequence[Roi], options: Mapping[str, Any]) -> TargetSummary:
        """Return the number, the range and the axis of the channels; all values of the regions are read once.

        The range goes from 0, or from the smallest value if that is negative, to the largest one. If the task's options
        give both ends, values are read only until a known one.

        Raises:
            UserError: channels differ, all values are unknown, the number differs from the option, or the range is
                empty.
        """
        _same_channels(truths, options)
        where = [(truth, roi) for truth, roi in zip(truths, regions, strict=True)]
        same_scale([(truth.cube, roi) for truth, roi in where])
        ends_given = {key: float(options[key]) for key in ("low", "high") if options.get(key) is not None}
        task_options = {"channels": truths[0].channels}
        if len(ends_given) == 2 and any(_known(truth, roi) for truth, roi in where):
            return TargetSummary(options=task_options | ends_given, facts=ends_given, axis=truths[0].axis)
        span = reduce_blocks([block for truth, roi in where for block in blocks(truth.cube, roi)], _Span.of)
        if not span.known.any():
            raise _unknown("a known value of the target", "a target with numbers", "choose another target")
        ends = {"low": min(span.low, 0.0), "high": span.high} | ends_given
        if not ends["low"] < ends["high"]:
            raise UserError(
                truths[0].store,
                found=f"target values of the training region from {span.low:g} to {span.high:g}",
                expected="a range: values above 0, or more than one",
                do="Choose another region or target, or set task.low and task.high.",
            )
        facts = ends | {"known_pixels": span.known.tolist()}
        return TargetSummary(options=task_options | ends, facts=facts, axis=truths[0].axis)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Span:
    """The number of known values of each channel, and their range."""

    known: Int64[np.ndarray, " channel"]
    low: float
    high: float

    @classmethod
    def of(cls, block: Block) -> "_Span":
        """Return the numbers and the ranges for a block of a cube."""
        values = Scene.open(block.url).read(block.roi, thread_buffers())
        finite = np.isfinite(values)
        low, high = (float(f(values, where=finite, initial=i)) for f, i in ((np.min, np.inf), (np.max, -np.inf)))
        return cls(known=finite.sum(axis=(0, 1)), low=low, high=high)

    def __add__(self, other: "_Span") -> "_Span":
        low, high = min(self.low, other.low), max(self.high, other.high)
        return _Span(known=self.known + other.known, low=low, high=high)


def _stores(data: Data, key: str, stores: tuple[str, ...]) -> tuple[str, ...]:
    """Return the stores of targets after checking that there is one for each scene."""
    if len(stores) != len(data.scene):
        raise UserError(
            f"data.{key}",
            found=f"{len(stores)} stores" if stores else "nothing",
            expected=f"{len(data.scene)}, one for each of data.scene",
            do="Give one for each scene, in the same order.",
        )
    return stores


def _names(truths: Sequence[LabelTarget]) -> tuple[str, ...]:
    """Return the class names that all label layers share."""
    first = truths[0]
    for truth in truths:
        if truth.names != first.names:
            raise UserError(
                truth.store,
                found=f"classes {', '.join(truth.names) or 'without names'}",
                expected=f"{', '.join(first.names) or 'classes without names'}, as in {first.store}",
                do="Scenes of one training share their classes, in the same order.",
            )
    return first.names


def _count(truth: LabelTarget, roi: Roi) -> Int64[np.ndarray, "256"]:
    """Return the numbers of pixels of a region with each label 0 to 255."""
    counts = np.zeros(256, np.int64)
    for y0 in range(roi.y0, roi.y1, STRIP):
        values = truth.labels(replace(roi, y0=y0, y1=min(y0 + STRIP, roi.y1))).ravel()
        check_labels(values, truth.store)
        counts += np.bincount(values.astype(np.uint8), minlength=256)
    return counts


def _same_channels(truths: Sequence[ValueTarget], options: Mapping[str, Any]) -> None:
    """Refuse targets whose channels differ from each other or from the task's options."""
    first = truths[0]
    for truth in truths:
        ours, theirs = (Bands(count=one.channels, axis=one.axis) for one in (first, truth))
        try:
            same_bands(ours, theirs, truth.store)
        except UserError as error:
            raise UserError(
                truth.store,
                found=f"other target bands than in {first.store} ({error})",
                expected="targets of one training with the same bands",
                do="Resample one of them to the bands of the other.",
            ) from error
    channels = options.get("channels")
    if channels is not None and int(channels) != first.channels:
        raise UserError(
            "task.channels",
            found=f"{channels}, where {first.store} has {first.channels} bands",
            expected=str(first.channels),
            do="Leave it out: it is taken from the target.",
        )


def _known(truth: ValueTarget, roi: Roi) -> bool:
    """Return whether any value of a region is known."""
    return any(
        bool(np.isfinite(truth.cube.read(block.roi, thread_buffers())).any()) for block in blocks(truth.cube, roi)
    )


def _unknown(what: str, expected: str, else_do: str) -> UserError:
    """Return the error for regions that are unknown everywhere."""
    return UserError(
        "data.rows, data.cols",
        found=f"a training region without {what}",
        expected=expected,
        do=f"Choose another region, or {else_do}.",
    )
