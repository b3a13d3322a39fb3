import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.evaluate.metrics.table import METRICS
from tilespec.training.validation.history import best, read, rewind, stopped, write

IOU, RMSE = METRICS["iou"], METRICS["rmse"]

VALUES = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.25, 0.5, 0.75])
HISTORIES = st.lists(VALUES, max_size=12).map(
    lambda values: [{"step": 10 * (i + 1), "iou": value, "rmse": value} for i, value in enumerate(values)]
)


def number(value):
    return value if value is not None and math.isfinite(value) else None


def counted(history, *, sign=1, metric="iou"):
    """Return the best step and how long ago it was, as a loop over time with a counter would."""
    top, at, waited = -math.inf, None, 0
    for line in history:
        value = number(line[metric])
        if value is not None and sign * value > top:
            top, at, waited = sign * value, line["step"], 0
        else:
            waited += 1
    return at, waited


@given(HISTORIES)
def test_the_best_is_the_first_of_the_largest(history):
    assert best(history, IOU) == counted(history)[0]


@given(HISTORIES)
def test_of_an_error_the_smallest_is_the_best(history):
    assert best(history, RMSE) == counted(history, sign=-1, metric="rmse")[0]


@given(HISTORIES, st.integers(0, 6))
def test_a_training_ends_after_so_many_validations_without_a_better_one(history, patience):
    assert stopped(history, patience, IOU) == (0 < patience <= counted(history)[1])


@given(HISTORIES, st.integers(1, 6))
def test_more_patience_never_ends_a_training_earlier(history, patience):
    assert stopped(history, patience, IOU) or not stopped(history, patience + 1, IOU)


@given(HISTORIES, st.integers(0, 6))
def test_what_follows_from_a_history_survives_its_file(tmp_path_factory, history, patience):
    folder = tmp_path_factory.mktemp("history")
    write(folder, history)
    kept = read(folder)
    assert (best(kept, IOU), stopped(kept, patience, IOU)) == (best(history, IOU), stopped(history, patience, IOU))


@given(HISTORIES, st.integers(0, 130))
def test_rewound_it_is_the_history_until_then(tmp_path_factory, history, step):
    folder = tmp_path_factory.mktemp("history")
    write(folder, [{**line, "iou": number(line["iou"]), "rmse": number(line["rmse"])} for line in history])
    kept = rewind(folder, step)
    assert [line["step"] for line in kept] == [line["step"] for line in history if line["step"] <= step]
    assert read(folder) == kept


def test_no_history_has_no_best_and_ends_nothing(tmp_path):
    assert (read(tmp_path), rewind(tmp_path, 3)) == ([], [])
    assert (best([], IOU), stopped([], 1, IOU)) == (None, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", ['{"step": 20, "io', "[]", '{"iou": 1}', '{"step": null}', ""])
def test_a_torn_line_is_no_validation(tmp_path, torn):
    (tmp_path / "validation.jsonl").write_text(json.dumps({"step": 10, "iou": 0.5}) + "\n" + torn)
    assert [line["step"] for line in read(tmp_path)] == [10]


def test_of_a_metric_without_better_values_none_is_the_best():
    assert best([{"step": 10, "bias": 0.5}, {"step": 20, "bias": -0.5}], METRICS["bias"]) is None
