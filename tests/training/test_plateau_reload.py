"""A falling rate goes back to the best weights: with the optimiser's state of then, and the rate of now."""

import json

import numpy as np
import pytest
import torch
from reference_scenes import write_samples
from short_trainings import interrupted

from tilespec import api
from tilespec.models.tensors import read
from tilespec.training.schedules import Plateau, Rate
from tilespec.training.settings import Train
from tilespec.training.validation import history
from tilespec.training.validation.sample_means import METRICS


def plateau(**options):
    return Plateau(floor=0.0, patience=0, threshold=0.0, factor=0.1, **options)


def test_the_training_goes_back_exactly_when_the_rate_falls():
    rule, scores = plateau(reload=True), (1.0, 2.0, 1.5, 1.7, 3.0, 2.0)
    falls = [n for n in range(1, len(scores) + 1) if rule.goes_back(scores[:n])]
    assert falls == [3, 4, 6]
    assert [n for n in range(1, 7) if rule.share(0, scores[:n]) < rule.share(0, scores[: n - 1])] == falls
    assert not any(plateau().goes_back(scores[:n]) for n in range(1, 7))


def test_at_the_floor_the_training_does_not_go_back_any_more():
    rule = Plateau(floor=0.1, patience=0, threshold=0.0, factor=0.1, reload=True)
    assert rule.goes_back((2.0, 1.0))
    assert not rule.goes_back((2.0, 1.0, 1.0))


def test_validations_of_the_burn_in_do_not_count():
    rule, scores = plateau(burn_in=3, reload=True), (9.0, 2.0, 1.0, 1.5, 1.4)
    assert [rule.share(0, scores[:n]) for n in range(6)] == pytest.approx([1, 1, 1, 1, 1, 0.1])
    assert rule.goes_back(scores)
    lines = [{"step": n, "mse_of_means": value} for n, value in enumerate((1.0, 2.0, 3.0, 4.0, 5.0))]
    assert history.stopped(lines, 2, METRICS[0])
    assert not history.stopped(lines[:3], 2, METRICS[0], 2)
    assert history.stopped(lines, 2, METRICS[0], 2)


def test_other_schedules_never_go_back():
    assert not Rate.of(Train(schedule="constant")).goes_back((2.0, 1.0))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a training whose rate is so large that it soon becomes worse."""
    url, references, *_ = write_samples(tmp_path_factory.mktemp("samples"))
    return {
        "data": {"scene": url, "references": references, "columns": "fat", "samples": "sample"},
        "task": {"name": "chemmap"},
        "net": {"name": "mlp", "hidden": [4]},
        "objective": {"name": "mean_reference"},
        "train": {
            "steps": 12,
            "batch": 1,
            "rate": 3.0,
            "warmup": 0,
            "checkpoint_every": 1,
            "schedule": {"name": "plateau", "patience": 0, "factor": 0.5, "reload": True},
            "ema": 0.5,
        },
        "validate": {"samples": ["2", "9"], "every": 1, "keep": "last"},
    }


def states(folder, monkeypatch, tables):
    """Train; return the tensors of the checkpoint after each step, and the validations."""
    kept = {}
    from tilespec.training.run import checkpoint

    save = checkpoint.save
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda at, step, tensors, *rest: (kept.update({step: tensors}), save(at, step, tensors, *rest)),
    )
    api.train(tables, str(folder))
    return kept, history.read(folder)


def test_after_a_fall_weights_and_moments_are_those_of_the_best_validation_and_the_rate_is_the_new_one(
    tables, tmp_path, monkeypatch
):
    kept, lines = states(tmp_path / "model", monkeypatch, tables)
    metric, rule = METRICS[0], Plateau(floor=0.02, patience=0, factor=0.5, reload=True)
    scores = tuple(history.worth(line, metric) for line in lines)
    falls = [n for n in range(1, 13) if rule.goes_back(scores[:n])]
    assert falls, "the rate never fell: the test shows nothing"
    for step in range(1, 13):
        top = history.best(lines[:step], metric)
        same = all(torch.equal(kept[step][key], kept[top][key]) for key in kept[step])
        assert same == (step in falls or step == top)
    log = [json.loads(line) for line in (tmp_path / "model" / "log.jsonl").read_text().splitlines()]
    rates = [line["rate"] for line in log]
    assert [n for n in range(1, 12) if rates[n] < rates[n - 1]] == [n for n in falls if n < 12]


def test_a_training_that_goes_back_resumes_like_any_other(tables, tmp_path):
    api.train(tables, str(tmp_path / "whole"))
    for at in (4, 3):
        interrupted(tables, tmp_path / "parts", at)
    api.train(tables, str(tmp_path / "parts"))
    whole, parts = (read(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(np.array_equal(whole[key], parts[key]) for key in whole)
