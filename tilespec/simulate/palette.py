"""Palette: endmember spectra of each leaf, of each pot's moss, and of the ground, all drawn separately."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.simulate import laws
from tilespec.simulate.optics import Optics, SensorBands
from tilespec.simulate.plant_layout import PlantLayout, plant
from tilespec.simulate.prospect import Traits, prospect

MOSS_DRAWS = 12
Spectra = Float32[np.ndarray, "endmember band"]

GROUND = ("peat", "crumb", "humus", "loam", "film", "bark", "twig", "perlite", "rim", "tray", "stick", "ink")
"""The names of the ground's endmembers in the order of `ground`."""


@final
@dataclass(frozen=True, kw_only=True)
class Greens:
    """The spectra of the plant and the moss in one pot."""

    leaves: Float32[np.ndarray, "leaf 3 band"]
    """The reflectance of each leaf's inner tissue, outer tissue and veins."""
    through: Float32[np.ndarray, " band"]
    """The mean transmittance of the leaves."""
    moss: Spectra
    """The reflectance of moss: draws from the distribution of leaves, mixed freely over the cushions."""


@lru_cache(maxsize=256)
def greens(layout: PlantLayout, index: int) -> Greens:
    """Return the spectra of pot ``index``."""
    rng = layout.rng(index, 2)
    rosette = plant(layout, index).leaves
    inner = laws.blade(rng, len(rosette))
    dying = laws.senescent(rng, len(rosette))
    inner = np.where(np.array([[leaf.senescent] for leaf in rosette]).reshape(-1, 1), dying, inner)
    outer = laws.between(rng, inner, 0.35)
    veins = laws.vein(rng, len(rosette))
    moss = laws.blade(rng, MOSS_DRAWS)
    reflected, passed = prospect(Traits.of(np.concatenate([inner, outer, veins, moss])))
    response = SensorBands.even(layout.bands).response()
    reflected, passed = (v.astype(np.float32) @ response for v in (reflected, passed))
    n = len(rosette)
    return Greens(
        leaves=np.ascontiguousarray(reflected[: 3 * n].reshape(3, n, layout.bands).transpose(1, 0, 2)),
        through=passed[: 2 * n].mean(0) if n else np.zeros(layout.bands, np.float32),
        moss=reflected[3 * n :],
    )


@lru_cache(maxsize=8)
def ground(layout: PlantLayout) -> tuple[Spectra, Spectra]:
    """Return the reflectance of the ground's endmembers under the lamp, and their light below a leaf."""
    rng = layout.rng(0, 3)
    table = Optics.load()
    spectra = np.stack([*_soils(rng, table), *_solids(rng, table)])
    _, passed = prospect(Traits.of(laws.blade(rng, 16)))
    response = SensorBands.even(layout.bands).response()
    lit, under = (v.astype(np.float32) @ response for v in (spectra, spectra * passed.mean(0)))
    return lit, under


def _soils(rng: np.random.Generator, table: Optics) -> list[Float64[np.ndarray, " fine"]]:
    """Return peat, lighter crumbs, dark humus, mineral loam, and peat under a film of algae."""
    organic = np.stack([table.reflectance[f"organic_{k}"] for k in "abcde"])
    loam = np.stack([table.reflectance[f"soil_loam_{k}"] for k in "abc"])
    peat, crumb, humus = (rng.dirichlet(np.full(5, 2.0)) @ organic for _ in range(3))
    mineral = rng.dirichlet(np.full(3, 2.0)) @ loam
    film = 2 * (8.0 * table.of("chlorophyll") + 2.0 * table.of("carotenoids"))
    return [peat, crumb * 1.35, humus * 0.7, mineral, peat * 1.1 * np.exp(-film)]


def _solids(rng: np.random.Generator, table: Optics) -> list[Float64[np.ndarray, " fine"]]:
    """Return bark, twigs, perlite, the pot's dusty plastic, the tray, a label and its ink; plastics are nearly grey."""
    nm = table.wavelength
    white = 1 - np.exp(-(nm - 330) / 45)
    grey = 1 + 0.25 * (nm - 700) / 600
    plastic = rng.uniform(0.16, 0.24)
    return [
        0.55 * table.reflectance["bark_spruce"] + 0.45 * table.reflectance["bark_twig"],
        table.reflectance["bark_grey"],
        0.74 * white**0.5,
        0.5 * plastic * grey + 0.9 * table.reflectance["organic_a"],
        0.045 * grey,
        0.86 * white,
        0.06 * grey,
    ]
