"""Laws of the grid: who covers what, what is read, and weights that sum to one."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.tiling.grid import Axis, Grid, reflect

axes = st.integers(1, 24).flatmap(
    lambda tile: st.builds(Axis, length=st.integers(1, 200), tile=st.just(tile), overlap=st.integers(0, tile - 1))
)


@given(axes)
def test_the_number_of_tiles_is_the_formula_and_every_pixel_is_covered(axis):
    assert axis.count == max(1, int(np.ceil((axis.length - axis.overlap) / (axis.tile - axis.overlap))))
    hits = np.zeros(axis.end, int)
    for k in range(axis.count):
        hits[k * axis.step : k * axis.step + axis.tile] += 1
    assert hits[: axis.length].min() >= 1


@given(axes, st.data())
def test_covering_names_exactly_the_tiles_that_touch_a_span(axis, data):
    start = data.draw(st.integers(0, axis.length - 1))
    stop = data.draw(st.integers(start + 1, axis.length))
    touching = [k for k in range(axis.count) if k * axis.step < stop and k * axis.step + axis.tile > start]
    assert list(axis.covering(start, stop)) == touching


@given(axes, st.sampled_from(["cosine", "linear", "none"]))
def test_the_weights_that_the_running_mean_implies_sum_to_one(axis, window):
    total = np.zeros(axis.end)
    for k in range(axis.count):
        part = slice(k * axis.step, k * axis.step + axis.tile)
        gains = axis.gains(k, window)
        total[part] = total[part] * (1 - gains) + gains
    np.testing.assert_allclose(total[: axis.length], 1.0, atol=1e-12)


@given(st.integers(-500, 500), st.integers(1, 40))
def test_reflection_agrees_with_numpys_pad(index, length):
    padded = np.pad(np.arange(length), 500, mode="reflect") if length > 1 else np.zeros(1001, int)
    assert reflect(np.array([index]), length)[0] == padded[index + 500]


def test_an_overlap_that_is_not_below_the_tile_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"found 64 with tile 64; expected 0 <= overlap < tile"):
        Axis(length=100, tile=64, overlap=64)


def test_exact_nets_read_their_halo_from_aligned_starts():
    axis = Axis(length=300, tile=40, overlap=0)
    grid = Grid(y=axis, x=axis, reach=TileClass(kind="exact", halo=10, align=8))
    for k in range(axis.count):
        start, stop = grid.read(axis, k)
        assert start % 8 == 0
        assert (stop - start) % 8 == 0
        assert start <= k * 40 - 10
        assert stop >= k * 40 + 50
        assert start + grid.crop(axis, k) == k * 40


def test_half_scale_with_a_margin_is_the_geometry_of_chemical_maps():
    axis = Axis(length=996, tile=116, overlap=16)
    grid = Grid(y=axis, x=axis, scale=Fraction(1, 2), origin=184, reach=TileClass(kind="approximate", halo=184))
    start, stop = grid.read(axis, 0)
    assert (start, stop) == (0, 600)  # 600 input pixels give 116: the published 408 -> 20, 600 -> 116
    assert grid.read(axis, 1)[0] == 200
