"""Spectra table: a store of labelled spectra without places, ``cube(spectrum, band)`` and ``class(spectrum)``."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import zarr
from jaxtyping import Float32, Float64, Int64

from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.storage.group import check_complete, name_damage, open_group
from tilespec.storage.layout import class_names, numbers_among
from tilespec.storage.spectral_axis import spectral_of

Labels = Int64[np.ndarray, " spectrum"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SpectraTable:
    """A table of labelled spectra that is open for reading."""

    url: str
    """The URL of the store."""
    bands: int
    """The number of bands."""
    axis: SpectralAxis | None
    """The spectral axis of the bands; None when the store does not give it."""
    classes: tuple[str, ...]
    """The names of the classes, none if the store does not name them."""
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
        group = open_group(url)
        check_complete(url, group.attrs)
        arrays = _arrays(group)
        if arrays is None:
            raise UserError(
                url,
                found=f"arrays {sorted(group.array_keys())}",
                expected="a table of spectra: cube(spectrum, band) and class(spectrum)",
                do="Write one with `tilespec synth MODEL OUT`.",
            )
        (cube, of), share = arrays, group.get("share")
        return cls(
            url=url,
            bands=cube.shape[1],
            axis=spectral_of(url, group, cube.shape[1]),
            classes=class_names(of.attrs),
            labels=np.asarray(of[...]).astype(np.int64),
            shares=np.asarray(share[...], np.float64) if isinstance(share, zarr.Array) else None,
        )

    def read(self, start: int, stop: int) -> Float32[np.ndarray, "some band"]:
        """Return the spectra ``start`` to ``stop``."""
        cube = open_group(self.url)["cube"]
        assert isinstance(cube, zarr.Array), "it was one when the table was opened"
        with name_damage(self.url, Roi(y0=start, y1=stop, x0=0, x1=self.bands)):
            return np.asarray(cube[start:stop]).astype(np.float32)

    def numbered(self, names: tuple[str, ...]) -> Labels:
        """Return the class of each spectrum by its number among ``names``, -1 for none of them."""
        count = int(self.labels.max(initial=-1)) + 1
        return np.array(numbers_among(self.classes, names, count), np.int64)[self.labels]


def is_spectra_table(url: str) -> bool:
    """Return whether a store is a table of labelled spectra."""
    return _arrays(open_group(url)) is not None


def _arrays(group: zarr.Group) -> "tuple[zarr.Array[Any], zarr.Array[Any]] | None":
    """Return the spectra and the classes of a store, None if it is no table."""
    cube, of = group.get("cube"), group.get("class")
    table = isinstance(cube, zarr.Array) and isinstance(of, zarr.Array) and cube.ndim == 2
    return (cube, of) if table else None
