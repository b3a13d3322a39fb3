"""Seams: jumps are a fold that no cut changes, borders are where tiles hand over, and scores mean what they say."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED
from tilespec.evaluate.metrics.seam_jumps import Borders, Jumps
from tilespec.evaluate.seams import seam_score
from tilespec.spectra.statistics import Statistic
from tilespec.storage.layer import Layer
from tilespec.storage.layout import ArraySpec, layer_spec
from tilespec.storage.product import Product
from tilespec.tiling.grid import Axis, Grid

NAMES = ("background", "plant")


def write(path, plane, *, name="prediction", probability=None, chunk=16, **attrs):
    """Write a class map (or, of float32, a map of channels) as a prediction, and return its path as text."""
    edge = min(chunk, plane.shape[0])
    specs, blocks = [], {name: plane}
    if plane.ndim == 2:
        specs.append(layer_spec(name, plane.shape, classes=NAMES, chunk=edge))
    for extra, values in ((name, plane), ("probability", probability)):
        if values is not None and values.ndim == 3:
            size = (edge, min(edge, values.shape[1]), values.shape[2])
            spec = ArraySpec(name=extra, shape=values.shape, dtype="float32", dims=("y", "x", "class"), chunks=size)
            specs.append(spec)
            blocks[extra] = values
    product = Product.open(str(path), specs, settings={"map": str(path)}, attrs=attrs, constants={})
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {key: block[y0:y1] for key, block in blocks.items()})
    product.finish()
    return str(path)


def grid(shape, tile, overlap=0, window="none", **options):
    y, x = (Axis(length=n, tile=tile, overlap=overlap) for n in shape)
    return Grid(y=y, x=x, window=window, **options).to_json()


def blobs(shape, seed=0, sigma=3.0):
    """Return classes with smooth outlines, the same everywhere on average."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    return (field > 0).astype(np.uint8)


def owners(axis):
    """Return which tiles are nearest to each pixel, by the distance from their centres."""
    centres = np.arange(axis.count) * axis.step + (axis.tile - 1) / 2
    distance = np.abs(np.arange(axis.length)[:, None] - centres)
    return [frozenset(np.flatnonzero(row == row.min())) for row in distance]


def steps(plane, axis):
    """Return jumps and valid pairs across every line of an axis, by slices of the whole plane."""
    a, b = (plane[:-1], plane[1:]) if axis == 0 else (plane[:, :-1], plane[:, 1:])
    if plane.ndim == 2:
        known, jump = (a != UNLABELLED) & (b != UNLABELLED), (a != b).astype(float)
    else:
        jump = np.abs(a.astype(float) - b).mean(axis=2)
        known = np.isfinite(jump)
    return np.where(known, jump, 0).sum(axis=1 - axis), known.sum(axis=1 - axis)


def expected_score(plane, borders, leave_out=((), ())):
    """Return the score by its formula."""
    jumps = wanted = 0.0
    for axis in (0, 1):
        jump, pairs = steps(plane, axis)
        inside = np.setdiff1d(np.arange(len(jump)), [*borders[axis], *leave_out[axis]])
        at = np.asarray(borders[axis], int)
        jumps += jump[at].sum()
        wanted += pairs[at].sum() * jump[inside].sum() / pairs[inside].sum()
    return jumps / wanted


def folded(plane, cuts_y, cuts_x, unit=1.0):
    """Return the jumps of a plane from blocks between ``cuts``, each with its halo, added in disorder."""
    nodata = UNLABELLED if plane.ndim == 2 else np.nan
    padded = np.pad(plane, [(0, 1), (0, 1)] + [(0, 0)] * (plane.ndim - 2), constant_values=nodata)
    zero, parts = Jumps.zero(unit), []
    ys, xs = (sorted({0, n, *cuts}) for n, cuts in zip(plane.shape, (cuts_y, cuts_x), strict=False))
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            parts.append(zero.of(padded[y0 : y1 + 1, x0 : x1 + 1], (y0, x0)))
    total = zero
    for index in np.random.default_rng(len(parts)).permutation(len(parts)):
        total = total + parts[index]
    return total.finish()


@st.composite
def planes(draw):
    """Return a plane of classes or channels with nodata, and where to cut it."""
    height, width, seed = draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    if draw(st.booleans()):
        plane = rng.choice(np.array([0, 1, 2, UNLABELLED], np.uint8), (height, width))
    else:
        plane = rng.normal(0, 100, (height, width, draw(st.integers(1, 3)))).astype(np.float32)
        plane[rng.random((height, width)) < 0.1] = np.nan
    cuts = [draw(st.lists(st.integers(0, n), max_size=4)) for n in (height, width)]
    return plane, cuts


def test_jumps_are_a_fold():
    assert isinstance(Jumps.zero(), Statistic)


@given(planes())
def test_blocks_of_any_cut_give_the_profiles_of_the_whole_plane_exactly(case):
    plane, cuts = case
    unit = 1.0 if plane.ndim == 2 else 2.0**-20
    whole, parts = folded(plane, [], [], unit), folded(plane, *cuts, unit)
    for axis in (0, 1):
        assert parts[axis].start == 0
        np.testing.assert_array_equal(parts[axis].jumps, whole[axis].jumps)
        np.testing.assert_array_equal(parts[axis].pairs, whole[axis].pairs)
        jump, pairs = steps(plane, axis)
        np.testing.assert_array_equal(whole[axis].pairs[:-1], pairs)
        np.testing.assert_allclose(whole[axis].jumps[:-1] * unit, jump, rtol=1e-6, atol=unit * plane.size)
        assert whole[axis].pairs[-1] == 0


@given(st.integers(1, 90), st.integers(1, 24), st.data())
def test_tiles_hand_over_where_another_tiles_centre_is_nearer(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    axis = Axis(length=length, tile=tile, overlap=overlap)
    nearest = owners(axis)
    changes = [i for i in range(length - 1) if nearest[i] != nearest[i + 1]]
    for window in ("none", "cosine"):
        found = Borders.of(axis, window, (0, length))
        assert found.handover.tolist() == changes
        edges = {k * axis.step for k in range(1, axis.count)} | {k * axis.step + tile for k in range(axis.count - 1)}
        kinks = sorted({e - 1 for e in edges if e < length} - set(changes)) if window == "cosine" and overlap else []
        assert found.edge.tolist() == kinks


@pytest.mark.parametrize(
    ("tile", "overlap", "window"),
    [(8, 0, "none"), (12, 4, "none"), (12, 5, "cosine"), (16, 8, "cosine"), (9, 7, "linear")],
)
def test_scores_equal_plain_numpy(tmp_path, tile, overlap, window):
    rng, shape = np.random.default_rng(4), (61, 83)
    plane, truth = blobs(shape, 1), blobs(shape, 2)
    plane[rng.random(shape) < 0.02] = UNLABELLED
    shares = rng.random((*shape, 2)).astype(np.float32)
    shares[plane == UNLABELLED] = np.nan
    pred = write(tmp_path / "p", plane, probability=shares, grid=grid(shape, tile, overlap, window))
    found = seam_score(pred, truth=write(tmp_path / "t", truth, name="labels", chunk=11))
    borders = [Borders.of(Axis(length=n, tile=tile, overlap=overlap), window, (0, n)) for n in shape]
    handover, edge = [b.handover for b in borders], [b.edge for b in borders]
    assert found["seam_score"] == pytest.approx(expected_score(plane, handover, edge), rel=1e-12)
    assert found["seam_score_truth"] == pytest.approx(expected_score(truth, handover, edge), rel=1e-12)
    assert found["seam_score_probability"] == pytest.approx(expected_score(shares, handover, edge), rel=1e-6)
    if any(map(len, edge)):
        assert found["seam_score_edge"] == pytest.approx(expected_score(plane, edge, handover), rel=1e-12)
    else:
        assert found["seam_score_edge"] is None
    assert found["seam_lines"] == sum(map(len, handover))
    pairs = sum(int(steps(plane, axis)[1].sum()) for axis in (0, 1))
    assert found["seam_left_out"] == 60 * 83 + 61 * 82 - pairs > 0


def test_the_shifted_score_is_the_mean_of_the_formula_over_every_grid_off_the_borders(tmp_path):
    shape, tile = (40, 60), 8
    plane = blobs(shape, 3)
    found = seam_score(write(tmp_path / "p", plane, grid=grid(shape, tile)))
    real = [np.arange(tile - 1, n - 1, tile) for n in shape]
    moves = [d for d in range(-3, 5) if d]
    scores = []
    for dy in moves:
        for dx in moves:
            there = [[i + d for i in lines if i + d < n - 1] for lines, d, n in zip(real, (dy, dx), shape, strict=True)]
            scores.append(expected_score(plane, there, real))
    assert found["seam_score_shifted"] == pytest.approx(np.mean(scores), rel=1e-12)
    assert found["seam_score_spread"] == pytest.approx(np.std(scores), rel=1e-9)


def test_a_rim_on_one_border_is_told_from_seams_by_the_median(tmp_path):
    shape, tile = (96, 96), 12
    plane = blobs(shape)
    tiled, rim = plane.copy(), plane.copy()
    tiled[(np.arange(96) // tile) % 2 == 1] ^= 1
    rim[47] = 1 - rim[48]
    seam, line = (seam_score(write(tmp_path / n, p, grid=grid(shape, tile))) for n, p in (("t", tiled), ("r", rim)))
    assert seam["seam_score"] > 2
    assert seam["seam_score_median"] > 2
    assert line["seam_score"] > 1.3
    assert line["seam_score_median"] < 1.2
    jumps = [steps(rim, axis) for axis in (0, 1)]
    inside = np.setdiff1d(np.arange(95), np.arange(11, 95, tile))
    ratios = [j[11::tile] / p[11::tile] / (j[inside].sum() / p[inside].sum()) for j, p in jumps]
    assert line["seam_score_median"] == pytest.approx(np.median(np.concatenate(ratios)))


def stepped(shape, tile, seed=0):
    """Return noise on tiles of unequal height: steps of about ten times the noise at the borders only."""
    rng = np.random.default_rng(seed)
    levels = rng.permutation(np.arange(-(-shape[0] // tile) * -(-shape[1] // tile))) * 1.0
    heights = np.kron(levels.reshape(-1, -(-shape[1] // tile)), np.ones((tile, tile)))[: shape[0], : shape[1]]
    return (heights + rng.normal(0, 0.1, shape)).astype(np.float32)[..., None]


def test_steps_at_borders_score_high_and_elsewhere_about_one(tmp_path):
    shape, tile = (96, 128), 16
    found = seam_score(write(tmp_path / "p", stepped(shape, tile), grid=grid(shape, tile)))
    assert found["seam_score"] > 20
    assert found["seam_score_shifted"] == pytest.approx(1, abs=0.02)
    assert found["seam_score_spread"] < 0.05
    wrong = seam_score(write(tmp_path / "w", np.roll(stepped(shape, tile), 5, (0, 1)), grid=grid(shape, tile)))
    assert wrong["seam_score"] is None, "steps that are no borders: some grid scores more"
    assert wrong["seam_score_spread"] > 1


def test_a_plane_without_seams_scores_about_one(tmp_path):
    shape = (256, 256)
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=shape), 2, mode="wrap").astype(np.float32)[..., None]
    ramp = np.add.outer(np.arange(256.0), 3 * np.arange(256.0)).astype(np.float32)[..., None]
    for name, plane, within in (("smooth", smooth, 0.05), ("blobs", blobs(shape), 0.1), ("ramp", ramp, 1e-6)):
        for overlap, window in ((0, "none"), (16, "cosine")):
            given = grid(shape, 32, overlap, window)
            found = seam_score(write(tmp_path / f"{name}{overlap}", plane, chunk=64, grid=given))
            assert found["seam_score"] == pytest.approx(1, abs=within), name


def test_stripes_of_one_axis_are_no_seams_of_the_other(tmp_path):
    """Columns of a pushbroom that differ: every border of a single row of tiles runs along them."""
    shape = (32, 256)
    rng = np.random.default_rng(1)
    plane = (rng.normal(size=256) + 0.01 * rng.normal(size=shape)).astype(np.float32)[..., None]
    found = seam_score(write(tmp_path / "p", plane, grid=grid(shape, 32)))
    assert found["seam_lines"] == 7
    assert found["seam_score"] is None or found["seam_score"] < 2


def test_a_region_scores_as_the_lines_and_pairs_inside_it(tmp_path):
    shape = (60, 80)
    plane, truth = blobs(shape, 1), blobs((70, 95), 2)
    pred = write(tmp_path / "p", plane, origin=[4, 7], grid=grid(shape, 8))
    found = seam_score(pred, truth=write(tmp_path / "t", truth, name="labels"), rows="13:50", cols="20:80")
    borders = [
        [i - 9 for i in range(7, 59, 8) if 0 <= i - 9 < 36],
        [i - 13 for i in range(7, 79, 8) if 0 <= i - 13 < 59],
    ]
    assert found["seam_score"] == pytest.approx(expected_score(plane[9:46, 13:73], borders))
    assert found["seam_score_truth"] == pytest.approx(expected_score(truth[13:50, 20:80], borders))
    whole = seam_score(pred, truth=str(tmp_path / "t"))
    assert seam_score(pred, truth=str(tmp_path / "t"), rows="4:64", cols="7:87") == whole


@pytest.mark.parametrize("values", [200, 3000, 1 << 20])
def test_blocks_are_small_and_their_size_changes_nothing(tmp_path, monkeypatch, values):
    shape, sizes, read = (90, 70), [], Layer.read
    shares = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    pred = write(tmp_path / "p", blobs(shape), probability=shares, chunk=8, grid=grid(shape, 16, 8, "cosine"))
    plain = seam_score(pred)

    def counted(self, roi):
        out = read(self, roi)
        sizes.append(np.size(out))
        return out

    monkeypatch.setattr(Layer, "read", counted)
    monkeypatch.setattr("tilespec.evaluate.seams.VALUES", values)
    assert seam_score(pred) == plain
    assert max(sizes) <= max(values, 8 * 8 * 3) * (9 / 8) ** 2, "a block and its halo"


@pytest.mark.parametrize(
    ("plane", "given", "note"),
    [
        (blobs((40, 40)), None, "not tiled"),
        (blobs((40, 40)), grid((40, 40), 64), "one tile"),
        (blobs((40, 40)), grid((40, 40), 30), "says nothing"),
        (np.zeros((40, 40), np.uint8), grid((40, 40), 8), "nothing changes inside"),
    ],
)
def test_what_has_no_meaning_is_none_with_a_note(tmp_path, plane, given, note):
    found = seam_score(write(tmp_path / "p", plane, **({"grid": given} if given else {})))
    assert found["seam_score"] is None
    assert note in found["seam_note"]


def test_a_score_far_from_every_other_grid_is_shown_however_few_its_lines(tmp_path):
    plane = blobs((40, 40))
    plane[:, 30:] = 1 - plane[:, 29:30]
    found = seam_score(write(tmp_path / "p", plane, grid=grid((40, 40), 30)))
    assert found["seam_score"] > 3
    assert found["seam_note"] is None


def test_an_output_of_another_scale_has_no_truth_on_the_same_lines(tmp_path):
    shape = (40, 40)
    given = grid(shape, 8, scale=Fraction(2))
    found = seam_score(write(tmp_path / "p", blobs(shape), grid=given), truth=write(tmp_path / "t", blobs((20, 20))))
    assert found["seam_score"] is not None
    assert found["seam_score_truth"] is None


def test_what_is_no_prediction_or_lies_elsewhere_is_refused(tmp_path, make_scene):
    shape = (40, 40)
    pred = write(tmp_path / "p", blobs(shape), origin=[5, 5], grid=grid(shape, 8))
    with pytest.raises(UserError, match="a part of rows 5:45"):
        seam_score(pred, rows="0:20")
    with pytest.raises(UserError, match="Name the scene that was predicted"):
        seam_score(pred, truth=write(tmp_path / "t", blobs(shape), name="labels"))
    with pytest.raises(UserError, match=r"prediction\(y, x\)"):
        seam_score(make_scene(tmp_path / "s", 16, 16, 3))
    zarr.open_group(pred).attrs["tilespec_status"] = "writing"
    with pytest.raises(UserError, match="status 'writing'"):
        seam_score(pred)


def test_progress_is_told(tmp_path):
    class Told:
        def __init__(self):
            self.units = 0.0

        def say(self, text):
            raise AssertionError(text)

        def start(self, what, total, unit):
            self.units -= total

        def advance(self, units, note=""):
            self.units += units

        def finish(self):
            assert self.units == 0

    seam_score(write(tmp_path / "p", blobs((40, 40)), grid=grid((40, 40), 8)), progress=Told())
