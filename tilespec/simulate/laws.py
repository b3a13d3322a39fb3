"""Laws: the random distributions of the parameters of PROSPECT-D for leaves.

Moss has the distribution of the leaves themselves, `blade`: no pixel's spectrum separates them, only texture and shape
do. With a distribution of its own, any pixelwise non-linear classifier would separate moss.
"""

import numpy as np
from jaxtyping import Float64

from tilespec.simulate.prospect import Traits

Draws = Float64[np.ndarray, "leaf 7"]


def blade(rng: np.random.Generator, count: int) -> Draws:
    """Return the traits of ``count`` leaf blades: green, some with brown pigments, some with anthocyanins."""
    chlorophyll = rng.uniform(14, 42, count)
    brown = np.where(rng.random(count) < 0.35, rng.uniform(0, 0.15, count), 0.0)
    red = np.where(rng.random(count) < 0.40, rng.uniform(0, 3, count), 0.0)
    return Traits(
        structure=rng.uniform(1.3, 1.9, count),
        chlorophyll=chlorophyll,
        carotenoids=chlorophyll / rng.uniform(3.5, 5.0, count),
        anthocyanins=red,
        brown=brown,
        water=rng.uniform(0.008, 0.018, count),
        dry_matter=rng.uniform(0.002, 0.005, count),
    ).matrix()


def vein(rng: np.random.Generator, count: int) -> Draws:
    """Return the traits of petioles and veins: thick, pale, often reddish."""
    chlorophyll = rng.uniform(3, 12, count)
    return Traits(
        structure=rng.uniform(1.8, 2.6, count),
        chlorophyll=chlorophyll,
        carotenoids=chlorophyll / rng.uniform(3.5, 5.0, count),
        anthocyanins=rng.uniform(1, 5, count),
        brown=np.zeros(count),
        water=rng.uniform(0.012, 0.022, count),
        dry_matter=rng.uniform(0.003, 0.006, count),
    ).matrix()


def senescent(rng: np.random.Generator, count: int) -> Draws:
    """Return the traits of dying leaves: little chlorophyll, with carotenoids and brown pigments left."""
    return Traits(
        structure=rng.uniform(1.6, 2.3, count),
        chlorophyll=rng.uniform(3, 10, count),
        carotenoids=rng.uniform(3, 7, count),
        anthocyanins=rng.uniform(0, 2, count),
        brown=rng.uniform(0.3, 1.2, count),
        water=rng.uniform(0.004, 0.010, count),
        dry_matter=rng.uniform(0.002, 0.005, count),
    ).matrix()


def between(rng: np.random.Generator, leaf: Draws, spread: float) -> Draws:
    """Return variants of leaves: each is moved by ``spread`` of the way towards a fresh blade."""
    return leaf + spread * (blade(rng, len(leaf)) - leaf)
