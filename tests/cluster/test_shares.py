"""Shares of joined runs: together they write every row once, whoever comes, goes or dies."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.cluster import shares as module
from tilespec.cluster.shares import OthersWriteError, finish, in_turn, shares, write_rows
from tilespec.core.errors import IncompleteError
from tilespec.storage import joined
from tilespec.storage.backends.paths import store_path
from tilespec.storage.layout import COMPLETE, layer_spec
from tilespec.storage.lock import locked
from tilespec.storage.product import Product, metadata


class Counts:
    """A progress that counts."""

    def __init__(self):
        self.total, self.done = 0, 0

    def say(self, text): ...

    def start(self, what, total, unit):
        self.total += total

    def advance(self, units, note=""):
        self.done += units

    def finish(self): ...


def begun(url, hold, rows):
    with hold.alone("create"):
        return Product.open(url, [layer_spec("labels", (rows * 128, 4))], settings={"a": 1}, attrs={}, constants={})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(joined, "POLL", 0.01)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_runs_that_join_write_each_row_once_and_each_sees_the_whole(tmp_path_factory, runs, rows, one_by_one):
    out, log = str(tmp_path_factory.mktemp("joined") / "p"), []

    def of(product, row):
        product.write(row, {"labels": np.full((128, 4), row, np.uint8)})
        log.append((row, threading.get_ident()))
        time.sleep(0.001 * (row % 3))
        return Counter(rows=1)

    def run(_):
        progress = Counts()
        with locked(out, join=True) as hold:
            product = begun(out, hold, rows)
            mine = write_rows(product, of, "write", hold=hold, progress=progress, one_by_one=one_by_one)
            digest = finish(product, hold)
        assert progress.done == progress.total
        return mine["rows"], digest

    with ThreadPoolExecutor(runs) as pool:
        results = list(pool.map(run, range(runs)))
    assert sorted(row for row, _ in log) == list(range(rows))
    assert sum(mine for mine, _ in results) == rows
    assert len({digest for _, digest in results}) == 1
    assert metadata(store_path(out) / "zarr.json")["attributes"]["tilespec_status"] == COMPLETE
    with locked(out) as hold:
        product = Product.open(out, [layer_spec("labels", (rows * 128, 4))], settings={"a": 1}, attrs={}, constants={})
        assert write_rows(product, of, "write", hold=hold) == Counter()
        assert finish(product, hold) == results[0][1]


def test_a_run_that_is_not_patient_leaves_what_others_write(tmp_path):
    out = str(tmp_path / "p")
    with locked(out, join=True) as one:
        product = begun(out, one, 2)
        assert [one.claim(f"row-{row:06d}") is not None for row in range(2)] == [True, True]
        with ThreadPoolExecutor(1) as pool:

            def other():
                with locked(out, join=True, patient=False) as hold:
                    write_rows(product, lambda *_: Counter(), "write", hold=hold)

            with pytest.raises(OthersWriteError):
                pool.submit(other).result()


def test_a_row_whose_lease_is_lost_is_left_to_the_other_run(tmp_path):
    out = str(tmp_path / "p")
    with locked(out, join=True) as hold:
        product = begun(out, hold, 1)

        def of(product, row):
            path = product.lease.path
            path.swap(b'{"token": "another", "tries": 2}', path.tag())
            plain = replace(product, lease=None)
            plain.write(row, {"labels": np.zeros((128, 4), np.uint8)})
            product.write(row, {"labels": np.ones((128, 4), np.uint8)})
            return Counter(rows=1)

        assert write_rows(product, of, "write", hold=hold) == Counter()
        before = store_path(f"{out}/labels/c/0/0").read_bytes()
        finish(product, hold)
    assert zarr.open_array(f"{out}/labels", mode="r")[:].max() == 0
    assert store_path(f"{out}/labels/c/0/0").read_bytes() == before


def test_rows_that_nobody_can_write_are_told(tmp_path):
    out = str(tmp_path / "p")
    with locked(out, join=True) as hold:
        product = begun(out, hold, 3)
        dead = b'{"token": "dead", "tries": 5}'
        joined._claim(hold.lock, "row-000001").claim(dead)

        def of(product, row):
            product.write(row, {"labels": np.zeros((128, 4), np.uint8)})
            return Counter(rows=1)

        with pytest.raises(IncompleteError, match=r"rows of objects \[1\] of .* ended 5 processes"):
            write_rows(product, of, "write", hold=hold)
        assert product.missing() == [1]


def test_an_error_of_the_row_is_an_error_of_the_run(tmp_path):
    def of(product, row):
        raise OSError(28, "no space left")

    for join in (False, True):
        with locked(str(tmp_path / "p"), join=join) as hold:
            product = begun(str(tmp_path / "p"), hold, 2)
            with pytest.raises(OSError, match="no space left"):
                write_rows(product, of, "write", hold=hold)


def test_shares_of_a_run_alone_are_all_that_is_missing_in_order(tmp_path):
    with locked(str(tmp_path / "p")) as hold:
        found = list(shares(hold, lambda: [3, 1, 2], bool, str))
    assert [part for part, _ in found] == [3, 1, 2]
    assert all(lease == hold.lease for _, lease in found)


@given(st.lists(st.integers(), unique=True, max_size=6), st.booleans())
def test_each_product_has_its_turn_and_at_the_end_is_waited_for(products, join):
    turns = list(in_turn(products, join=join))
    assert [each for each, patient in turns if patient] == products
    assert sorted(each for each, patient in turns if not patient) == (sorted(products) if join else [])
    assert module.PER_THREAD >= 1
