"""Regions: what is cut covers the region once, along multiples of the sides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.types import Roi

edges = st.integers(1, 9)


@st.composite
def regions(draw):
    y0, x0 = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    return Roi(y0=y0, y1=y0 + draw(st.integers(1, 20)), x0=x0, x1=x0 + draw(st.integers(1, 20)))


@given(regions(), edges, edges)
def test_pieces_cover_a_region_once_in_row_order_and_none_crosses_a_multiple(roi, height, width):
    plane, pieces = np.zeros((41, 41), int), roi.cut(height, width)
    for piece in pieces:
        plane[piece.slices] += 1
        assert piece.y0 // height == (piece.y1 - 1) // height
        assert piece.x0 // width == (piece.x1 - 1) // width
    assert (plane[roi.slices] == 1).all()
    assert plane.sum() == np.prod(roi.shape)
    assert pieces == sorted(pieces, key=lambda piece: (piece.y0, piece.x0))


@given(regions(), edges, edges)
def test_the_aligned_region_is_the_smallest_of_whole_objects_around_it(roi, height, width):
    whole = roi.aligned(height, width)
    assert whole.common(roi) == roi
    assert (whole.y0 % height, whole.y1 % height, whole.x0 % width, whole.x1 % width) == (0, 0, 0, 0)
    assert (whole.y0 > roi.y0 - height, whole.y1 < roi.y1 + height) == (True, True)
    assert (whole.x0 > roi.x0 - width, whole.x1 < roi.x1 + width) == (True, True)


@given(regions(), regions())
def test_what_two_regions_have_in_common_is_in_both(one, other):
    if one.overlaps(other):
        plane = np.zeros((41, 41), int)
        plane[one.slices] += 1
        plane[other.slices] += 1
        assert (plane[one.common(other).slices] == 2).all()
        assert (plane == 2).sum() == np.prod(one.common(other).shape)
