"""MNF: SPy's, with every pair of neighbours counted once whatever the blocks."""

from itertools import pairwise

import numpy as np
import pytest
import spectral
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit
from tilespec.spectra.passes import haloed
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps.mnf import DIRECTIONS, Mnf, SignalAndNoise, adjust
from tilespec.storage.blocks import Block
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    """A scene whose sides are no multiples of its chunks."""
    return make_scene(tmp_path_factory.mktemp("scene") / "scene", 150, 90, 12, noise=0.01)


def cube(url):
    opened = Scene.open(url)
    return opened.read(opened.roi).astype(np.float64)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_components_and_ratios_are_those_of_spy(scene, tmp_path, direction):
    x = cube(scene)
    found = fit(scene, str(tmp_path / "r"), steps=f"mnf=12:{direction}")
    theirs = spectral.mnf(spectral.calc_stats(x), spectral.noise_from_diffs(x, direction))
    np.testing.assert_allclose(np.array(found["signal_to_noise"]) + 1, theirs.napc.eigenvalues.real, rtol=1e-4)
    scores = Recipe.load(str(tmp_path / "r")).apply(x.reshape(-1, 12).astype(np.float32))
    reduced = theirs.reduce(x, num=12).real.reshape(-1, 12)
    leading = np.array(found["signal_to_noise"]) > 0.2  # below that ratios are nearly equal, and components turn
    signs = np.sign((scores * reduced).sum(axis=0))
    np.testing.assert_allclose(scores[:, leading], (reduced * signs)[:, leading], atol=0.02)


def test_denoising_is_that_of_spy(scene, tmp_path):
    x = cube(scene)
    fit(scene, str(tmp_path / "r"), steps="mnf=1")
    operator = Recipe.load(str(tmp_path / "r")).steps[0]
    theirs = spectral.mnf(spectral.calc_stats(x), spectral.noise_from_diffs(x)).denoise(x, num=1).real
    flat = x.reshape(-1, 12).astype(np.float32)
    np.testing.assert_allclose(operator.restore(operator.apply(flat.copy())), theirs.reshape(-1, 12), atol=1e-4)


def test_restoring_gives_the_spectra_at_full_rank(scene, tmp_path):
    fit(scene, str(tmp_path / "r"), steps="mnf=12")
    operator = Recipe.load(str(tmp_path / "r")).steps[0]
    x = cube(scene).reshape(-1, 12).astype(np.float32)
    np.testing.assert_allclose(operator.restore(operator.apply(x.copy())), x, atol=1e-4)


def test_the_noise_has_variance_one_in_every_component(scene, tmp_path):
    fit(scene, str(tmp_path / "r"), steps="snv,mnf=5")
    recipe = Recipe.load(str(tmp_path / "r"))
    scores = recipe.apply(cube(scene).reshape(-1, 12).astype(np.float32)).reshape(150, 90, 5).astype(np.float64)
    apart = (scores[:-1, :-1] - scores[1:, 1:]).reshape(-1, 5)
    np.testing.assert_allclose(np.cov(apart.T) / 2, np.eye(5), atol=1e-3)
    assert (np.diff(scores.reshape(-1, 5).var(axis=0)) <= 1e-6).all()


def test_a_direction_without_noise_is_left_out_and_said(scene, tmp_path):
    found = fit(scene, str(tmp_path / "r"), steps="snv,mnf=11")
    assert any("1 of 12 directions have no noise" in note for note in found["notes"])
    with pytest.raises(UserError, match=r"mnf=12; expected at most 11 components"):
        fit(scene, str(tmp_path / "r2"), steps="snv,mnf=12")


@settings(max_examples=60)
@given(
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    cuts=st.tuples(st.lists(st.integers(1, 13), max_size=3), st.lists(st.integers(1, 13), max_size=3)),
    direction=st.sampled_from(sorted(DIRECTIONS)),
    seed=st.integers(0, 9),
)
def test_every_pair_belongs_to_one_block_whatever_the_blocks(scene, height, width, cuts, direction, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 9, (height, width, 12)).astype(np.float32)  # whole numbers: sums are exact in any order
    x[rng.random((height, width)) < 0.1] = np.nan
    dy, dx = DIRECTIONS[direction]
    zero = SignalAndNoise.zero(np.zeros(12, np.float32), (dy, dx))
    total, opened = zero, Scene.open(scene)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scene, "read", lambda _, roi, room: x[roi.slices].copy())
        for roi in tiles(height, width, *cuts):
            block = Block(url=scene, roi=roi, within=Roi(y0=0, y1=height, x0=0, x1=width))
            total = total + zero.of(haloed(opened, (), block, zero.halo), roi.shape)
    apart = (x[: height - dy, : width - dx] - x[dy:, dx:]).reshape(-1, 12).astype(np.float64)
    apart = apart[np.isfinite(apart[:, 0])]
    valid = x.reshape(-1, 12)[np.isfinite(x[:, :, 0]).ravel()].astype(np.float64)
    assert (total.noise.n, total.signal.n) == (len(apart), len(valid))
    np.testing.assert_array_equal(total.noise.products, apart.T @ apart)
    np.testing.assert_array_equal(total.signal.products, valid.T @ valid)


def tiles(height, width, rows, cols):
    ys = sorted({0, height, *(cut for cut in rows if cut < height)})
    xs = sorted({0, width, *(cut for cut in cols if cut < width)})
    return [Roi(y0=a, y1=b, x0=c, x1=d) for a, b in pairwise(ys) for c, d in pairwise(xs)]


def test_a_region_looks_at_no_pixel_outside(scene, tmp_path):
    found = fit(scene, str(tmp_path / "r"), steps="mnf=2", rows="10:101", cols="33:70")
    x = cube(scene)[10:101, 33:70]
    theirs = spectral.mnf(spectral.calc_stats(x), spectral.noise_from_diffs(x))
    assert (found["pixels"], found["noise_pairs"]) == (91 * 37, 90 * 36)
    np.testing.assert_allclose(np.array(found["signal_to_noise"]) + 1, theirs.napc.eigenvalues.real[:2], rtol=1e-4)


def test_a_masked_pixel_is_in_no_pair(make_scene, tmp_path):
    scene = make_scene(tmp_path / "s", 90, 70, 6, unlabelled=0.4)
    labels = Scene.open(scene).labels() != 255
    found = fit(scene, str(tmp_path / "r"), steps="mnf=2", mask="labels")
    assert found["pixels"] == labels.sum()
    assert found["noise_pairs"] == (labels[:-1, :-1] & labels[1:, 1:]).sum()


@pytest.mark.parametrize("args", [("0",), ("2", "up"), ("x",), (), ("1", "right", "3")])
def test_bad_parameters_show_the_usage(args):
    with pytest.raises(UserError, match="mnf=COMPONENTS"):
        Mnf.parse(args)


def test_more_components_than_bands_and_too_few_pairs_are_refused(scene, tmp_path):
    with pytest.raises(UserError, match=r"mnf=9.*at most 8 components"):
        Mnf(components=9).plan(Bands(count=8, axis=None))
    with pytest.raises(UserError, match=r"pairs of neighbours; expected at least 2 pairs"):
        fit(scene, str(tmp_path / "r"), steps="mnf=1", rows="3:4")


def test_data_without_noise_have_no_mnf():
    zero = SignalAndNoise.zero(np.zeros(3, np.float32), (1, 1))
    flat = zero.of(np.ones((9, 9, 3), np.float32), (9, 9))
    with pytest.raises(UserError, match=r"at most 0 components.*use pca"):
        adjust(flat, 1)
