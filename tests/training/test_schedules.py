import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from tilespec.core.errors import UserError
from tilespec.training.schedules import SCHEDULES, Rate, warm_up_notes
from tilespec.training.settings import Train

PEAK = 0.02


def rate(steps=100, warmup=0, floor=0.0, **schedule):
    return Rate.of(Train(rate=PEAK, steps=steps, warmup=warmup, floor=floor, schedule=schedule))


def torchs(make, steps):
    """Return the rates of one of torch's schedules."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule, rates = make(optimiser), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


def same(ours, make, steps=100):
    assert [ours.at(step) for step in range(steps)] == pytest.approx(torchs(make, steps), rel=1e-9, abs=1e-15)


def test_a_name_alone_is_a_schedule():
    assert Rate.of(Train(schedule="constant", warmup=0)).at(7) == Train().rate


def test_constant_is_torchs():
    same(rate(name="constant"), lambda o: lr_scheduler.ConstantLR(o, factor=1.0))


@settings(max_examples=20)
@given(every=st.integers(1, 40), factor=st.floats(0.1, 1.0))
def test_step_is_torchs(every, factor):
    same(rate(name="step", every=every, factor=factor), lambda o: lr_scheduler.StepLR(o, every, gamma=factor))


@settings(max_examples=20)
@given(factor=st.floats(0.5, 1.0))
def test_multiplicative_is_torchs(factor):
    ours = rate(name="multiplicative", factor=factor)
    same(ours, lambda o: lr_scheduler.MultiplicativeLR(o, lambda _: factor))


@settings(max_examples=20)
@given(floor=st.floats(0.0, 1.0))
def test_cosine_is_torchs(floor):
    ours = rate(name="cosine", floor=floor)
    theirs = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 100, eta_min=floor * PEAK), 100)
    assert [ours.at(step) for step in range(100)] == pytest.approx(theirs, rel=1e-6, abs=1e-12)  # theirs is recursive


def test_a_cosine_stays_at_its_floor_when_it_has_steps_of_its_own():
    ours = Rate.of(Train(rate=PEAK, steps=100, warmup=0, floor=0.1, schedule={"name": "cosine", "steps": 40}))
    assert [ours.at(step) for step in (40, 70, 99)] == pytest.approx([0.1 * PEAK] * 3)
    assert not ours.ends


@settings(max_examples=20)
@given(rise=st.floats(0.05, 0.95), start=st.floats(0.01, 0.5), floor=st.floats(1e-4, 0.5), steps=st.integers(20, 80))
def test_one_cycle_is_torchs(rise, start, floor, steps):
    assume(rise * steps > 1.1)  # torch divides by 0 when nothing rises
    ours = rate(name="one_cycle", steps=steps, rise=rise, start=start, floor=floor)

    def make(optimiser):
        shares = {"div_factor": 1 / start, "final_div_factor": start / floor}
        return lr_scheduler.OneCycleLR(
            optimiser, PEAK, total_steps=steps, pct_start=rise, cycle_momentum=False, **shares
        )

    theirs = torchs(make, steps - 1)
    assert [ours.at(step) for step in range(steps - 1)] == pytest.approx(theirs, rel=1e-9)
    assert ours.at(steps - 1) == pytest.approx(floor * PEAK)


@settings(max_examples=20)
@given(up=st.integers(1, 30), floor=st.floats(0.01, 0.9), halve=st.booleans())
def test_cyclic_is_torchs(up, floor, halve):
    def make(optimiser):
        mode = "triangular2" if halve else "triangular"
        return lr_scheduler.CyclicLR(optimiser, floor * PEAK, PEAK, up, mode=mode, cycle_momentum=False)

    same(rate(name="cyclic", up=up, floor=floor, halve=halve), make)


@settings(max_examples=20)
@given(
    scores=st.lists(st.floats(0.0, 1.0) | st.sampled_from([0.3, 0.30002, 0.5]), max_size=40),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    floor=st.sampled_from([0.0, 0.05]),
    less=st.booleans(),
)
def test_plateau_is_torchs(scores, patience, cooldown, floor, less):
    options = {"factor": 0.5, "patience": patience, "cooldown": cooldown}
    ours = rate(name="plateau", floor=floor, **options)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    mode = "min" if less else "max"
    theirs = lr_scheduler.ReduceLROnPlateau(optimiser, mode, min_lr=floor * PEAK, eps=0.0, **options)
    for count in range(1, len(scores) + 1):
        theirs.step(scores[count - 1])
        seen = tuple(-score if less else score for score in scores[:count])
        assert ours.at(99, seen) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)


def test_a_validation_without_a_number_is_no_better():
    ours = rate(name="plateau", patience=1, factor=0.5)
    assert ours.at(5, (0.5, -math.inf)) == PEAK
    assert ours.at(5, (0.5, -math.inf, -math.inf)) == PEAK / 2
    assert ours.at(5, (-math.inf, 0.5)) == PEAK


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_warm_up_is_linear_and_comes_before_the_schedule(name):
    warm, cold = rate(name=name, warmup=9, steps=109, floor=0.1), rate(name=name, floor=0.1)
    assert [warm.at(step) / cold.at(0) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert [warm.at(step + 9) for step in range(100)] == pytest.approx([cold.at(step) for step in range(100)])


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_stay_between_0_and_the_peak_and_depend_on_nothing_else(name):
    one = [rate(name=name, floor=0.05).at(step, (0.4, 0.3)) for step in range(100)]
    assert one == [rate(name=name, floor=0.05).at(step, (0.4, 0.3)) for step in range(100)]
    assert all(0 <= value <= PEAK for value in one)
    falling = {"step", "multiplicative", "cosine"}
    assert name not in falling or all(before >= after for before, after in pairwise(one))


def test_only_schedules_that_know_the_last_step_end_with_it():
    assert {name for name in SCHEDULES if rate(name=name).ends} == {"cosine", "one_cycle"}


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        ({"name": "cosin"}, "one of constant, cosine, cyclic, multiplicative, one_cycle, plateau, step"),
        ({"name": "step", "evry": 3}, r"train.schedule.evry: found an unknown key; .*every, factor"),
        ({"name": "step", "every": 0}, r"train.schedule.every: found 0; expected a number, at least 1"),
        ({"name": "cyclic", "up": True}, r"train.schedule.up: found True"),
        ({"name": "plateau", "factor": 2}, r"train.schedule.factor: found 2; expected a number, 0 to 1"),
        ({"name": "one_cycle", "rise": math.nan}, r"train.schedule.rise: found nan"),
    ],
)
def test_mistakes_are_refused(schedule, text):
    with pytest.raises(UserError, match=text):
        rate(**schedule)


@pytest.mark.parametrize(("warmup", "steps", "told"), [(100, 1000, 0), (100, 40, 1), (30, 40, 1), (0, 1, 0)])
def test_a_warm_up_that_fills_the_training_is_noted(warmup, steps, told):
    notes = warm_up_notes(Train(steps=steps, warmup=warmup, rate=0.01))
    assert bool(notes) == told
    if warmup > steps:
        assert f"of {steps} steps" in notes[0]
        assert "0.004 of 0.01" in notes[0]


def test_the_schedules_that_spectrai_offers_are_torchs_with_its_numbers():
    same(rate(name="step", every=50, factor=0.2), lambda o: lr_scheduler.StepLR(o, 50, gamma=0.2))
    same(rate(name="multiplicative", factor=0.985), lambda o: lr_scheduler.MultiplicativeLR(o, lambda _: 0.985))
    cycle = {"base_lr": PEAK / 100, "max_lr": PEAK, "mode": "triangular2", "cycle_momentum": False}
    same(rate(name="cyclic", up=20, floor=0.01), lambda o: lr_scheduler.CyclicLR(o, step_size_up=20, **cycle))
