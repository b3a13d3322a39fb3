"""Samples: the pixels of scenes that a reference number belongs to: a scene each, or the objects of a layer of ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.storage.layer import Layer
from tilespec.storage.references import References
from tilespec.storage.scene import Scene
from tilespec.storage.selection import Mask, mask_named

STRIP = 512
"""The number of rows of a layer of ids that are read at once."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """The pixels of one sample, with its reference numbers."""

    id: str
    """The id of the sample in the table."""
    scene: Scene
    """The scene that shows it."""
    roi: Roi
    """The smallest region with all its pixels."""
    layer: Layer | Mask | None
    """The layer of ids, or the mask, that says which pixels belong to it; None: all of the region."""
    number: int | None
    """The id in that layer; None if it is a mask."""
    values: Float64[np.ndarray, " quantity"]
    """The reference numbers, NaN where there is none."""

    def mask(self, roi: Roi) -> Bool[np.ndarray, "y x"]:
        """Return which pixels of a region of the scene belong to the sample."""
        if self.layer is None:
            y, x = np.ogrid[roi.slices]
            return (y >= self.roi.y0) & (y < self.roi.y1) & (x >= self.roi.x0) & (x < self.roi.x1)
        inside: np.ndarray = self.layer.read(roi)
        return inside if self.number is None else inside == self.number


def samples_of(
    scenes: Sequence[Scene], references: References, *, layer: str | None = None, mask: str | None = None
) -> tuple[Sample, ...]:
    """Return the samples of scenes that have a reference number, in the order of the table.

    Args:
        scenes: The scenes. Without ``layer`` each is a sample, whose id is the name of its store without ``.zarr``.
        references: The table.
        layer: A layer of sample ids in each scene, 0 for no sample.
        mask: The pixels that are the sample (`storage.selection.mask_named`), where each scene is one.

    Raises:
        UserError: an id of the table pairs with no sample or with two, a sample has no pixel, or no sample has a
            number.
    """
    known = {sample.id: sample for sample in samples_in(scenes, layer=layer, mask=mask)}
    absent = [name for name in references.samples if name not in known]
    if absent:
        raise UserError(
            references.path,
            found=f"{len(absent)} ids that no sample has: {', '.join(absent[:5])}",
            expected=f"ids among {', '.join(sorted(known)[:8])}",
            do="Correct the ids or the scenes: an id is the name of a scene, or a number of the layer of samples.",
        )
    pairs = zip(references.samples, references.values, strict=True)
    return tuple(replace(known[name], values=values) for name, values in pairs if np.isfinite(values).any())


def samples_in(scenes: Sequence[Scene], *, layer: str | None = None, mask: str | None = None) -> tuple[Sample, ...]:
    """Return all samples of scenes, without numbers; arguments and errors are those of `samples_of`."""
    if layer is not None and mask is not None:
        raise UserError(
            f"layer of samples {layer}",
            found=f"the mask {mask} together with it",
            expected="one of them: the ids of samples say which pixels belong to them",
            do="Leave the mask out.",
        )
    each = _numbered(scenes, layer) if layer is not None else _whole(scenes, mask)
    samples: dict[str, Sample] = {}
    for sample in each:
        if sample.id in samples:
            raise UserError(
                sample.scene.url,
                found=f"the sample {sample.id}, which is in {samples[sample.id].scene.url} too",
                expected="each sample once",
                do="Give scenes of different names, or layers of different ids.",
            )
        samples[sample.id] = sample
    return tuple(samples.values())


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleIndex:
    """The sample of each pixel of one scene, a small value that is sent to workers."""

    places: Int64[np.ndarray, " sample"]
    """The places of the scene's samples among all samples; ascending by their ids in the layer, if it has ids."""
    numbers: Int64[np.ndarray, " sample"] | None
    """Their ids in the layer; None if the only sample is a mask or the whole scene."""
    sample: Sample
    """The first sample, whose layer is that of all."""
    rois: tuple[Roi, ...]
    """The region of each sample."""

    def of(self, roi: Roi) -> Int64[np.ndarray, "y x"]:
        """Return the place of the sample of each pixel of a region, -1 for none."""
        layer, numbers = self.sample.layer, self.numbers
        if numbers is None or layer is None:
            return np.where(self.sample.mask(roi), self.places[0], -1)
        held = layer.read(roi).astype(np.int64)
        at = np.minimum(np.searchsorted(numbers, held), len(numbers) - 1)
        return np.where(numbers[at] == held, self.places[at], -1)


def indices_of(samples: Sequence[Sample]) -> dict[str, SampleIndex]:
    """Return the index of each scene with samples, by its URL."""
    by_scene: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        by_scene.setdefault(sample.scene.url, []).append(place)
    found = {}
    for url, places in by_scene.items():
        ordered = sorted(places, key=lambda place: samples[place].number or 0)
        first = samples[ordered[0]]
        found[url] = SampleIndex(
            places=np.array(ordered, np.int64),
            numbers=None if first.number is None else np.array([samples[p].number for p in ordered], np.int64),
            sample=first,
            rois=tuple(samples[place].roi for place in ordered),
        )
    return found


def _whole(scenes: Sequence[Scene], mask: str | None) -> Iterator[Sample]:
    """Yield each scene as one sample, by its name."""
    for scene in scenes:
        name = PurePath(scene.url.rstrip("/")).name.removesuffix(".zarr")
        plane = None if mask is None else mask_named(scene, mask)
        roi = scene.roi if plane is None else _boxes(scene, str(mask), plane)[1]
        yield Sample(id=name, scene=scene, roi=roi, layer=plane, number=None, values=np.empty(0))


def _numbered(scenes: Sequence[Scene], layer: str) -> Iterator[Sample]:
    """Yield the samples of a layer of ids in each scene."""
    for scene in scenes:
        plane = scene.plane(layer)
        if plane.dtype.kind not in "iu":
            raise UserError(
                f"{scene.url}: {layer}",
                found=f"numbers of type {plane.dtype}",
                expected="whole numbers: the ids of samples, 0 for none",
                do="Name a layer of sample ids.",
            )
        for number, roi in sorted(_boxes(scene, layer, plane).items()):
            yield Sample(id=str(number), scene=scene, roi=roi, layer=plane, number=number, values=np.empty(0))


def _boxes(scene: Scene, name: str, plane: Layer | Mask) -> dict[int, Roi]:
    """Return the smallest region with all pixels of each number above 0, read strip by strip.

    Raises:
        UserError: there is none.
    """
    boxes: dict[int, Roi] = {}
    for strip in scene.roi.cut(STRIP, scene.shape[1]):
        numbers = plane.read(strip).astype(np.int64)
        y, x = np.nonzero(numbers > 0)
        held, of = np.unique(numbers[y, x], return_inverse=True)
        first, last = np.full((len(held), 2), max(scene.shape)), np.zeros((len(held), 2), np.int64)
        pixels = np.stack([y + strip.y0, x + strip.x0], axis=1)
        np.minimum.at(first, of, pixels)
        np.maximum.at(last, of, pixels + 1)
        for number, (y0, x0), (y1, x1) in zip(held.tolist(), first.tolist(), last.tolist(), strict=True):
            one = Roi(y0=y0, y1=y1, x0=x0, x1=x1)
            boxes[number] = one.joined(boxes[number]) if number in boxes else one
    if not boxes:
        raise UserError(
            f"{scene.url}: {name}",
            found="no pixel of any sample",
            expected="pixels above 0, of a sample",
            do="Correct the layer, or leave the scene and its rows of the table out.",
        )
    return boxes
