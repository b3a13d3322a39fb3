"""Stripes: rows of blocks that a few threads render into one buffer, the unit of writing and recording."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from tilespec.simulate.layout import EDGE, GridLayout

Arrays = Mapping[str, np.ndarray]
"""Arrays ``y, x`` or ``y, x, band`` of the same pixels by their names."""
Paint = Callable[[int, int], Arrays]
"""A function from a row and a column of blocks to the arrays of that block, `EDGE` x `EDGE` pixels each."""


Forms = Mapping[str, tuple[str, tuple[int, ...]]]
"""The data type of each array by its name, and its shape without ``y, x``."""


@contextmanager
def painter(
    layout: GridLayout, paint: Paint, forms: Forms, workers: int
) -> Iterator[Callable[[int], dict[str, np.ndarray]]]:
    """Return the function that renders stripe ``row`` on ``workers`` threads, whose number changes no bits.

    A stripe is `EDGE` rows of a scene (fewer at its end) in full width, in buffers that the next stripe reuses.
    """
    height = min(EDGE, layout.rows)
    buffers = {name: np.empty((height, layout.cols, *shape), dtype) for name, (dtype, shape) in forms.items()}
    blocks = range(-(-layout.cols // EDGE))

    def fill(stripe: dict[str, np.ndarray], row: int, col: int) -> None:
        """Render one block into its columns of the stripe."""
        block = paint(row, col)
        for name, array in stripe.items():
            here = array[:, col * EDGE : (col + 1) * EDGE]
            here[...] = block[name][: here.shape[0], : here.shape[1]]

    with ThreadPoolExecutor(max_workers=workers) as pool, threadpool_limits(1):

        def stripe_of(row: int) -> dict[str, np.ndarray]:
            stripe = {name: buffer[: layout.rows - row * EDGE] for name, buffer in buffers.items()}
            list(pool.map(lambda col: fill(stripe, row, col), blocks))
            return stripe

        yield stripe_of
