"""Chemical maps: limits from units, heads in the units of the references, masks on the plane of the output."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tilespec.core.errors import UserError
from tilespec.models.tasks import task
from tilespec.models.tasks.base import Geometry


def chemmap(**options):
    return task({"name": "chemmap", "quantities": ["fat", "water"], **options})


def test_limits_follow_from_the_unit_unless_they_are_given():
    assert chemmap(units=["%", "mg/g"]).limits == ((0, 100), (None, None))
    assert chemmap(units=["%", "%"], high=[60, None]).limits == ((0, 60), (0, 100))
    assert chemmap(low=1, high=3).limits == ((1, 3), (1, 3))


def test_a_card_of_lists_describes_the_same_task():
    options = {"quantities": ("fat", "water"), "units": ("%", "%"), "low": (0, 1), "high": 90, "scale": "1/2"}
    assert chemmap(**json.loads(json.dumps(options))) == chemmap(**options)


def test_a_linear_head_answers_in_the_units_and_a_bounded_one_shares_of_the_range():
    raw = torch.tensor([[-1.0, 0.5], [0.0, 1.0]])[None, :, :, None]
    assert chemmap().activate(raw) is raw
    bounded = chemmap(units=["%", "%"], low=[0, 20], head="bounded").activate(raw)
    assert bounded.flatten().tolist() == [-100, 50, 20, 100]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"quantities": []}, "task.quantities"),
        ({"quantities": "fat"}, "task.quantities"),
        ({"units": ["%"]}, "one unit and one limit"),
        ({"low": [0, 1, 2]}, "one unit and one limit"),
        ({"low": 2, "high": 2}, "low below high"),
        ({"high": float("inf")}, "low below high"),
        ({"head": "bounded", "units": ["%", "g"]}, "both, if the head is bounded"),
        ({"head": "tanh"}, "linear or bounded"),
        ({"scale": "half"}, "task.scale"),
        ({"scale": "1/0"}, "task.scale"),
        ({"margin": -1}, "task.margin"),
    ],
)
def test_options_that_describe_no_map_are_refused(options, text):
    with pytest.raises(UserError, match=text):
        chemmap(**options)


def test_a_pixel_without_data_belongs_to_no_sample():
    scores, numbers = np.ones((4, 6, 3), np.float32), np.full((2, 3), 7, np.int32)
    scores[1, 3, 2] = np.nan
    x, y = chemmap(scale="1/2").pair(scores, numbers)
    assert (x[1, 3] == 0).all()
    assert y.tolist() == [[7, 0, 7], [7, 7, 7]]
    assert chemmap().known(torch.tensor([[[0, 3]]], dtype=torch.int32)).tolist() == [[[[False, True]]]]


@given(
    step=st.integers(1, 3),
    margin=st.integers(0, 2),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    seed=st.integers(0),
)
def test_a_mask_is_reduced_by_the_majority_inside_the_margin(step, margin, height, width, seed):
    geometry = Geometry(scale=Fraction(1, step), margin=margin * step)
    rng = np.random.default_rng(seed)
    mask = rng.random((height * step + 2 * margin * step, width * step + 2 * margin * step)) < 0.5
    reduced = geometry.reduced(mask)
    assert reduced.shape == geometry.plane(mask.shape) == (height, width)
    for y in range(height):
        for x in range(width):
            top, left = (y + margin) * step, (x + margin) * step
            assert reduced[y, x] == (mask[top : top + step, left : left + step].mean() >= 0.5)


def test_flips_keep_a_reduced_mask_on_the_image():
    geometry = Geometry(scale=Fraction(1, 2), margin=4)
    mask = np.random.default_rng(0).random((24, 32)) < 0.4
    for axis in (0, 1):
        assert_array_equal(geometry.reduced(np.flip(mask, axis)), np.flip(geometry.reduced(mask), axis))
