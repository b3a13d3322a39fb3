"""Targets: what a net should answer on the plane of a scene. A task says which kind it learns from.

Classes (uint8 ``y, x``, 255 = unknown) come from a label plane, a field (float32 ``y, x, channel``, NaN = unknown) from
the cube of another store. Both are read block by block beside the spectra, and patches turn with them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from tilespec.cluster.reduction import fold
from tilespec.core.buffers import room
from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, ClassMap, Reflectance, Roi, SpectralAxis
from tilespec.spectra.bands import Bands, same_bands
from tilespec.storage.blocks import Block, blocks
from tilespec.storage.group import open_group
from tilespec.storage.layer import Plane
from tilespec.storage.layout import ArraySpec, cube_spec, layer_spec
from tilespec.storage.scene import Scene

STRIP: Final = 512
"""Rows of labels that are counted at once."""

Answers = UInt8[np.ndarray, "y2 x2"] | Float32[np.ndarray, "y2 x2 channel"]
"""Of one kind or the other, on the plane of the truth."""


@final
@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the truths of a training have in common."""

    options: Mapping[str, Any]
    """What they tell the task: how many classes; how many channels, and the range of their values."""
    facts: Mapping[str, Any]
    """What was counted, as plain data for the plan."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in order."""
    axis: SpectralAxis | None = None
    """What the channels of a field are."""


@runtime_checkable
class Truth(Protocol):
    """What every kind of truth has."""

    KEY: ClassVar[str]
    """Of the configuration that names its stores, and of the digest in the provenance of a model."""
    LACKS: ClassVar[tuple[str, ...]]
    """Keys of ``[data]`` that ask for what it does not have."""
    LEAST: ClassVar[Mapping[str, float]]
    """Options with which a task can be built before anything is known of the truths; its geometry is the same."""

    @property
    def store(self) -> str:
        """Where it lies."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of its plane."""

    @property
    def plane(self) -> Plane | None:
        """The classes that draws can be balanced by, if there are any."""

    @property
    def digest(self) -> str | None:
        """Hash of what it holds, where a run has left one."""

    @property
    def axis(self) -> SpectralAxis | None:
        """What its channels are."""

    def empty(self, shape: tuple[int, int]) -> Answers:
        """Return memory for a region."""

    def read(self, roi: Roi) -> Answers:
        """Return a region, in memory of the caller's own."""

    def spec(self, shape: tuple[int, int], classes: tuple[str, ...]) -> ArraySpec:
        """Return how a copy of some region of it is stored."""

    @staticmethod
    def survey(truths: Sequence[Any], regions: Sequence[Roi], options: Mapping[str, Any]) -> Survey:
        """Return what they have in common on some regions; ``options`` are what the user told the task.

        Raises:
            UserError: they do not go together, nothing is known of any region, or the task was told otherwise.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Classes:
    """A plane of labels."""

    KEY: ClassVar[str] = "labels"
    LACKS: ClassVar[tuple[str, ...]] = ()
    LEAST: ClassVar[Mapping[str, float]] = {"classes": 2}

    plane: Plane
    """Where the labels lie; the store is opened once."""

    @classmethod
    def open(cls, store: str) -> "Classes":
        """Return the labels of a store.

        Raises:
            UserError: it has none.
        """
        return cls(plane=Plane.open(store, "labels"))

    @property
    def store(self) -> str:
        """Where it lies."""
        return self.plane.store

    @property
    def shape(self) -> tuple[int, int]:
        """Of its plane."""
        height, width = self.plane.shape
        return height, width

    @property
    def digest(self) -> str | None:
        """Hash of the store, where a run has left one."""
        found = open_group(self.store).attrs.get("tilespec_digest")
        return None if found is None else str(found)

    @property
    def axis(self) -> None:
        """Nothing: classes have names."""
        return

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes; none where the plane does not say."""
        return tuple(str(self.plane.attrs.get("flag_meanings", "")).split())

    def empty(self, shape: tuple[int, int]) -> ClassMap:
        """Return memory for a region."""
        return np.empty(shape, np.uint8)

    def read(self, roi: Roi) -> ClassMap:
        """Return the labels of a region."""
        return self.plane.read(roi).astype(np.uint8, copy=False)

    def spec(self, shape: tuple[int, int], classes: tuple[str, ...]) -> ArraySpec:
        """Return how a copy of some region of it is stored."""
        return layer_spec("labels", shape, classes=classes)

    @staticmethod
    def survey(truths: Sequence["Classes"], regions: Sequence[Roi], options: Mapping[str, Any]) -> Survey:
        """Return names and number of the classes: those asked for, else those named, else those seen.

        Raises:
            UserError: names that differ, labels that are no classes, none at all, or more than were asked for.
        """
        names = _names(truths)
        counts = sum(np.stack([_count(truth, roi) for truth, roi in zip(truths, regions, strict=True)]))
        seen = np.flatnonzero(counts[:UNLABELLED])
        if not len(seen):
            raise _unknown("a labelled pixel", "labels other than 255", "label some of it")
        classes = int(options.get("classes") or max(len(names), int(seen[-1]) + 1, 2))
        if seen[-1] >= classes:
            raise UserError(
                "task.classes",
                found=f"label {seen[-1]} in the training region",
                expected=f"labels below {classes}, or 255 for unlabelled",
                do="Raise task.classes, or leave it out to take it from the labels.",
            )
        named = tuple(names[i] if i < len(names) else f"class_{i}" for i in range(classes))
        facts = {"classes": list(named), "labelled_pixels": [int(n) for n in counts[:classes]]}
        return Survey(options={"classes": classes}, facts=facts, classes=named)


@final
@dataclass(frozen=True, kw_only=True)
class Field:
    """The cube of a store, or its prediction of several channels."""

    KEY: ClassVar[str] = "target"
    LACKS: ClassVar[tuple[str, ...]] = ("balance", "drop_single_class")
    LEAST: ClassVar[Mapping[str, float]] = {"channels": 1, "low": -sys.float_info.max, "high": sys.float_info.max}
    plane: ClassVar[None] = None

    cube: Scene
    """Where the values lie."""

    @classmethod
    def open(cls, store: str) -> "Field":
        """Return the cube of a store.

        Raises:
            UserError: it has none.
        """
        return cls(cube=Scene.open(store))

    @property
    def store(self) -> str:
        """Where it lies."""
        return self.cube.url

    @property
    def shape(self) -> tuple[int, int]:
        """Of its plane."""
        return self.cube.shape[:2]

    @property
    def channels(self) -> int:
        """How many values a pixel has."""
        return self.cube.shape[2]

    @property
    def digest(self) -> str | None:
        """Hash of the cube, where a run has left one."""
        return self.cube.digest

    @property
    def axis(self) -> SpectralAxis | None:
        """What the channels are."""
        return self.cube.spectral

    def empty(self, shape: tuple[int, int]) -> Reflectance:
        """Return memory for a region."""
        return np.empty((*shape, self.channels), np.float32)

    def read(self, roi: Roi) -> Reflectance:
        """Return the values of a region, NaN where there are none."""
        return self.cube.read(roi)

    def spec(self, shape: tuple[int, int], classes: tuple[str, ...]) -> ArraySpec:
        """Return how a copy of some region of it is stored."""
        del classes
        return cube_spec((*shape, self.channels), "float32", spectral=self.axis)

    @staticmethod
    def survey(truths: Sequence["Field"], regions: Sequence[Roi], options: Mapping[str, Any]) -> Survey:
        """Return number, range and axis of the channels; all values of the regions are read once.

        The range goes from 0, or from the smallest value if that is negative, to the largest one. Where the task was
        told both ends, values are read only until one is known.

        Raises:
            UserError: channels that differ, none that is known, another number than was asked for, or no range.
        """
        _same_channels(truths, options)
        where = [(truth, roi) for truth, roi in zip(truths, regions, strict=True)]
        told = {key: float(options[key]) for key in ("low", "high") if options.get(key) is not None}
        found = {"channels": truths[0].channels}
        if len(told) == 2 and any(_known(truth, roi) for truth, roi in where):
            return Survey(options=found | told, facts=told, axis=truths[0].axis)
        span = fold([block for truth, roi in where for block in blocks(truth.cube, roi)], _Span.of)
        if not span.known.any():
            raise _unknown("a known value of the target", "a target with numbers", "choose another target")
        ends = {"low": min(span.low, 0.0), "high": span.high} | told
        if not ends["low"] < ends["high"]:
            raise UserError(
                truths[0].store,
                found=f"target values of the training region from {span.low:g} to {span.high:g}",
                expected="a range: values above 0, or more than one",
                do="Choose another region or target, or set task.low and task.high.",
            )
        facts = ends | {"known_pixels": span.known.tolist()}
        return Survey(options=found | ends, facts=facts, axis=truths[0].axis)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Span:
    """How many values of each channel are known, and between which they lie."""

    known: Int64[np.ndarray, " channel"]
    low: float
    high: float

    @classmethod
    def of(cls, block: Block) -> "_Span":
        """Return that of a block of a cube."""
        values = Scene.open(block.url).read(block.roi, room())
        known = np.isfinite(values)
        low, high = (float(f(values, where=known, initial=i)) for f, i in ((np.min, np.inf), (np.max, -np.inf)))
        return cls(known=known.sum(axis=(0, 1)), low=low, high=high)

    def __add__(self, other: "_Span") -> "_Span":
        low, high = min(self.low, other.low), max(self.high, other.high)
        return _Span(known=self.known + other.known, low=low, high=high)


KINDS: Final[dict[str, type[Classes] | type[Field]]] = {"classes": Classes, "field": Field}
"""What a task says that it learns from."""


def _names(truths: Sequence[Classes]) -> tuple[str, ...]:
    """Return the class names that all label planes share."""
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


def _count(truth: Classes, roi: Roi) -> Int64[np.ndarray, "256"]:
    """Return how many pixels of a region have each label 0 to 255."""
    counts = np.zeros(256, np.int64)
    for y0 in range(roi.y0, roi.y1, STRIP):
        values = truth.plane.read(replace(roi, y0=y0, y1=min(y0 + STRIP, roi.y1))).ravel()
        if values.min() < 0 or values.max() > UNLABELLED or values.dtype.kind not in "iub":
            raise UserError(
                truth.store,
                found=f"labels of type {values.dtype} from {values.min()} to {values.max()}",
                expected="whole numbers 0 to 254, and 255 for unlabelled",
                do="Number the classes 0, 1, ...",
            )
        counts += np.bincount(values.astype(np.uint8), minlength=256)
    return counts


def _same_channels(truths: Sequence[Field], options: Mapping[str, Any]) -> None:
    """Refuse targets whose channels differ, or are not as many as the task was told."""
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
    asked = options.get("channels")
    if asked is not None and int(asked) != first.channels:
        raise UserError(
            "task.channels",
            found=f"{asked}, where {first.store} has {first.channels} bands",
            expected=str(first.channels),
            do="Leave it out: it is taken from the target.",
        )


def _known(truth: Field, roi: Roi) -> bool:
    """Whether any value of a region is known."""
    return any(bool(np.isfinite(truth.cube.read(block.roi, room())).any()) for block in blocks(truth.cube, roi))


def _unknown(what: str, expected: str, else_do: str) -> UserError:
    """Return the error for regions of which nothing is known."""
    return UserError(
        "data.rows, data.cols",
        found=f"a training region without {what}",
        expected=expected,
        do=f"Choose another region, or {else_do}.",
    )
