"""Spectra table: a store of labelled spectra without places, ``cube(spectrum, band)`` and ``class(spectrum)``."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Roi, SpectralAxis
from tilespec.storage.columns import is_table, layer_of
from tilespec.storage.group import open_group
from tilespec.storage.layout import numbers_among
from tilespec.storage.scene import Scene

Labels = Int64[np.ndarray, " spectrum"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SpectraTable:
    """A table of labelled spectra that is open for reading."""

    url: str
    """The URL of the store."""
    scene: Scene
    """The table as a scene one pixel wide."""
    labels: Labels
    """The class of each spectrum."""
    shares: Float64[np.ndarray, " spectrum"] | None
    """How far each spectrum lies on the path from the first to the last; None: the table is no path."""

    @classmethod
    def open(cls, url: str) -> "SpectraTable":
        """Open a table.

        Raises:
            UserError: there is no store, it is no table, or it is not complete.
        """
        scene = Scene.open(url)
        if not (scene.table and "labels" in scene.layers):
            raise UserError(
                url,
                found=f"a plane of {' x '.join(map(str, scene.shape[:2]))} pixels, layers {list(scene.layers)}",
                expected="a table of spectra: cube(spectrum, band) and class(spectrum)",
                do="Write one with `tilespec synth MODEL OUT`, or bring one in with `tilespec ingest FILE.csv OUT`.",
            )
        return cls(
            url=url,
            scene=scene,
            labels=scene.labels()[:, 0].astype(np.int64),
            shares=scene.layer("share")[:, 0].astype(np.float64) if "share" in scene.layers else None,
        )

    @property
    def bands(self) -> int:
        """The number of bands."""
        return self.scene.shape[2]

    @property
    def axis(self) -> SpectralAxis | None:
        """The spectral axis of the bands; None when the store does not give it."""
        return self.scene.spectral

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, none if the store does not name them."""
        return self.scene.classes()

    def read(self, start: int, stop: int) -> Float32[np.ndarray, "some band"]:
        """Return the spectra ``start`` to ``stop``."""
        return self.scene.read(Roi(y0=start, y1=stop, x0=0, x1=1))[:, 0]

    def numbered(self, names: tuple[str, ...]) -> Labels:
        """Return the class of each spectrum by its number among ``names``, -1 for none of them."""
        known = self.labels != UNLABELLED
        count = int(self.labels[known].max(initial=-1)) + 1
        numbers = np.array([*numbers_among(self.classes, names, count), -1], np.int64)
        return numbers[np.where(known, self.labels, count)]


def is_spectra_table(url: str) -> bool:
    """Return whether the cube of a store is a table of spectra."""
    cube = layer_of(open_group(url), "cube")
    return cube is not None and is_table(cube)
