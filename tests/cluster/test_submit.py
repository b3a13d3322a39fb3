"""Tasks on a client: workers that come later get some, and a plan is not submitted as a whole."""

import time

import pytest
from distributed import Client, LocalCluster, get_worker

from tilespec.cluster import submit


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(submit, "POLL", 0.1)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        yield cluster


def slow(number):
    time.sleep(0.1)
    return number, get_worker().name


def test_workers_that_come_later_get_tasks_and_few_are_in_flight(cluster):
    taken = []

    def numbers():
        for number in range(60):
            taken.append(number)
            yield (number,)

    ended, names, ahead = 0, set(), 0
    with Client(cluster) as client:
        for (number,), (result, name) in submit.run_tasks(client, slow, numbers()):
            assert result == number
            ended, ahead = ended + 1, max(ahead, len(taken) - ended)
            names.add(name)
            if ended == 3:
                cluster.scale(3)
    assert ended == 60
    assert len(names) == 3, "all three workers had some"
    assert ahead == 3, "as many at once as there are workers"
