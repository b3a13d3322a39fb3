"""Block: one block of a scene is rendered alone, as a pure function of the layout and the block's position."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt16

from tilespec.core.types import Reflectance
from tilespec.simulate import light
from tilespec.simulate.canopy import Blade, Canopy, canopy, shadow
from tilespec.simulate.ground import GroundLayers, ground
from tilespec.simulate.layout import EDGE
from tilespec.simulate.leaf import PER_PIXEL
from tilespec.simulate.palette import GROUND, MOSS_DRAWS, greens
from tilespec.simulate.palette import ground as ground_spectra
from tilespec.simulate.plant_layout import PlantLayout, plant
from tilespec.simulate.stripes import Arrays
from tilespec.simulate.texture import Field, X, Y, smooth

CLASSES = ("background", "plant")
MATERIALS = ("soil", "leaf", "petiole", "moss", "algae", "bark", "perlite", "rim", "label")
GREEN = ("leaf", "petiole")
PLANT_SHARE = 0.5
"""The smallest share of leaves and petioles with which a pixel is plant."""

Line = Float64[np.ndarray, " n"]
Pixels = Float32[np.ndarray, "row col"]
Planes = Float32[np.ndarray, "plane row col"]
Cube = Float32[np.ndarray, "row col band"]


@final
@dataclass(frozen=True, kw_only=True)
class SceneBlock:
    """A block of `EDGE` x `EDGE` pixels of a scene before any sensor."""

    reflectance: Reflectance
    """The apparent reflectance that a calibrated camera without noise measures; shadows are dark in it."""
    plant: UInt16[np.ndarray, "y x"]
    """The number of the plant at each pixel, from 1; 0 is background."""
    material: UInt8[np.ndarray, "y x"]
    """The index into `MATERIALS` of the largest share of the pixel (within plant or background)."""

    @property
    def truth(self) -> dict[str, np.ndarray]:
        """The layers of the truth; the label of a pixel is 1 for plant, else 0."""
        return {"labels": (self.plant > 0).astype(np.uint8), "plant": self.plant, "material": self.material}


def pixel_counts(truth: Arrays) -> dict[str, int]:
    """Return the numbers of pixels of plants and of each material in layers of the truth."""
    tally = np.bincount(truth["material"].ravel(), minlength=len(MATERIALS)).tolist()
    return {"plant_pixels": int(truth["labels"].sum()), **dict(zip(MATERIALS, tally, strict=True))}


def render(layout: PlantLayout, row: int, col: int) -> SceneBlock:
    """Return block ``row``, ``col`` of the scene; pixels beyond the scene's edge are rendered too."""
    y, x = (_positions(k * EDGE) for k in (row, col))
    margin = 0.2 * layout.pot
    around = layout.near(y[0] - margin, y[-1] + margin, x[0] - margin, x[-1] + margin)
    pots = [plant(layout, index) for index in around]
    leaves = canopy(pots, y, x)
    below = ground(layout, y, x)
    dark = shadow(pots, leaves.surface, y, x)
    cube = _ground(layout, below, leaves.open, dark)
    _add_moss(cube, layout, below.moss * leaves.open, dark, (y, x))
    _add_leaves(cube, layout, leaves, dark, (y, x))
    ids, material = _truth(leaves, below)
    return SceneBlock(reflectance=cube, plant=ids, material=material)


def _positions(first: int) -> Line:
    """Return the positions of a block along one axis: `PER_PIXEL` for each pixel, and one extra at each end."""
    return first + (np.arange(PER_PIXEL * EDGE + 2) - 0.5) / PER_PIXEL


def mix(fine: Field) -> Pixels:
    """Return pixels from positions by the sensor's point spread, with weights 1 3 3 1 on each axis."""
    down = fine[:-2:2] + 3 * (fine[1:-1:2] + fine[2::2]) + fine[3::2]
    return (down[:, :-2:2] + 3 * (down[:, 1:-1:2] + down[:, 2::2]) + down[:, 3::2]) * np.float32(1 / 64)


def _lit(dark: Field) -> tuple[Field, Field]:
    """Return the diffuse and the direct light, where ``dark`` is the shaded share of the lamp."""
    sky = np.float32(light.DIFFUSE) * (1 - np.float32(0.35) * dark)
    return sky, np.float32(1 - light.DIFFUSE) * (1 - dark)


def _ground(layout: PlantLayout, below: GroundLayers, free: Field, dark: Field) -> Cube:
    """Return the ground's part of the reflectance."""
    sky, direct = _lit(np.maximum(dark, below.shaded))
    lamp, through = (sky + direct) * free, np.float32(light.THROUGH) * dark * free
    planes = [mix(below.parts[name] * lamp) for name in GROUND] + [mix(below.parts[name] * through) for name in GROUND]
    return product(np.stack(planes), np.concatenate(ground_spectra(layout)))


def product(planes: Planes, spectra: Float32[np.ndarray, "plane band"]) -> Cube:
    """Return the sum of planes times their spectra as ``y, x, band``."""
    count, height, width = planes.shape
    return (planes.reshape(count, -1).T @ spectra).reshape(height, width, spectra.shape[1])


def _add_moss(cube: Cube, layout: PlantLayout, cover: Field, dark: Field, at: tuple[Y, X]) -> None:
    """Add moss: at each position a mixture of the pot's moss spectra that changes smoothly with the position."""
    if not cover.any():
        return
    y, x = at
    sky, direct = _lit(dark)
    lamp, through = cover * (sky + direct), cover * dark * np.float32(light.THROUGH)
    weights = [np.exp(smooth(layout.seed, 40 + k, y, x, layout.pot / 14) * np.float32(30)) for k in range(MOSS_DRAWS)]
    total = np.sum(weights, axis=0)
    height, width = layout.cell
    for index in layout.near(y[0], y[-1], x[0], x[-1]):
        row, col = index // layout.grid[1], index % layout.grid[1]
        mask = ((y >= row * height) & (y < (row + 1) * height))[:, None] & (
            (x >= col * width) & (x < (col + 1) * width)
        )
        lit = lamp * mask / total
        if lit.any():
            spectra = greens(layout, index)
            planes = [mix(lit * weight) for weight in weights] + [mix(through * mask)]
            shaded = (spectra.moss.mean(0) * spectra.through)[None]
            cube += product(np.stack(planes), np.concatenate([spectra.moss, shaded]))


def _add_leaves(cube: Cube, layout: PlantLayout, leaves: Canopy, dark: Field, at: tuple[Y, X]) -> None:
    """Add the reflectance of the visible leaves."""
    if not leaves.blades:
        return
    mottle = smooth(layout.seed, 60, *at, 2.6) + smooth(layout.seed, 61, *at, max(layout.pot / 40, 3.0))
    for blade in leaves.blades:
        window = blade.window
        planes = _blade(blade, dark[window], mottle[window])
        inner, outer, vein = greens(layout, blade.pot).leaves[blade.number]
        spectra = np.stack([inner, outer, vein, inner * greens(layout, blade.pot).through, np.ones_like(inner)])
        _paste(cube, planes, spectra, window)


def _blade(blade: Blade, dark: Field, mottle: Field) -> list[Field]:
    """Return a leaf's planes: inner tissue, outer tissue and veins, the same in the shadow of others, and gloss."""
    leaf, relief = blade.leaf, blade.relief
    sky, direct = _lit(dark)
    tone = blade.visible * np.float32(leaf.gain) * (1 + np.float32(0.11) * (mottle - 1))
    lamp = tone * (sky + direct * light.facing(relief.slope_y, relief.slope_x))
    base, tip, edge = leaf.gradient
    outer = (
        np.float32(base)
        + np.float32(tip) * blade.at.along
        + np.float32(edge) * relief.margin**2
        + (mottle - 1) * np.float32(0.5)
    )
    outer = np.clip(outer, 0, 1) * (1 - relief.vein)
    through = tone * dark * np.float32(light.THROUGH)
    gloss = blade.visible * light.gloss(relief.slope_y, relief.slope_x) * (1 - dark)
    return [lamp * (1 - relief.vein - outer), lamp * outer, lamp * relief.vein, through, gloss]


def _paste(
    cube: Cube, planes: list[np.ndarray], spectra: Float32[np.ndarray, "plane band"], window: tuple[slice, slice]
) -> None:
    """Add planes that cover only a window of the grid."""
    mixed = np.stack([mix(np.pad(plane, 2)) for plane in planes])
    inside, outside = [], []
    for part, size in zip(window, cube.shape, strict=False):
        first, last = part.start // PER_PIXEL - 1, part.stop // PER_PIXEL
        outside.append(slice(max(first, 0), min(last, size)))
        inside.append(slice(max(-first, 0), max(-first, 0) + min(last, size) - max(first, 0)))
    cube[tuple(outside)] += product(mixed[:, inside[0], inside[1]], spectra)


def _truth(leaves: Canopy, below: GroundLayers) -> tuple[UInt16[np.ndarray, "row col"], UInt8[np.ndarray, "row col"]]:
    """Return the plant number and the material of each pixel."""
    shape = leaves.open.shape
    green = {name: np.zeros(shape, np.float32) for name in GREEN}
    owner: dict[int, Field] = {}
    for blade in leaves.blades:
        stalk = blade.at.along < blade.leaf.petiole
        green["petiole"][blade.window] += blade.visible * stalk
        green["leaf"][blade.window] += blade.visible * ~stalk
        owner.setdefault(blade.pot, np.zeros(shape, np.float32))[blade.window] += blade.visible
    shares = {name: mix(below.shares[name] * leaves.open) for name in below.shares}
    shares |= {name: mix(plane) for name, plane in green.items()}
    planted = shares["leaf"] + shares["petiole"] >= PLANT_SHARE
    ids = np.zeros(planted.shape, np.uint16)
    most = np.zeros(planted.shape, np.float32)
    for pot, fine in owner.items():
        share = mix(fine)
        ids[planted & (share > most)] = pot + 1
        np.maximum(most, share, out=most)
    stacked = np.stack([np.where(planted == (name in GREEN), shares[name], -1) for name in MATERIALS])
    return ids, stacked.argmax(0).astype(np.uint8)
