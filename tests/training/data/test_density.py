from collections import Counter

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.storage.layer import Layer
from tilespec.training.data.density import CELL, LAST, POWERS, WeightedRegion, even, hilbert, squares, weighted
from tilespec.training.settings import Data

rois = st.builds(
    lambda y0, x0, h, w: Roi(y0=y0, y1=y0 + h, x0=x0, x1=x0 + w),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(1, 90),
    st.integers(1, 90),
)


def pixels(roi, scene=0):
    return {(scene, y, x) for y in range(roi.y0, roi.y1) for x in range(roi.x0, roi.x1)}


def spaced(n):
    """Numbers in the middle of ``n`` equal intervals."""
    return (np.arange(n) + 0.5) / n


def found(density, quantiles):
    return Counter(map(tuple, density.at(quantiles).tolist()))


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    def write(values, chunk=64):
        path = str(tmp_path_factory.mktemp("plane") / "p.zarr")
        group = zarr.create_group(path, zarr_format=3)
        group.create_array("labels", data=values, chunks=(chunk, chunk))
        return Layer.open(path, "labels")

    return write


def labelled(seed, shape=(200, 180), shares=(0.9, 0.08, 0.02)):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([*range(len(shares)), 255], np.uint8), size=shape, p=[*(0.9 * np.array(shares)), 0.1])


class TestCurve:
    @pytest.mark.parametrize("bits", [0, 1, 2, 5])
    def test_it_fills_a_square_in_steps_of_one(self, bits):
        y, x = (index.ravel() for index in np.indices((1 << bits, 1 << bits)))
        place = hilbert(y, x)
        assert sorted(place) == list(range(4**bits))
        order = np.argsort(place)
        assert (np.abs(np.diff(y[order])) + np.abs(np.diff(x[order])) == 1).all()

    @settings(max_examples=50)
    @given(rois)
    def test_cells_tile_a_region_on_the_same_grid_for_all(self, roi):
        cells = squares(roi)
        assert sum(h * w for h, w in (cell.shape for cell in cells)) == roi.shape[0] * roi.shape[1]
        assert not any(a.overlaps(b) for i, a in enumerate(cells) for b in cells[:i])
        assert all(
            (cell.y1 - 1) // CELL == cell.y0 // CELL and (cell.x1 - 1) // CELL == cell.x0 // CELL for cell in cells
        )


class TestEven:
    @settings(max_examples=30)
    @given(st.lists(rois, min_size=1, max_size=3))
    def test_as_many_equal_intervals_as_pixels_draw_each_pixel_once(self, regions):
        every = {one for scene, roi in enumerate(regions) for one in pixels(roi, scene)}
        assert found(even(regions), spaced(len(every))) == Counter(every)

    @settings(max_examples=30)
    @given(st.lists(rois, min_size=1, max_size=3), st.integers(1, 300), st.integers(0, 2**32))
    def test_any_run_of_cells_is_drawn_within_2_of_its_share(self, regions, n, seed):
        density = even(regions)
        drawn = density.at((np.arange(n) + np.random.default_rng(seed).random(n)) / n)
        cell = [i for i, (s, c) in enumerate(density.cells) for d in drawn.tolist() if _in(d, s, c)]
        counts, mass = np.bincount(cell, minlength=len(density.cells)), np.diff(density.ends, prepend=0)
        gap = np.cumsum(counts) - n * np.cumsum(mass) / density.ends[-1]
        assert np.ptp([0, *gap]) < 2

    def test_neighbouring_numbers_are_neighbouring_pixels(self):
        _, y, x = even([Roi(y0=0, y1=1024, x0=0, x1=1024)]).at(spaced(200)).T
        steps = np.hypot(np.diff(y), np.diff(x))
        assert np.median(steps) < 2 * 1024 / np.sqrt(200)
        assert steps.max() < 3 * CELL

    def test_the_ends_of_the_interval_are_pixels_too(self):
        density = even([Roi(y0=5, y1=7, x0=1, x1=4)])
        assert density.at(np.array([0.0, 1.0])).tolist() == [[0, 5, 1], [0, 5, 3]]

    def test_shares_of_scenes_replace_their_sizes(self):
        regions = [Roi(y0=0, y1=200, x0=0, x1=300), Roi(y0=0, y1=10, x0=0, x1=10), Roi(y0=0, y1=50, x0=0, x1=50)]
        scenes = even(regions, (1.0, 3.0, 0.0)).at(spaced(4000))[:, 0]
        assert np.bincount(scenes, minlength=3).tolist() == [1000, 3000, 0]


def _in(drawn, scene, cell):
    return drawn[0] == scene and cell.y0 <= drawn[1] < cell.y1 and cell.x0 <= drawn[2] < cell.x1


class TestWeights:
    @settings(max_examples=8)
    @given(st.integers(0, 2**32), st.sampled_from([1, 7, 255]))
    def test_each_pixel_is_drawn_as_its_weight_says_and_never_without_one(self, plane, seed, most):
        rng = np.random.default_rng(seed)
        roi, weights = Roi(y0=3, y1=150, x0=20, x1=140), rng.integers(0, most + 1, (160, 150)).astype(np.uint8)
        weights[rng.random(weights.shape) < 0.7] = 0
        field = WeightedRegion(roi=roi, labels=plane(np.zeros((160, 150), np.uint8)), weight=plane(weights))
        n = 20_000
        drawn = found(weighted([field], classes=2), spaced(n))
        expected = float(n) * weights[roi.slices] / weights[roi.slices].sum(dtype=float)
        counts = np.zeros(roi.shape)
        for (_, y, x), count in drawn.items():
            counts[y - roi.y0, x - roi.x0] = count
        assert (counts[expected == 0] == 0).all()
        assert np.abs(counts - expected).max() <= 1.001

    def test_the_ends_of_the_interval_have_a_weight_too(self, plane):
        weights = np.zeros((300, 300), np.uint8)
        weights[140, 150:152] = 1
        field = WeightedRegion(roi=Roi(y0=0, y1=300, x0=0, x1=300), labels=plane(weights), weight=plane(weights))
        drawn = weighted([field], classes=2).at(np.array([0.0, 1e-300, LAST, 1.0]))
        assert sorted(map(tuple, drawn.tolist())) == [(0, 140, 150)] * 2 + [(0, 140, 151)] * 2

    def test_no_weights_and_weights_of_1_are_the_same(self, plane):
        roi, labels = Roi(y0=0, y1=150, x0=20, x1=140), plane(labelled(0))
        one = weighted(
            [WeightedRegion(roi=roi, labels=labels, weight=plane(np.ones((200, 180), np.float32)))], classes=3
        )
        np.testing.assert_array_equal(one.at(spaced(500)), even([roi]).at(spaced(500)))

    def test_nan_counts_as_0(self, plane):
        weights = np.full((50, 50), np.nan, np.float32)
        weights[7, 9] = 0.5
        field = WeightedRegion(
            roi=Roi(y0=0, y1=50, x0=0, x1=50), labels=plane(labelled(0, (50, 50))), weight=plane(weights)
        )
        assert found(weighted([field], classes=3), spaced(9)) == {(0, 7, 9): 9}

    @pytest.mark.parametrize("bad", [-1.0, np.inf])
    def test_a_weight_that_is_none_is_refused(self, plane, bad):
        weights = np.ones((50, 50), np.float32)
        weights[3, 4] = bad
        field = WeightedRegion(
            roi=Roi(y0=0, y1=50, x0=0, x1=50), labels=plane(labelled(0, (50, 50))), weight=plane(weights)
        )
        with pytest.raises(UserError, match="expected finite weights, 0 or more"):
            weighted([field], classes=3)

    @pytest.mark.parametrize("shares", [None, (1.0, 1.0)])
    def test_nothing_to_draw_is_refused(self, plane, shares):
        roi, labels = Roi(y0=0, y1=50, x0=0, x1=50), plane(labelled(0, (50, 50)))
        empty = WeightedRegion(roi=roi, labels=labels, weight=plane(np.zeros((50, 50), np.uint8)))
        full = WeightedRegion(roi=roi, labels=labels)
        with pytest.raises(UserError, match="no pixel in rows 0:50, columns 0:50"):
            weighted([full, empty] if shares else [empty], classes=3, shares=shares)


class TestBalance:
    def test_the_configuration_offers_what_there_is(self):
        assert set(Data.model_fields["balance"].annotation.__args__) == {"none", *POWERS}

    def shares(self, planes, fields, **options):
        drawn = weighted(fields, classes=3, **options).at(spaced(6000))
        labels = [plane.read(Roi(y0=0, y1=plane.shape[0], x0=0, x1=plane.shape[1])) for plane in planes]
        return np.bincount([labels[s][y, x] for s, y, x in drawn.tolist()], minlength=256) / 6000

    def test_classes_come_equally_often_and_unlabelled_pixels_never(self, plane):
        planes = [plane(labelled(0)), plane(labelled(1, (150, 190), (0.2, 0.7, 0.1)))]
        fields = [WeightedRegion(roi=Roi(y0=3, y1=140, x0=10, x1=170), labels=labels) for labels in planes]
        both = self.shares(planes, fields, balance="classes")
        np.testing.assert_allclose(both[:3], 1 / 3, atol=0.02)
        assert both[3:].sum() == 0

    def test_by_the_square_root_of_their_sizes(self, plane):
        labels, roi = labelled(0), Roi(y0=3, y1=140, x0=10, x1=170)
        sizes = np.bincount(labels[roi.slices].ravel(), minlength=3)[:3]
        planes = [plane(labels)]
        got = self.shares(planes, [WeightedRegion(roi=roi, labels=planes[0])], balance="sqrt")
        np.testing.assert_allclose(got[:3], np.sqrt(sizes) / np.sqrt(sizes).sum(), atol=0.02)

    def test_labelled_pixels_come_by_the_sizes_of_their_classes(self, plane):
        labels, roi = labelled(0), Roi(y0=3, y1=140, x0=10, x1=170)
        sizes = np.bincount(labels[roi.slices].ravel(), minlength=3)[:3]
        planes = [plane(labels)]
        got = self.shares(planes, [WeightedRegion(roi=roi, labels=planes[0])], balance="labelled")
        np.testing.assert_allclose(got[:3], sizes / sizes.sum(), atol=0.02)
        assert got[3:].sum() == 0

    @pytest.mark.parametrize("balance", POWERS)
    def test_pixels_without_a_label_that_are_learned_from_are_half_of_all(self, plane, balance):
        planes = [plane(labelled(0)), plane(labelled(1, (150, 190), (0.2, 0.7, 0.1)))]
        fields = [WeightedRegion(roi=Roi(y0=3, y1=140, x0=10, x1=170), labels=labels) for labels in planes]
        without = self.shares(planes, fields, balance=balance)
        both = self.shares(planes, fields, balance=balance, unlabelled=True)
        assert both[255] == pytest.approx(0.5, abs=0.01)
        np.testing.assert_allclose(2 * both[:3], without[:3], atol=0.02)

    def test_weights_choose_among_the_pixels_of_a_class(self, plane):
        labels, weights = labelled(0), np.zeros((200, 180), np.float32)
        weights[:100] = 1
        weights[:50] = 3
        planes = [plane(labels)]
        field = WeightedRegion(roi=Roi(y0=0, y1=200, x0=0, x1=180), labels=planes[0], weight=plane(weights))
        np.testing.assert_allclose(self.shares(planes, [field], balance="classes")[:3], 1 / 3, atol=0.02)
        rows = weighted([field], classes=3, balance="classes").at(spaced(4000))[:, 1]
        assert rows.max() < 100
        assert np.mean(rows < 50) == pytest.approx(0.75, abs=0.03)

    def test_with_shares_each_scene_is_balanced_by_itself(self, plane):
        planes = [plane(labelled(0)), plane(labelled(1, (150, 190), (0.2, 0.7, 0.1)))]
        fields = [WeightedRegion(roi=Roi(y0=0, y1=140, x0=0, x1=170), labels=labels) for labels in planes]
        drawn = weighted(fields, classes=3, balance="classes", shares=(3.0, 1.0)).at(spaced(8000))
        assert np.bincount(drawn[:, 0]).tolist() == [6000, 2000]
        for scene, labels in enumerate(planes):
            values = labels.read(Roi(y0=0, y1=140, x0=0, x1=170))
            of = [values[y, x] for s, y, x in drawn.tolist() if s == scene]
            np.testing.assert_allclose(np.bincount(of, minlength=3) / len(of), 1 / 3, atol=0.03)

    def test_a_class_that_is_nowhere_is_left_out(self, plane):
        planes = [plane(labelled(0, shares=(0.7, 0.3)))]
        got = self.shares(
            planes, [WeightedRegion(roi=Roi(y0=0, y1=200, x0=0, x1=180), labels=planes[0])], balance="classes"
        )
        np.testing.assert_allclose(got[:2], 0.5, atol=0.02)

    def test_how_labels_are_stored_does_not_matter(self, plane):
        labels, roi = labelled(3), Roi(y0=3, y1=140, x0=10, x1=170)
        one, other = (
            weighted([WeightedRegion(roi=roi, labels=plane(labels, chunk))], classes=3, balance="classes").at(
                spaced(300)
            )
            for chunk in (32, 111)
        )
        np.testing.assert_array_equal(one, other)
