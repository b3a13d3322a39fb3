"""Laws of blending: constants and the identity come out bit for bit, two tiles give the lerp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.blend import WINDOWS, mix, profile
from tilespec.errors import UserError
from tilespec.grid import Axis

windows = st.sampled_from(sorted(WINDOWS))
axes = st.integers(1, 16).flatmap(
    lambda tile: st.builds(Axis, length=st.integers(1, 90), tile=st.just(tile), overlap=st.integers(0, tile - 1))
)


def blended(axis, window, values):
    """Blend tiles cut from ``values`` along one axis."""
    out = np.full((axis.end, 1, values.shape[1]), np.nan, np.float32)
    for k in range(axis.count):
        part = slice(k * axis.step, k * axis.step + axis.tile)
        mix(out[part], values[part, None], axis.gains(k, window))
    return out[:, 0]


@given(axes, windows, st.integers(0, 2**32 - 1))
def test_tiles_of_one_plane_blend_to_that_plane_bit_for_bit(axis, window, seed):
    plane = np.random.default_rng(seed).normal(size=(axis.end, 2)).astype(np.float32)
    np.testing.assert_array_equal(blended(axis, window, plane)[: axis.length], plane[: axis.length])


@given(axes, windows, st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_constants_stay_constant_bit_for_bit(axis, window, value):
    plane = np.full((axis.end, 1), value, np.float32)
    np.testing.assert_array_equal(blended(axis, window, plane)[: axis.length], plane[: axis.length])


@pytest.mark.parametrize("window", ["cosine", "linear"])
@pytest.mark.parametrize("overlap", [1, 2, 7, 16])
def test_flanks_are_complementary(window, overlap):
    rise = profile(window, overlap)
    np.testing.assert_allclose(rise + rise[::-1], 1.0, atol=1e-15)


def test_two_tiles_give_the_lerp():
    axis = Axis(length=12, tile=8, overlap=4)
    mean, tile = np.zeros((8, 1, 1), np.float32), np.ones((8, 1, 1), np.float32)
    mix(mean, tile, axis.gains(1, "cosine"))
    np.testing.assert_allclose(mean[:4, 0, 0], 0.5 - 0.5 * np.cos(np.pi * (np.arange(4) + 0.5) / 4), rtol=1e-6)
    np.testing.assert_array_equal(mean[4:, 0, 0], 1.0)


def test_an_unknown_window_lists_the_known_ones():
    with pytest.raises(UserError, match="one of cosine, linear, none"):
        profile("triangle", 4)
