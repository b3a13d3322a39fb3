"""Stripes: rows of blocks that a few threads render into one buffer, the unit of writing and recording."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from threadpoolctl import threadpool_limits

from tilespec.simulate.block import EDGE, MATERIALS, render
from tilespec.simulate.plant_layout import PlantLayout

Finish = Callable[[Float32[np.ndarray, "y x band"], tuple[int, int], int], np.ndarray]
"""A function from a block's reflectance, the block and its first column to the sensor's values."""


@final
@dataclass(frozen=True, kw_only=True)
class Stripe:
    """A strip of `EDGE` rows of a scene (fewer at its end) in full width."""

    cube: np.ndarray
    """The values ``y, x, band`` from the sensor, in a buffer that the next stripe reuses."""
    plant: UInt16[np.ndarray, "y x"]
    """The plant number of each pixel, 0 for background."""
    material: UInt8[np.ndarray, "y x"]
    """The index into `MATERIALS` of each pixel."""

    @property
    def labels(self) -> UInt8[np.ndarray, "y x"]:
        """The label of each pixel: 1 for plant, else 0."""
        return (self.plant > 0).astype(np.uint8)

    def counts(self) -> dict[str, int]:
        """Return the numbers of pixels of plants and of each material."""
        tally = np.bincount(self.material.ravel(), minlength=len(MATERIALS)).tolist()
        return {"plant_pixels": int(self.labels.sum()), **dict(zip(MATERIALS, tally, strict=True))}


@contextmanager
def painter(layout: PlantLayout, finish: Finish, dtype: str, workers: int) -> Iterator[Callable[[int], Stripe]]:
    """Return the function that renders stripe ``row`` on ``workers`` threads, whose number changes no bits."""
    buffer = np.empty((min(EDGE, layout.rows), layout.cols, layout.bands), dtype)

    with ThreadPoolExecutor(max_workers=workers) as pool, threadpool_limits(1):

        def paint(row: int) -> Stripe:
            height = min(EDGE, layout.rows - row * EDGE)
            stripe = Stripe(
                cube=buffer[:height],
                plant=np.empty((height, layout.cols), np.uint16),
                material=np.empty((height, layout.cols), np.uint8),
            )
            list(pool.map(lambda col: _fill(layout, finish, stripe, (row, col)), range(-(-layout.cols // EDGE))))
            return stripe

        yield paint


def _fill(layout: PlantLayout, finish: Finish, stripe: Stripe, at: tuple[int, int]) -> None:
    """Render one block into its columns of the stripe."""
    block = render(layout, *at)
    first = at[1] * EDGE
    here = slice(first, min(first + EDGE, layout.cols))
    height, width = len(stripe.plant), here.stop - first
    stripe.cube[:, here] = finish(block.reflectance, at, first)[:height, :width]
    stripe.plant[:, here] = block.plant[:height, :width]
    stripe.material[:, here] = block.material[:height, :width]
