"""Optics: the shipped optical table (see ``optics.json`` for its provenance) and the sensor's spectral response."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import final

import numpy as np
from jaxtyping import Float32, Float64

FIRST_NM, LAST_NM = 407.0, 997.0

Fine = Float64[np.ndarray, " fine"]


@final
@dataclass(frozen=True, kw_only=True)
class Optics:
    """The optical constants on a 1 nm grid from 400 to 1000 nm."""

    wavelength: Fine
    """The wavelengths in nm."""
    refractive_index: Fine
    """The refractive index of leaf material."""
    absorption: Float64[np.ndarray, "constituent fine"]
    """The specific absorption, one row for each of `constituents`."""
    constituents: tuple[str, ...]
    """The constituents: chlorophyll, carotenoids, anthocyanins, brown pigments, water, dry matter."""
    reflectance: dict[str, Fine]
    """The reflectance of bare materials by name."""

    @classmethod
    @cache
    def load(cls) -> "Optics":
        """Return the table from the package."""
        with (
            files("tilespec.simulate").joinpath("optics.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as table,
        ):
            rows = table["reflectance"].astype(np.float64)
            return cls(
                wavelength=table["wavelength"].astype(np.float64),
                refractive_index=table["refractive_index"],
                absorption=table["absorption"],
                constituents=tuple(table["constituents"].tolist()),
                reflectance=dict(zip(table["materials"].tolist(), rows, strict=True)),
            )

    def of(self, constituent: str) -> Fine:
        """Return the specific absorption of one constituent."""
        return self.absorption[self.constituents.index(constituent)]


@final
@dataclass(frozen=True, kw_only=True)
class SensorBands:
    """The bands of a sensor: Gaussian responses on an evenly spaced grid."""

    centre: tuple[float, ...]
    """The centres of the bands in nm."""
    fwhm: float
    """The full width at half maximum in nm."""

    @classmethod
    def even(cls, count: int) -> "SensorBands":
        """Return ``count`` bands from 407 to 997 nm; 186 of them have the step of a HySpex VNIR-1800."""
        centre = np.linspace(FIRST_NM, LAST_NM, count)
        step = (LAST_NM - FIRST_NM) / max(count - 1, 1)
        return cls(centre=tuple(centre.tolist()), fwhm=float(min(max(1.1 * step, 3.5), 60.0)))

    @cache  # noqa: B019 - a frozen value, and a handful of them in a process
    def response(self) -> Float32[np.ndarray, "fine band"]:
        """Return the matrix that takes a spectrum on the 1 nm grid to the bands; its columns sum to one."""
        distance = Optics.load().wavelength[:, None] - np.asarray(self.centre)
        weight = np.exp(-4 * np.log(2) * (distance / self.fwhm) ** 2)
        return (weight / weight.sum(0)).astype(np.float32)
