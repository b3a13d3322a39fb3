"""The table of metrics: one value for each, and the metrics that tasks name are among them."""

import pytest

from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS, load
from tilespec.evaluate.comparison import metrics_of
from tilespec.evaluate.metrics.table import METRICS, figures, metric
from tilespec.models.tasks import TASKS
from tilespec.models.tasks.base import generates


def test_no_two_metrics_have_a_name_or_a_figure_in_common():
    assert len(figures()) == len(METRICS)
    assert [name for name, one in METRICS.items() if one.name != name] == []


@pytest.mark.parametrize("name", [name for name in TASKS if not generates(load(TASKS, name, "task"))])
def test_a_task_of_tilespec_names_metrics_of_the_table_that_pixels_decide_and_the_first_can_lead(name):
    named = metrics_of(name)
    assert {one.name for one in named} <= set(METRICS)
    assert {one.truth for one in named} == {load(TASKS, name, "task").truth}
    assert all(one.pixels for one in named)
    assert named[0].better is not None


@pytest.fixture
def own_tasks(monkeypatch):
    monkeypatch.setenv(PLUGINS, "own_tasks")


@pytest.mark.usefixtures("own_tasks")
def test_own_metrics_stand_last_in_tables():
    own = metric("own_tasks:QUARTIC")
    assert figures([METRICS["rmse"], own]) == [*figures(), "quartic"]


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize("name", ["accuracy", "own_tasks:Values", "own_tasks:NAMELESS", "own_tasks:Nothing"])
def test_what_is_no_metric_is_refused(name):
    with pytest.raises(UserError, match="metric"):
        metric(name)
