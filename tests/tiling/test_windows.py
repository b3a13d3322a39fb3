"""Laws of blending: constants and the identity come out bit for bit, two tiles give the lerp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.tiling.grid import Axis
from tilespec.tiling.windows import WINDOWS, mix, profile

windows = st.sampled_from(sorted(WINDOWS))
axes = st.integers(1, 16).flatmap(
    lambda tile: st.builds(Axis, length=st.integers(1, 90), tile=st.just(tile), overlap=st.integers(0, tile - 1))
)


def blended(axis, window, values):
    """Blend tiles cut from ``values`` along one axis."""
    out = np.full((axis.end, 1, values.shape[1]), np.nan, np.float32)
    for k in range(axis.count):
        part = slice(k * axis.step, k * axis.step + axis.tile)
        mix(out[part], values[part, None], axis.gains(k, window), axis=0, into=out[part])
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
    mix(mean, tile, axis.gains(1, "cosine"), axis=0, into=mean)
    np.testing.assert_allclose(mean[:4, 0, 0], 0.5 - 0.5 * np.cos(np.pi * (np.arange(4) + 0.5) / 4), rtol=1e-6)
    np.testing.assert_array_equal(mean[4:, 0, 0], 1.0)


def test_an_unknown_window_lists_the_known_ones():
    with pytest.raises(UserError, match="one of cosine, linear, gaussian, none"):
        profile("triangle", 4)


@given(axes, windows, st.sampled_from([0, 1]), st.booleans(), st.integers(0, 99))
def test_the_result_is_the_same_in_the_mean_and_in_the_tile_and_along_both_axes(axis, window, along, spread, seed):
    rng = np.random.default_rng(seed)
    k, shape = axis.count - 1, (axis.tile, 5, 2 + spread) if along == 0 else (5, axis.tile, 2 + spread)
    mean, tile = (rng.random(shape, np.float32) for _ in range(2))
    results = [mean.copy(), tile.copy()]
    mix(results[0], tile, axis.gains(k, window), axis=along, into=results[0], spread=spread)
    mix(mean, results[1], axis.gains(k, window), axis=along, into=results[1], spread=spread)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("window", ["cosine", "linear", "gaussian"])
def test_the_spread_is_the_weighted_variance_of_the_tiles(window):
    axis = Axis(length=40, tile=16, overlap=12)
    rng = np.random.default_rng(0)
    tiles = rng.normal(size=(axis.count, 16, 1, 3)).astype(np.float32)
    mean = np.full((axis.end, 1, 4), np.nan, np.float32)
    weights, values = np.zeros((axis.count, axis.end)), np.zeros((axis.count, axis.end, 3))
    for k in range(axis.count):
        part = slice(k * axis.step, k * axis.step + 16)
        mix(mean[part], tiles[k], axis.gains(k, window), axis=0, into=mean[part], spread=True)
        weights[k, part], values[k, part] = axis.weights(k, window), tiles[k, :, 0]
    shares = (weights / weights.sum(axis=0))[..., None]
    expected = (shares * (values - (shares * values).sum(axis=0)) ** 2).sum(axis=0).mean(axis=1)
    np.testing.assert_allclose(mean[:, 0, 3], expected, atol=1e-5)


@given(axes, windows, st.integers(0, 99))
def test_tiles_that_agree_have_no_spread(axis, window, seed):
    plane = np.random.default_rng(seed).normal(size=(axis.end, 1, 2)).astype(np.float32)
    out = np.full((axis.end, 1, 3), np.nan, np.float32)
    for k in range(axis.count):
        part = slice(k * axis.step, k * axis.step + axis.tile)
        mix(out[part], plane[part], axis.gains(k, window), axis=0, into=out[part], spread=True)
    assert not out[..., 2].any()
