"""Leaf: outline, slope, height and veins of one leaf at every position of the grid."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Float32

from tilespec.simulate.plant_layout import Leaf
from tilespec.simulate.texture import Field, X, Y

STEPS = 1024
PER_PIXEL = 2
"""The number of positions for each pixel and axis, whose averages give mixed pixels at edges."""

Outline = Float32[np.ndarray, " step"]


@lru_cache(maxsize=1024)
def outline(leaf: Leaf) -> tuple[Outline, Outline]:
    """Return the half widths left and right of the midrib at `STEPS` positions along the leaf; -1 beyond its ends."""
    t = np.linspace(-0.02, 1.02, STEPS)
    blade = np.clip((t - leaf.petiole) / (1 - leaf.petiole), 0, 1)
    p, q = leaf.blunt
    peak = p / (p + q)
    shape = blade**p * (1 - blade) ** q / (peak**p * (1 - peak) ** q)
    stalk = leaf.stalk * (1 - 0.45 * np.clip(t / max(leaf.petiole, 0.05), 0, 1))
    inside = (t >= 0) & (t <= 1)

    def side(phase: float) -> Outline:
        tooth = (blade**0.8 * leaf.teeth + phase) % 1.0
        jagged = 1 - leaf.depth * (1 - tooth**1.4) * np.minimum(1, 4 * blade)
        lobes = 1 + 0.06 * np.sin(2 * np.pi * (1.3 * blade + phase))
        half = np.maximum(leaf.width * shape * jagged * lobes, stalk * (t < 0.9))
        return np.where(inside, half, -1.0).astype(np.float32)

    return side(leaf.phase[0]), side(leaf.phase[1])


@final
@dataclass(frozen=True, kw_only=True)
class Local:
    """Positions in a leaf's own coordinates."""

    along: Field
    """The position along the leaf: 0 at the origin, 1 at the tip."""
    across: Field
    """The distance from the midrib in units of the length, negative on the left."""
    half: Field
    """The leaf's half width at that position; -1 beyond its ends."""

    def inside(self, leaf: Leaf, soft: float | Field) -> Field:
        """Return the share, 0 to 1, of a spot ``soft`` pixels wide that the leaf covers."""
        depth = (self.half - np.abs(self.across)) * (np.float32(leaf.length) / soft)
        return np.clip(depth + np.float32(0.5), 0, 1)


def local(leaf: Leaf, y: Field | Y, x: Field | X) -> Local:
    """Return positions (full fields, or the two axes of a grid) in the leaf's coordinates."""
    dy = np.asarray(y - leaf.y, np.float32)
    dx = np.asarray(x - leaf.x, np.float32)
    if dy.ndim == 1:
        dy, dx = dy[:, None], dx[None, :]
    c, s = np.float32(np.cos(leaf.angle) / leaf.length), np.float32(np.sin(leaf.angle) / leaf.length)
    along = dx * c + dy * s
    across = dy * c - dx * s - np.float32(leaf.bend) * along * along
    step = np.clip((along + np.float32(0.02)) * np.float32(STEPS / 1.04), 0, STEPS - 1).astype(np.int32)
    left, right = outline(leaf)
    return Local(along=along, across=across, half=np.where(across < 0, left[step], right[step]))


@final
@dataclass(frozen=True, kw_only=True)
class Relief:
    """The surface of a leaf."""

    slope_y: Field
    """The rise for each pixel down."""
    slope_x: Field
    """The rise for each pixel to the right."""
    vein: Field
    """The weight of veins: 0 in the tissue, 1 on a vein or the petiole."""
    margin: Field
    """The position between midrib and margin: 0 on the midrib, 1 at the margin."""


def height(leaf: Leaf, along: Field) -> Field:
    """Return the height of the midrib above the soil in pixels."""
    t = np.clip(along, 0, 1)
    arc = np.float32(leaf.rise) * t - np.float32(leaf.droop / 2) * t * t
    return np.maximum(np.float32(leaf.base) + np.float32(leaf.length) * arc, np.float32(0.02 * leaf.length))


def relief(leaf: Leaf, at: Local) -> Relief:
    """Return the slopes: an arched midrib, halves that fold up and curl down, waves, and bulges between side veins."""
    span = np.maximum(at.half, np.float32(1e-3))
    margin = np.minimum(np.abs(at.across) / span, 1)
    sign = at.across / (np.abs(at.across) + np.float32(0.012))
    blade = np.clip((at.along - np.float32(leaf.petiole)) * 12, 0, 1)
    rib = (at.along - np.abs(at.across) * np.float32(0.75)) * np.float32(leaf.veins / (1 - leaf.petiole))
    off = rib - np.round(rib)
    ripple = np.sin((at.along * 17 + sign * np.float32(leaf.phase[0] * 6)) * np.float32(1.3))
    steep = np.float32(leaf.wave) * ripple * margin * margin + np.float32(0.30) * off * blade * (1 - margin)
    forward = np.float32(leaf.rise) - np.float32(leaf.droop) * at.along + steep
    sideways = sign * (np.float32(leaf.fold) - np.float32(leaf.curl) * margin * margin) * blade
    sideways -= (1 - blade) * np.float32(1.2) * sign * margin
    c, s = np.float32(np.cos(leaf.angle)), np.float32(np.sin(leaf.angle))
    taper = np.float32(0.016) * np.maximum(1 - at.along, 0) + np.float32(0.004)
    midrib = np.clip(1.4 - np.abs(at.across) / taper, 0, 1)
    side = np.clip(1 - np.abs(off) * 11, 0, 1) * (1 - margin) * np.float32(0.38)
    return Relief(
        slope_y=forward * s + sideways * c,
        slope_x=forward * c - sideways * s,
        vein=np.maximum(1 - blade, np.maximum(midrib * np.float32(0.75), side * blade)),
        margin=margin,
    )
