"""Samples: trays of meat under a near-infrared line camera, with hidden maps of fat, water and protein.

Methods get the means of the maps over samples alone (``OUT.references.csv``); the maps are there to judge them.

Light: Beer and Lambert's law. The absorbance of a pixel is the path length times the sum of contents times
absorptivities, plus an offset and a slope over wavelengths that scatter adds; reflectance is 10 to the power of minus
that. The camera adds noise of photons and of reading.
"""

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from scipy.special import expit, ndtri

from tilespec.core.progress import Progress
from tilespec.core.types import Reflectance, SpectralAxis
from tilespec.simulate.block import product
from tilespec.simulate.constituents import CONSTITUENTS, absorptivity, tray, warming, wavelengths
from tilespec.simulate.layout import EDGE
from tilespec.simulate.options import SimulateOptions
from tilespec.simulate.references import HEADER, references_path, write_references
from tilespec.simulate.sample_layout import ADIPOSE, SampleLayout, SampleTraits, sample_traits
from tilespec.simulate.sensor import TRAY, noise
from tilespec.simulate.store import SimulatedScene, Simulation, write_scene
from tilespec.simulate.stripes import Arrays
from tilespec.simulate.texture import Field, X, Y, smooth
from tilespec.storage.layout import layer_spec
from tilespec.storage.outputs import check_file

VERSION = 1
"""The version of the simulation, which is raised whenever the same seed would give another scene."""
ASH: Final = 0.012
"""The share of minerals in what is not fat."""
SHARP: Final = 0.25
"""The width of the border between lean and fat tissue, in standard deviations of the marbling."""
ELECTRONS, READ_NOISE = 2_000.0, 20.0
"""The electrons of a reflectance of 1, and the read noise in electrons."""

Map = Float32[np.ndarray, "y x"]
Plane = Float64[np.ndarray, "y x"]


@final
@dataclass(frozen=True, kw_only=True)
class SampleBlock:
    """A block of `EDGE` x `EDGE` pixels of a tray before any sensor."""

    reflectance: Reflectance
    """The reflectance without noise."""
    sample: Int32[np.ndarray, "y x"]
    """The number of the sample at each pixel, from 1; 0 is tray."""
    contents: dict[str, Map]
    """The contents of `CONSTITUENTS` in percent of mass, NaN outside samples."""


def samples(out: str, options: SimulateOptions) -> Simulation:
    """Return the simulation of a tray of samples.

    Raises:
        UserError: an impossible size, or a file of something else where the table of references goes.
    """
    size = {key: getattr(options, key) for key in ("rows", "cols", "bands", "samples", "seed")}
    layout = SampleLayout.of(**size)
    table = references_path(out)
    check_file(table, HEADER.encode(), "a table of references")
    settings = {"verb": "simulate", "version": VERSION, "kind": "samples", **size}
    scene = _scene(layout, settings)
    return Simulation(
        layout=layout,
        settings=settings,
        facts={"references": str(table)},
        bytes=scene.bytes,
        itemsize=4,
        write=partial(_write, scene),
    )


def _write(scene: SimulatedScene, out: str, workers: int, progress: Progress) -> dict[str, Any]:
    """Write the scene, then the means of its maps beside it."""
    counts = write_scene(scene, out, workers, progress)
    write_references(out)
    return counts


def _scene(layout: SampleLayout, settings: dict[str, Any]) -> SimulatedScene:
    """Return the scene of a tray."""
    plane, nm = (layout.rows, layout.cols), wavelengths(layout.bands)
    maps = [replace(layer_spec(k, plane, "float32"), fill=float("nan"), attrs={"units": "%"}) for k in CONSTITUENTS]
    return SimulatedScene(
        title="Simulated samples of meat on a tray",
        layout=layout,
        settings=settings,
        spectral=SpectralAxis(name="wavelength", unit="nm", values=tuple(nm.tolist())),
        layers=(layer_spec("sample", plane, "int32"), *maps),
        paint=partial(_paint, layout),
        count=lambda stripe: {"sample_pixels": int(np.count_nonzero(stripe["sample"]))},
    )


def _paint(layout: SampleLayout, row: int, col: int) -> Arrays:
    """Return the measured reflectance of a block and its truth."""
    block = render(layout, row, col)
    measured = noise(layout.seed, TRAY, (row, col), block.reflectance.shape)
    measured *= np.sqrt(block.reflectance / np.float32(ELECTRONS) + np.float32((READ_NOISE / ELECTRONS) ** 2))
    measured += block.reflectance
    return {"cube": measured, "sample": block.sample, **block.contents}


def render(layout: SampleLayout, row: int, col: int) -> SampleBlock:
    """Return block ``row``, ``col`` of the scene; pixels beyond the scene's edge are rendered too."""
    y, x = (k * EDGE + np.arange(EDGE) + 0.5 for k in (row, col))
    at, number = _traits(layout, y, x)
    inside = _inside(at, y, x)
    contents = _contents(layout, at, y, x)
    optics = _optics(layout, at, y, x)
    weights = {name: optics["path"] * share / 100 for name, share in contents.items()}
    planes = [*weights.values(), weights["water"] * at["warmth"], optics["offset"], optics["slope"]]
    stacked = np.stack([*(np.where(inside, plane, 0) for plane in planes), np.where(inside, 0, optics["dust"])])
    absorbance = product(stacked.astype(np.float32), endmembers(layout.bands))
    return SampleBlock(
        reflectance=np.exp(absorbance * np.float32(-np.log(10))),
        sample=np.where(inside, number, 0).astype(np.int32),
        contents={name: np.where(inside, share, np.float32(np.nan)) for name, share in contents.items()},
    )


def endmembers(bands: int) -> Float32[np.ndarray, "endmember band"]:
    """Return the spectra whose sum is the absorbance.

    They are 1 mm of pure fat, water and protein, of water's change when warm, offset, slope, and the tray.
    """
    nm = wavelengths(bands)
    slope = np.linspace(-1, 1, bands)
    pure = [absorptivity(name, nm) for name in CONSTITUENTS]
    return np.stack([*pure, warming(nm), np.ones(bands), slope, tray(nm)]).astype(np.float32)


def _traits(layout: SampleLayout, y: Y, x: X) -> tuple[dict[str, Plane], Int64[np.ndarray, "y x"]]:
    """Return the traits of the cell of each pixel, and the number of its sample."""
    down, across = (
        np.minimum(line // side, count - 1).astype(np.int64)
        for line, side, count in zip((y, x), layout.cell, layout.grid, strict=True)
    )
    cells, own = np.unique(down[:, None] * layout.grid[1] + across, return_inverse=True)
    drawn = [sample_traits(layout, int(index)) for index in cells]
    names = [field.name for field in fields(SampleTraits)]
    return {name: np.array([getattr(one, name) for one in drawn])[own] for name in names}, (cells + 1)[own]


def _inside(at: dict[str, Plane], y: Y, x: X) -> Bool[np.ndarray, "y x"]:
    """Return whether each pixel lies inside the outline of its sample."""
    dy, dx = y[:, None] - at["y"], x - at["x"]
    angle = np.arctan2(dy, dx) - at["turn"]
    return np.hypot(dy, dx) < at["radius"] * (1 + at["oval"] * np.cos(2 * angle) + at["lobed"] * np.cos(3 * angle))


def marbling(layout: SampleLayout, y: Y, x: X) -> Field:
    """Return the field whose highest parts are fat tissue: patches and veins, with about mean 0 and deviation 1."""
    side, seed = layout.side, layout.seed
    patches = smooth(seed, 200, y, x, max(side / 5, 4.0)) - np.float32(0.5)
    veins = [np.abs(smooth(seed, 201 + k, y, x, max(side / (7 + 4 * k), 3.0)) - np.float32(0.5)) for k in range(2)]
    return (patches - np.float32(1.5) * (veins[0] + veins[1]) + np.float32(0.535)) * np.float32(3)


def _contents(layout: SampleLayout, at: dict[str, Plane], y: Y, x: X) -> dict[str, Map]:
    """Return the contents of fat, water and protein in percent.

    Fat is a mixture of lean and fat tissue; of the rest a share is protein, a small one ash, and the others water.
    """
    level = -np.sqrt(1 + (1.7 * SHARP) ** 2) * ndtri(at["marbled"])
    tissue = expit((marbling(layout, y, x) - level) / SHARP)
    fat = at["lean"] + (ADIPOSE - at["lean"]) * tissue
    share = at["protein"] + 0.03 * (smooth(layout.seed, 210, y, x, max(layout.side / 4, 4.0)) - 0.5)
    maps = {"fat": fat, "water": (100 - fat) * (1 - ASH - share), "protein": (100 - fat) * share}
    return {name: content.astype(np.float32) for name, content in maps.items()}


def _optics(layout: SampleLayout, at: dict[str, Plane], y: Y, x: X) -> dict[str, Plane]:
    """Return the path length (mm), the offset and the slope of the absorbance, and the dust on the tray."""
    wide, fine = max(layout.side / 3, 4.0), max(layout.side / 12, 2.0)
    path, offset, slope = (smooth(layout.seed, 220 + k, y, x, size) - 0.5 for k, size in enumerate((wide, fine, wide)))
    dust = 1 + 0.06 * (smooth(layout.seed, 223, y, x, 3.0) - 0.5)
    return {
        "path": at["path"] * (1 + 0.3 * path),
        "offset": at["offset"] + 0.1 * offset,
        "slope": at["slope"] + 0.04 * slope,
        "dust": dust,
    }
