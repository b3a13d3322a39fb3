"""Laws of the forecast: nothing is evaluated twice by one worker, and more workers never take longer than one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from many_parts import NoNet

from tilespec.core.types import Roi
from tilespec.storage.backends.paths import store_path
from tilespec.storage.ledger import Ledger
from tilespec.storage.product import Product
from tilespec.tiling.forecast import CROWDING, Machines, Rates, forecast
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import PredictPlan, axes


def plan_of(height, width, tile, overlap, edge, panel=None, folder="/nowhere"):
    y, x = axes((height, width), tile, overlap)
    ledger = Ledger(folder=store_path(f"{folder}/out.tilespec"), key="k")
    product = Product(url=f"{folder}/out", height=height, edge=edge, ledger=ledger, width=width, panel=panel)
    roi = Roi(y0=0, y1=height, x0=0, x1=width)
    return PredictPlan(scene="none", roi=roi, product=product, grid=Grid(y=y, x=x), spec=NoNet(), threads=1)


FREE = {"start_seconds": 0.0, "first_seconds": 0.0, "part_seconds": 0.0, "submit_seconds": 0.0}
RATES = Rates(tile_seconds=1.0, **FREE)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(200, 3000),
    overlap=st.integers(0, 60),
    edge=st.sampled_from([32, 64, 128]),
    workers=st.integers(1, 40),
    panel=st.sampled_from([None, 128]),
)
def test_the_work_is_done_by_any_number_of_workers(height, overlap, edge, workers, panel):
    plan = plan_of(height, 300, 64, overlap, edge, panel)
    parts = plan.parts(2 * workers)
    found = forecast(plan, parts, Machines(workers=workers, cores=workers), RATES, 4)
    covered = sum(len(plan.tiles(part)[0]) * len(plan.tiles(part)[1]) for part in parts)
    assert found.tiles + found.shared == covered
    assert found.to_json(plan)["tiles_twice"] >= 0
    assert found.tiles / workers <= found.seconds * (1 + 1e-9)
    assert found.seconds <= found.tiles * (1 + 1e-9)
    assert 0 < found.busy <= 1 + 1e-9
    alone = forecast(plan, parts, Machines(workers=1, cores=1), RATES, 4)
    assert alone.to_json(plan)["tiles_twice"] == 0, "in their order no tile is evaluated twice"
    assert alone.seconds == pytest.approx(alone.tiles)
    assert found.seconds <= alone.seconds * (1 + 1e-9)


def test_workers_share_the_cores_and_the_storage():
    plan = plan_of(20_000, 300, 64, 0, 64)
    parts = plan.shares()
    one = forecast(plan, parts, Machines(workers=1, cores=1), RATES, 4).seconds
    for workers, dearer in ((2, 1.0), (4, 1 + CROWDING / 2)):
        found = forecast(plan, parts, Machines(workers=workers, cores=2), RATES, 4)
        assert found.seconds == pytest.approx(dearer * one / 2, rel=0.02)
    slow = Rates(tile_seconds=1e-9, storage_rate=1e6, **FREE)
    for workers in (1, 10):
        found = forecast(plan, parts, Machines(workers=workers, cores=99), slow, 1000)
        assert found.seconds == pytest.approx(20_000 * 300 * 1000 / 1e6, rel=0.02)


def test_rates_are_those_of_the_note_and_none_without_one():
    note = {"tiles": 10, "cpu_seconds": 8.0, "network_seconds": 3.0, "read_seconds": 1.0, "bytes_read": 600}
    note |= {"seconds": 4.0, "workers": 2, "lanes": 1, "startup_seconds": 2.5, "opening_seconds": 0.0}
    rates = Rates.of(note)
    assert (rates.tile_seconds, rates.read_rate, rates.width, rates.start_seconds) == (0.6, 300.0, 1.0, 2.5)
    assert 10 * rates.tile_seconds + 600 / rates.read_rate == 8.0
    more = Rates.of({**note, "cpu_seconds": 10.0, "opening_seconds": 2.0})
    assert (more.tile_seconds, more.first_seconds - rates.first_seconds) == (0.6, 1.0), "half of it for each worker"
    assert Rates.of(None) is Rates.of({}) is Rates.of({**note, "tiles": 0}) is None
    assert Rates.of({**note, "read_seconds": 0, "bytes_read": 0}).read_rate == math.inf


def test_a_worker_of_half_the_speed_takes_fewer_parts():
    plan = plan_of(20_000, 300, 64, 0, 64)
    even = forecast(plan, plan.parts(2), Machines(workers=2, cores=2, speeds=(1, 0.5)), RATES, 4)
    fine = forecast(plan, plan.shares(), Machines(workers=2, cores=2, speeds=(1, 0.5)), RATES, 4)
    assert fine.seconds < even.seconds
    assert fine.seconds == pytest.approx(fine.tiles / 1.5, rel=0.02)
