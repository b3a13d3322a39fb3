"""References: the samples of a scene as target, of which only the mean of each quantity is known."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Int32

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.models.tasks.base import Geometry
from tilespec.storage.inventory import digests
from tilespec.storage.layout import ArraySpec, layer_spec
from tilespec.storage.references import References
from tilespec.storage.samples import Sample, SampleIndex, indices_of, samples_of
from tilespec.storage.scene import Scene
from tilespec.training.data.targets import TargetSummary
from tilespec.training.settings import Data


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceTarget:
    """The samples of one scene; the target of a pixel is the number of its sample, from 1 on, and 0 outside of all."""

    KEY: ClassVar[str] = "references"
    LACKS: ClassVar[tuple[str, ...]] = (
        *("rows", "cols", "test_rows", "test_cols", "synthetic"),
        *("patch", "patches", "window", "stratify", "balance", "weight", "shares", "drop_single_class", "adapt"),
    )
    LEAST: ClassVar[Mapping[str, Any]] = {"quantities": ("any",), "units": ("%",)}
    plane: ClassVar[None] = None
    axis: ClassVar[None] = None

    scene: Scene
    """The scene that shows the samples."""
    samples: tuple[Sample, ...]
    """The samples of the scene in the order of the table."""
    table: References
    """The table of all samples."""
    geometry: Geometry
    """How the truth lies on the scene."""

    @classmethod
    def of(cls, data: Data, scenes: Sequence[Scene], geometry: Geometry) -> "tuple[ReferenceTarget, ...]":
        """Return the samples of each scene.

        Raises:
            UserError: there is no table, it pairs with no samples, or an output pixel is no block of input pixels.
        """
        if data.references is None or (1 / geometry.scale).denominator != 1:
            raise UserError(
                "data.references, task.scale",
                found=f"{data.references}, {geometry.scale}",
                expected="a table, sample,NAME [UNIT],..., and one output pixel for 1 x 1, 2 x 2 ... pixels",
                do="Give --set data.references=FILE.csv.",
            )
        table = References.read(data.references, data.columns)
        samples = samples_of(scenes, table, layer=data.samples, mask=data.mask)
        return tuple(
            cls(
                scene=scene,
                samples=tuple(one for one in samples if one.scene is scene),
                table=table,
                geometry=geometry,
            )
            for scene in scenes
        )

    @cached_property
    def index(self) -> SampleIndex:
        """The place of each pixel's sample among the scene's."""
        return indices_of(self.samples)[self.scene.url]

    @property
    def store(self) -> str:
        """The URL of the scene."""
        return self.scene.url

    @property
    def shape(self) -> tuple[int, int]:
        """The height and the width of the plane in output pixels."""
        height, width = (int(length * self.geometry.scale) for length in self.scene.shape[:2])
        return height, width

    @property
    def digest(self) -> str:
        """The hash of the numbers, and of the store with the layer that says which pixels they belong to."""
        rows = [[one.id, one.values.tolist(), str(one.roi)] for one in self.samples]
        layers = {digests(one.layer.store).store for one in self.samples if one.layer is not None}
        content = json.dumps([self.table.quantities, rows, sorted(map(str, layers))])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def empty(self, shape: tuple[int, int]) -> Int32[np.ndarray, "y x"]:
        """Return memory for the numbers of a region."""
        return np.empty(shape, np.int32)

    def read(self, roi: Roi) -> Int32[np.ndarray, "y x"]:
        """Return the numbers of samples in a region of output pixels: of the sample that covers half of one or more."""
        plane, flat = np.zeros(roi.shape, np.int32), Geometry(scale=self.geometry.scale)
        step = 1 / self.geometry.scale
        below = Roi(y0=int(roi.y0 * step), y1=int(roi.y1 * step), x0=int(roi.x0 * step), x1=int(roi.x1 * step))
        held = self.index.of(below) if self.samples else np.full(below.shape, -1)
        for place in np.unique(held[held >= 0]):
            plane[flat.reduced(held == place)] = place + 1
        return plane

    def region(self, sample: Sample) -> Roi:
        """Return the smallest region of output pixels with all of a sample's, on the plane of the truth.

        Raises:
            UserError: all of them lie in the margin.
        """
        scale, lost = self.geometry.scale, int(self.geometry.margin * self.geometry.scale)
        (height, width), roi = self.shape, sample.roi
        ends = (floor(roi.y0 * scale), ceil(roi.y1 * scale), floor(roi.x0 * scale), ceil(roi.x1 * scale))
        y0, x0 = (max(lost, start) for start in ends[::2])
        y1, x1 = (min(length - lost, stop) for length, stop in zip((height, width), ends[1::2], strict=True))
        if y0 >= y1 or x0 >= x1:
            raise UserError(
                f"{self.scene.url}: sample {sample.id}",
                found=f"a sample of {roi}, which has no output pixel",
                expected=f"pixels inside a margin of {self.geometry.margin}",
                do="Set task.margin=0, or leave the sample out of the table.",
            )
        return Roi(y0=y0, y1=y1, x0=x0, x1=x1)

    def spec(self, shape: tuple[int, int], classes: tuple[str, ...]) -> ArraySpec:
        """Return the description of a stored copy of some region."""
        del classes
        return layer_spec("sample", shape, "int32")

    @staticmethod
    def survey(
        truths: "Sequence[ReferenceTarget]", regions: Sequence[Roi], options: Mapping[str, Any]
    ) -> TargetSummary:
        """Return the quantities with their units, which are those of the table; nothing else is read.

        Raises:
            UserError: the task's options name other quantities.
        """
        del regions
        table = truths[0].table
        told = {"quantities": table.quantities, "units": table.units}
        for key, names in told.items():
            if key in options and tuple(options[key]) != names:
                raise UserError(
                    f"task.{key}",
                    found=list(options[key]),
                    expected=f"{list(names)}, as in {table.path}",
                    do="Leave it out: it is taken from the table; data.columns names some of its quantities.",
                )
        facts = {"samples": sum(len(truth.samples) for truth in truths), "quantities": list(table.quantities)}
        return TargetSummary(options={key: list(names) for key, names in told.items()}, facts=facts)
