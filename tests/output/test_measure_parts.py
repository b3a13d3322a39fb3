"""What measure is made of: tallies add, regions join as on the whole plane, indices are their formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tilespec.core.types import SpectralAxis
from tilespec.output.measure.connected_regions import RegionStrips
from tilespec.output.measure.csv_table import as_csv, band_names
from tilespec.output.measure.indices import INDICES, indices
from tilespec.output.measure.object_sums import NONE, ObjectBlock, ObjectSums

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
