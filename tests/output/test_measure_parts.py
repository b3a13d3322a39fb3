"""What measure is made of: tallies add, regions join as on the whole plane, indices are their formulas."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial import ConvexHull

from tilespec.core.indices import INDICES, index_notes, indices
from tilespec.core.types import SpectralAxis
from tilespec.output.measure.connected_regions import RegionStrips
from tilespec.output.measure.csv_table import as_csv, band_names
from tilespec.output.measure.object_sums import NONE, ObjectBlock, ObjectSums
from tilespec.output.measure.outlines import Outlines

sides = st.integers(1, 12)


@given(data=st.data(), height=sides, width=sides)
def test_regions_of_joined_strips_are_those_of_the_whole(data, height, width):
    """For any cut into strips, and any order of joining neighbours."""
    mask = data.draw(arrays(bool, (height, width)))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(height - 1, 1)), max_size=height - 1)))
    starts = [0, *cuts]
    parts = [RegionStrips.of(piece, y0) for piece, y0 in zip(np.split(mask, cuts), starts, strict=True)]
    while len(parts) > 1:
        i = data.draw(st.integers(0, len(parts) - 2))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    least = data.draw(st.integers(1, 4))
    numbers, pixels = parts[0].numbered(least)
    found = []
    for piece, number in zip(np.split(mask, cuts), numbers, strict=True):
        labels, count = ndimage.label(piece, np.ones((3, 3)))
        assert count == len(number)
        found.append(np.append(0, number)[labels])
    found = np.concatenate(found)
    whole, count = ndimage.label(mask, np.ones((3, 3)))
    firsts = {k: np.flatnonzero(whole.ravel() == k) for k in range(1, count + 1)}
    kept = sorted((k for k in firsts if len(firsts[k]) >= least), key=lambda k: firsts[k][0])
    expected = np.zeros(mask.shape, int)
    for number, k in enumerate(kept, 1):
        expected[whole == k] = number
    assert (found == expected).all()
    assert pixels.tolist() == [len(firsts[k]) for k in kept]
    assert parts[0].regions == count


def test_a_spiral_is_one_region():
    mask = np.zeros((9, 9), bool)
    for r in range(0, 5, 2):
        mask[r, r : 9 - r] = mask[8 - r, r : 9 - r] = mask[r : 9 - r, r] = mask[r : 9 - r, 8 - r] = True
    for r in range(0, 4, 2):
        mask[r + 1, r], mask[r + 2, r] = False, True
        mask[r + 1, r + 1] = True
    rows = [RegionStrips.of(mask[y : y + 1], y) for y in range(9)]
    joined = rows[0]
    for row in rows[1:]:
        joined = joined + row
    assert joined.regions == ndimage.label(mask, np.ones((3, 3)))[1]


@st.composite
def seen(draw):
    shape = (draw(sides), draw(sides))
    values = draw(arrays(np.float32, (*shape, 3), elements=st.floats(-100, 100, width=32) | st.just(np.nan)))
    ids = draw(arrays(np.int64, shape, elements=st.sampled_from([NONE, 0, 3, 70000])))
    classes = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255])))
    return ObjectBlock(ids=ids, classes=classes, values=values)


def cut_of(block, at, axis):
    parts = [np.split(plane, [at], axis=axis) for plane in (block.ids, block.classes, block.values)]
    return [ObjectBlock(ids=i, classes=c, values=v) for i, c, v in zip(*parts, strict=True)]


def same(a, b):
    assert a.ids.tolist() == b.ids.tolist()
    for name in ("pixels", "invalid", "partial", "low", "high", "places", "classes", "taken", "n"):
        assert (getattr(a, name) == getattr(b, name)).all(), name
    assert a.mean == pytest.approx(b.mean, rel=1e-9, abs=1e-9)
    assert a.squares == pytest.approx(b.squares, rel=1e-9, abs=1e-6)


@given(block=seen(), at=st.integers(0, 12), axis=st.sampled_from([0, 1]))
def test_the_tallies_of_two_blocks_add_to_that_of_both(block, at, axis):
    zero = ObjectSums.zero(np.array([False, True, False]), 3)
    at = min(at, block.ids.shape[axis])
    a, b = cut_of(block, at, axis)
    second = (at, 0) if axis == 0 else (0, at)
    whole = zero.of(block, (0, 0))
    same(zero.of(a, (0, 0)) + zero.of(b, second), whole)
    same(zero.of(b, second) + zero.of(a, (0, 0)) + zero, whole)
    assert whole.pixels.sum() == (block.ids != NONE).sum() == whole.classes.sum()


SPECTRUM = {445: 0.04, 470: 0.05, 500: 0.06, 510: 0.07, 531: 0.09, 550: 0.12, 570: 0.1, 670: 0.05, 678: 0.05, 680: 0.06}
SPECTRUM |= {700: 0.15, 720: 0.3, 740: 0.42, 750: 0.45, 780: 0.5, 790: 0.5, 800: 0.51, 860: 0.52, 900: 0.5, 970: 0.46}
SPECTRUM |= {1240: 0.4}
BY_HAND = {
    "NDVI": (0.51 - 0.05) / (0.51 + 0.05),
    "GNDVI": (0.51 - 0.12) / (0.51 + 0.12),
    "NDRE": (0.5 - 0.3) / (0.5 + 0.3),
    "SAVI": 1.5 * 0.46 / 1.06,
    "OSAVI": 1.16 * 0.46 / 0.72,
    "EVI": 2.5 * 0.46 / (0.51 + 0.3 - 0.375 + 1),
    "PRI": (0.09 - 0.1) / (0.09 + 0.1),
    "MCARI": ((0.15 - 0.05) - 0.2 * (0.15 - 0.12)) * (0.15 / 0.05),
    "TCARI": 3 * ((0.15 - 0.05) - 0.2 * (0.15 - 0.12) * (0.15 / 0.05)),
    "PSRI": (0.05 - 0.06) / 0.45,
    "SIPI": (0.51 - 0.04) / (0.51 - 0.06),
    "ARI1": 1 / 0.12 - 1 / 0.15,
    "CRI1": 1 / 0.07 - 1 / 0.12,
    "REP": 700 + 40 * ((0.05 + 0.5) / 2 - 0.15) / (0.42 - 0.15),
    "WBI": 0.5 / 0.46,
    "NDWI": (0.52 - 0.4) / (0.52 + 0.4),
}


def nm(*values):
    return SpectralAxis(name="wavelength", unit="nm", values=tuple(float(v) for v in values))


def test_every_index_is_its_published_formula():
    found = indices(np.array([list(SPECTRUM.values())]), nm(*SPECTRUM))
    assert {key: values[0] for key, values in found.items()} == pytest.approx(BY_HAND)
    assert set(BY_HAND) == set(INDICES)


@pytest.mark.parametrize("name", INDICES)
def test_an_index_without_one_of_its_bands_is_nan(name):
    for gone in INDICES[name].at:
        kept = {at: value for at, value in SPECTRUM.items() if abs(at - gone) > 10}
        assert math.isnan(indices(np.array([list(kept.values())]), nm(*kept))[name][0])


def test_indices_of_no_wavelengths_of_nan_and_of_zero_are_nan():
    spectra = np.array([list(SPECTRUM.values()), [np.nan] * len(SPECTRUM), [0.0] * len(SPECTRUM)])
    found = indices(spectra, nm(*SPECTRUM))
    assert all(np.isnan(values[1:]).all() for name, values in found.items() if name not in ("SAVI", "OSAVI", "EVI"))
    wavenumbers = SpectralAxis(name="wavenumber", unit="cm-1", values=tuple(map(float, SPECTRUM)))
    for axis in (None, wavenumbers):
        assert all(np.isnan(values).all() for values in indices(spectra, axis).values())


def test_a_red_edge_lies_between_680_and_760_nm():
    """Counts and other surfaces give any number; that is no position of a red edge."""
    axis = nm(670, 700, 740, 780)
    spectra = np.array([[0.05, 0.15, 0.42, 0.5], [0.4, 0.1, 0.11, 0.4], [0.5, 0.42, 0.15, 0.05]])
    found = indices(spectra, axis)["REP"]
    assert 680 <= found[0] <= 760
    assert np.isnan(found[1])


def test_a_note_says_why_there_are_no_indices():
    assert index_notes(nm(*SPECTRUM), None) == []
    assert "counts" in index_notes(nm(*SPECTRUM), "counts")[0]
    assert "no wavelengths" in index_notes(None, None)[0]
    assert "all indices" in index_notes(nm(2000, 2100), None)[0]
    some = index_notes(nm(531, 570, 900), None)[0]
    assert "NDVI" in some
    assert "PRI" not in some


def perimeter(mask):
    """Return the perimeter as scikit-image defines it, pixel by pixel."""
    padded = np.pad(mask, 2)

    def edge(y, x):
        return padded[y, x] and not all(padded[y + dy, x + dx] for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)))

    weights = dict.fromkeys((5, 7, 15, 17, 25, 27), 1) | dict.fromkeys((21, 33), math.sqrt(2))
    weights |= dict.fromkeys((13, 23), (1 + math.sqrt(2)) / 2)
    total = 0.0
    for y, x in zip(*np.nonzero(padded), strict=True):
        if edge(y, x):
            near = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy or dx) and edge(y + dy, x + dx)]
            total += weights.get(1 + sum(10 if dy and dx else 2 for dy, dx in near), 0)
    return total


def outlines(ids, cuts=()):
    """Return the outlines of a plane that is read in strips, each with two rows around it."""
    ends = [0, *cuts, len(ids)]
    total = Outlines()
    for y0, y1 in pairwise(ends):
        low, high = max(y0 - 2, 0), min(y1 + 2, len(ids))
        total = total + Outlines.of(ids[low:high], slice(y0 - low, y1 - low), (y0, 0))
    return total


@settings(max_examples=60, deadline=None)
@given(data=st.data(), height=st.integers(1, 14), width=st.integers(1, 14))
def test_outlines_are_those_of_the_whole_in_any_strips(data, height, width):
    values = data.draw(st.lists(st.sampled_from([NONE, 1, 2]), min_size=height * width, max_size=height * width))
    ids = np.array(values, np.int64).reshape(height, width)
    cuts = sorted(data.draw(st.sets(st.integers(1, height - 1)))) if height > 1 else []
    found = outlines(ids, cuts)
    assert set(found.parts) == set(np.unique(ids)) - {NONE}
    for number, outline in found.parts.items():
        mask = ids == number
        traits, (y, x) = outline.traits(), np.nonzero(mask)
        assert traits["perimeter"] == pytest.approx(perimeter(mask))
        spread = np.atleast_2d(np.cov(np.stack([y, x]), ddof=0)) if len(y) > 1 else np.zeros((2, 2))
        small, large = np.sqrt(np.maximum(np.linalg.eigvalsh(spread), 0))
        assert (traits["ellipse_major"], traits["ellipse_minor"]) == pytest.approx((4 * large, 4 * small), abs=1e-6)
        corners = np.concatenate([np.stack([y + dy, x + dx], axis=1) for dy in (0, 1) for dx in (0, 1)])
        assert traits["hull_area"] == pytest.approx(ConvexHull(corners).volume)
        assert traits["solidity"] == pytest.approx(mask.sum() / traits["hull_area"])


def test_shapes_have_the_traits_of_their_formulas():
    y, x = np.mgrid[:201, :241] - 100
    disc = outlines(np.where(y**2 + x**2 <= 80**2, 1, NONE), (17, 100)).parts[1].traits()
    assert disc["perimeter"] == pytest.approx(2 * np.pi * 80, rel=0.06)
    assert (disc["ellipse_major"], disc["ellipse_minor"]) == pytest.approx((160, 160), rel=0.01)
    assert disc["hull_area"] == pytest.approx(np.pi * 80**2, rel=0.02)
    assert disc["eccentricity"] == pytest.approx(0, abs=1e-6)
    box = outlines(np.where((abs(y) <= 20) & (abs(x) <= 50), 1, NONE)).parts[1].traits()
    assert (box["hull_area"], box["solidity"], box["perimeter"]) == (41 * 101, 1, 2 * (40 + 100))
    assert box["ellipse_angle"] == pytest.approx(0)
    turn = np.radians(30)
    along, across = x * np.cos(turn) - y * np.sin(turn), -x * np.sin(turn) - y * np.cos(turn)
    ellipse = outlines(np.where((along / 80) ** 2 + (across / 30) ** 2 <= 1, 1, NONE)).parts[1].traits()
    assert (ellipse["ellipse_major"], ellipse["ellipse_minor"]) == pytest.approx((160, 60), rel=0.01)
    assert ellipse["ellipse_angle"] == pytest.approx(30, abs=0.5)
    assert ellipse["eccentricity"] == pytest.approx(math.sqrt(1 - (30 / 80) ** 2), rel=0.01)


def test_names_of_bands_have_as_many_digits_as_tell_them_apart():
    assert band_names(nm(500, 550.31), 2) == ["500.0", "550.3"]
    assert band_names(nm(550.31, 550.34), 2) == ["550.31", "550.34"]
    assert len(set(band_names(nm(550, 550), 2))) == 2
    assert band_names(None, 2) == ["0", "1"]
    assert band_names(SpectralAxis(name="component", unit="1", values=(0.0, 1.0)), 2) == ["0", "1"]


@given(values=st.lists(st.floats(allow_infinity=False), min_size=1))
def test_floats_of_a_table_come_back_bit_for_bit(values):
    lines = as_csv({"x": np.array(values), "s": ['a "b", c'] * len(values)}).splitlines()
    found = [float(line.split(",")[0]) for line in lines[1:]]
    assert np.array_equal(found, values, equal_nan=True)
    assert lines[1].endswith(',"a ""b"", c"')
