"""Three network namespaces as hosts: a scheduler and its client on one, a worker on each of the others, over TLS.

A wire is cut for a moment or for a minute, or a host loses its power: the bytes are those of one process alone, and no
row of objects is recorded twice. All hosts see one folder, the wires carry Dask.
"""

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_processes import Arena, Cluster, Run, contents, leftovers, predict, records, tiles_in
from network_hosts import network

from tilespec import api
from tilespec.storage.audit import verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SLEEP = 0.3
"""Seconds that the net takes for a tile row, so that there is time to cut a wire."""
BEGUN = 12
"""Tiles, two tile rows, after which a part is in work; the lost host is held there where its moment matters."""
START = 150.0
"""Seconds in which a worker has loaded all that it needs, on a machine with much else to do."""
NOTICED = 60.0
"""Seconds in which a host that says nothing must be given up: Dask's own limit for a silent connection is 30 s."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("three"), make_scene)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A cluster on three hosts, and what its workers write down."""

    arena: Arena
    folder: Path
    hosts: list
    cluster: Cluster

    @classmethod
    @contextmanager
    def of(cls, arena, folder, sleep=SLEEP):
        """Yield a cluster: host 0 has the scheduler, and will have the client."""
        with network(3) as hosts:
            keys = api.cluster_init_tls(folder / "keys", hosts=[host.address for host in hosts])
            options = {"DASK_CONFIG": f"{keys['folder']}/dask.yaml", "CHAOS_ROWS": str(folder / "rows"), "sleep": sleep}
            preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["fault_command"]'}
            with Cluster.of(folder / "cluster", 0, hosts[0], "tls", **options, **preload) as cluster:
                site = cls(arena=arena, folder=folder, hosts=hosts, cluster=cluster)
                for which, host in enumerate(hosts[1:], 1):
                    cluster.add(host, log=site.log(which), gate=site.gate(which))
                cluster.until(2)  # the client counts the workers once, when it begins
                yield site

    @property
    def out(self):
        return self.folder / "out"

    def log(self, which):
        return self.folder / f"{which}.tiles"

    def gate(self, which):
        return self.folder / f"{which}.gate"

    def tiles(self, which):
        return tiles_in(self.log(which))

    def start(self):
        """Start the prediction, and return when both workers are in the middle of a part."""
        words = predict(self.arena, self.out, "--cluster", self.cluster.address)
        run = Run.start(self.folder / "log", *words, within=self.hosts[0].within, **self.cluster.options)
        assert run.until(lambda: min(self.tiles(1), self.tiles(2)) >= BEGUN, START), run.err.read_text()
        return run

    def was_removed(self):
        """Return whether the scheduler has given up a worker."""
        return "Remove worker" in (self.folder / "cluster" / "scheduler.log").read_text()

    def recorded(self):
        """Return how often each row was recorded, by any process."""
        return Counter(line.split()[0] for line in (self.folder / "rows").read_text().splitlines())

    def is_whole(self):
        assert contents(self.out) == self.arena.whole
        assert leftovers(self.out) == []
        assert verify(str(self.out))["whole"]
        assert set(self.recorded().values()) == {1}, self.recorded()
        assert records(self.out) == len(self.recorded())


def ended(run, began, seconds):
    """Assert that a command ends well, and at most so many seconds after ``began``."""
    code, result, errors = run.wait(seconds)
    assert code == 0, errors
    assert result["status"] == "complete"
    assert time.monotonic() - began < seconds


def test_a_wire_that_is_cut_for_three_seconds_is_waited_for(arena, tmp_path):
    with Site.of(arena, tmp_path) as site:
        run = site.start()
        site.hosts[2].cut()
        began = time.monotonic()
        time.sleep(3)
        site.hosts[2].mend()
        ended(run, began, 60)
        assert not site.was_removed()
        assert site.tiles(1) + site.tiles(2) == arena.tiles, "nothing is evaluated twice"
        site.is_whole()


def test_a_wire_that_is_cut_for_a_minute_costs_a_worker_and_what_both_write_is_recorded_once(arena, tmp_path):
    """The lost worker and the one that has its part write at the same time, as far as that can be."""
    with Site.of(arena, tmp_path, sleep=0.1) as site:
        site.gate(2).write_text(str(BEGUN))
        run = site.start()
        site.hosts[2].cut()
        began = time.monotonic()
        assert run.until(lambda: rests(site, 1)), run.err.read_text()
        own, before = site.tiles(1), records(site.out)
        site.gate(1).write_text("0")
        assert run.until(lambda: site.tiles(1) > own, NOTICED), "the part of the lost worker is another's"
        assert site.was_removed()
        site.gate(2).unlink()  # it lives, and knows nothing
        assert run.until(lambda: records(site.out) >= before + 2), run.err.read_text()
        site.gate(1).unlink()
        ended(run, began, NOTICED + 30)
        site.is_whole()
        time.sleep(max(0.0, began + 60 - time.monotonic()))
        site.hosts[2].mend()
        time.sleep(5)
        site.is_whole()


def rests(site, which, seconds=2.0):
    """Return whether a worker evaluates nothing for a while."""
    before = site.tiles(which)
    time.sleep(seconds)
    return site.tiles(which) == before


def test_a_host_that_loses_its_power_is_given_up_in_bounded_time_and_the_other_does_its_work(arena, tmp_path):
    with Site.of(arena, tmp_path, sleep=0.1) as site:
        site.gate(2).write_text(str(BEGUN))
        run = site.start()
        site.hosts[2].die()
        ended(run, time.monotonic(), NOTICED + 30)
        assert site.was_removed()
        assert site.tiles(1) + site.tiles(2) <= arena.tiles + BEGUN, "only what was in flight is evaluated again"
        site.is_whole()
