"""The loss of means: by hand on 3 x 3 pixels, and tile by tile with the gradient of the whole sample."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.tasks import task
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import MapTile, SampleBatch, TiledSample
from tilespec.training.player import Player


class Plane(nn.Module):
    """A net whose output is its weights: the map itself."""

    def __init__(self, values):
        super().__init__()
        self.map = nn.Parameter(torch.tensor(values, dtype=torch.float64)[None])

    def forward(self, x):
        del x
        return self.map


def tiles_of(mask, x, side):
    """Return the tiles of a map: pixels of their own, and one row and one column more."""
    height, width = mask.shape
    found = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            own = min(side, height - top), min(side, width - left)
            part = slice(top, top + own[0] + 1), slice(left, left + own[1] + 1)
            found.append(MapTile(x=x, mask=mask[part], corner=(top, left), own=own))
    return found


def sample(mask, references, x=None, side=99):
    mask = torch.as_tensor(np.asarray(mask, bool))
    parts = tiles_of(mask, torch.zeros(1, 1, *mask.shape) if x is None else x, side)
    return TiledSample(references=tuple(references), count=len(parts), tiles=lambda: iter(parts))


def player_of(net):
    return Player(module=net, net=net, optimiser=torch.optim.SGD(net.parameters(), 1.0))


def losses(net, samples, *, names=("fat",), units=("%",), **options):
    """Return the terms of one move, each propagated back into the net."""
    job = task({"name": "chemmap", "quantities": names, "units": units})
    judge = objective({"name": "mean_reference", **options}, job)
    batch = SampleBatch(samples=tuple(samples), ids=tuple(range(len(samples))))
    (move,) = judge.moves({"generator": player_of(net)}, batch)
    total = 0.0
    for term in move.terms:
        term.backward()
        total += term.item()
    return {**{key: value.item() for key, value in move.logs.items()}, "total": total}


MAP = [[1.0, 2.0, 4.0], [3.0, 103.0, 0.0], [-2.0, 1.0, 5.0]]
MASK = [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
"""The mean over the mask is (1 + 2 + 103 - 2) / 4 = 26."""


def test_the_default_form_by_hand():
    net = Plane([MAP])
    figures = losses(net, [sample(MASK, [20.0])], excess=4.0)
    assert figures["error"] == pytest.approx(36)
    assert figures["smoothness"] == pytest.approx(20 * ((2 - 1) ** 2 + (103 - 2) ** 2) / 4)
    assert figures["excess"] == pytest.approx(4 * (3**2 + 2**2) / 4)
    assert figures["decay"] == pytest.approx(1e-3 * (np.array(MAP) ** 2).sum())
    assert figures["total"] == pytest.approx(sum(figures[name] for name in ("error", "smoothness", "excess", "decay")))


def test_the_published_form_by_hand():
    figures = losses(Plane([MAP]), [sample(MASK, [20.0])], form="paper")
    down_and_right = [(3 - 1) ** 2 + (2 - 1) ** 2, (103 - 2) ** 2 + (4 - 2) ** 2, (1 - 103) ** 2 + (0 - 103) ** 2]
    assert figures["error"] == pytest.approx(36)
    assert figures["smoothness"] == pytest.approx(20 * sum(down_and_right) / 3)
    assert figures["excess"] == pytest.approx(1e-3 * (3**2 + 2**2))


def test_a_constant_map_that_is_right_has_only_the_weights_left():
    for form in ("default", "paper"):
        figures = losses(Plane(np.full((1, 3, 3), 30.0)), [sample(MASK, [30.0])], form=form)
        assert figures["total"] == figures["decay"] == pytest.approx(1e-3 * 9 * 900)


def test_minus_two_at_one_pixel_of_the_mask_adds_four_thousandths():
    figures = losses(Plane([[[-2.0, 5], [5, 5]]]), [sample(np.ones((2, 2)), [3.25])], form="paper", smoothness=0.0)
    assert figures["total"] - figures["decay"] == pytest.approx(4e-3)


def test_a_sample_of_a_hundred_thousand_pixels_weighs_the_range_alike_in_both_forms():
    values = np.full((1, 250, 400), -1.0)
    both = [losses(Plane(values), [sample(np.ones((250, 400)), [0.0])], form=form) for form in ("default", "paper")]
    assert both[0]["excess"] == pytest.approx(both[1]["excess"]) == pytest.approx(100)


def test_pixels_outside_the_mask_have_no_gradient():
    net = Plane([MAP])
    losses(net, [sample(MASK, [20.0])], decay=0.0)
    gradient = net.map.grad[0, 0].numpy()
    assert (gradient[np.array(MASK) == 0] == 0).all()
    assert (gradient[np.array(MASK) == 1] != 0).all()


def test_a_missing_reference_is_skipped_and_a_quantity_without_range_counts_in_its_unit():
    values = [MAP, MAP]
    names = {"names": ("fat", "ph"), "units": ("%", "")}
    one = losses(Plane(values), [sample(MASK, [math.nan, 20.0])], smoothness=0.0, decay=0.0, **names)
    assert one["error"] == pytest.approx(36)
    assert one["excess"] == pytest.approx(100 * (9 + 4) / 4 / 2), "only the quantity in percent has a range"
    none = losses(Plane(values), [sample(MASK, [math.nan, math.nan])], smoothness=0.0, decay=0.0, **names)
    assert none["error"] == 0


def test_terms_are_in_percent_of_the_range():
    thousand = task({"name": "chemmap", "quantities": ["fat"], "low": 0, "high": 1000})
    judge = objective({"name": "mean_reference", "decay": 0.0}, thousand)
    values = 10 * np.array([MAP])
    batch = SampleBatch(samples=(sample(MASK, [200.0]),), ids=(0,))
    (move,) = judge.moves({"generator": player_of(Plane(values))}, batch)
    same = losses(Plane([MAP]), [sample(MASK, [20.0])], decay=0.0)
    assert sum(term.item() for term in move.terms) == pytest.approx(same["total"])


def test_a_batch_is_the_mean_of_its_samples():
    first, second = sample(MASK, [20.0]), sample(np.ones((3, 3)), [1.0])
    alone = [losses(Plane([MAP]), [one], decay=0.0)["total"] for one in (first, second)]
    assert losses(Plane([MAP]), [first, second], decay=0.0)["total"] == pytest.approx(np.mean(alone))


def test_weights_that_count_are_those_of_more_than_one_axis():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    figures = losses(net, [sample(MASK, [20.0])])
    weights = [net[0].weight, net[2].weight]
    assert figures["decay"] == pytest.approx(1e-3 * sum(w.square().sum().item() for w in weights))


class Pixels(nn.Module):
    """A net of single pixels, of which a tile's answer is its part of the whole answer."""

    def __init__(self, dtype):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Tanh(), nn.Conv2d(5, 2, 1)).to(dtype)

    def forward(self, x):
        return 60 * self.layers(x)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    side=st.integers(1, 9),
    form=st.sampled_from(["default", "paper"]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_loss_and_gradient_tile_by_tile_are_those_of_the_whole_sample(height, width, side, form, dtype, seed):
    rng = np.random.default_rng(seed)
    mask, x = rng.random((height, width)) < 0.6, torch.tensor(rng.normal(size=(1, 3, height, width)), dtype=dtype)
    mask[rng.integers(height), rng.integers(width)] = True
    found = []
    for tile in (99, side):
        net = Pixels(dtype)
        figures = losses(
            net, [sample(mask, [20.0, math.nan], x, tile)], names=("fat", "water"), units=("%", "%"), form=form
        )
        found.append((figures, torch.cat([p.grad.flatten() for p in net.parameters()])))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert found[1][0] == pytest.approx(found[0][0], rel=tolerance, abs=tolerance)
    scale = max(1.0, found[0][1].abs().max().item())
    torch.testing.assert_close(found[1][1] / scale, found[0][1] / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("options", "text"), [({"form": "other"}, "default or paper"), ({"error": -1.0}, "error")])
def test_options_that_give_no_loss_are_refused(options, text):
    with pytest.raises(UserError, match=text):
        objective({"name": "mean_reference", **options}, task({"name": "chemmap", "quantities": ["fat"]}))
