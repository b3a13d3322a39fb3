"""Runs that join on one product: a part has one writer, what a dead one claimed is taken, the last one cleans."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest
from object_store import reached

from tilespec.cluster.shares import finish
from tilespec.core.errors import IncompleteError, LeaseLostError, UserError
from tilespec.storage import heartbeat, joined
from tilespec.storage.backends.paths import store_path
from tilespec.storage.layout import layer_spec
from tilespec.storage.lock import holder, locked
from tilespec.storage.product import Product

CLAIM = """
import sys, time
from tilespec.storage.lock import locked
with locked(sys.argv[1], join=True) as hold:
    assert hold.claim("part") is not None
    print("claimed", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["folder", "bucket"])
def out(request, tmp_path):
    """The URL of a product that nobody has begun."""
    if request.param == "folder":
        yield str(tmp_path / "p")
        return
    with reached(request.getfixturevalue("server")) as (_, url):
        yield f"{url}/p"


@contextmanager
def another_process(out):
    """Join in a second process, which claims the part ``part``."""
    run = subprocess.Popen([sys.executable, "-c", CLAIM, out], stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout.readline() == "claimed\n"
        yield run
    finally:
        run.kill()
        run.communicate()


def beside(out):
    """Return the names of all files beside a product."""
    return sorted(store_path(f"{out}.tilespec").sizes())


def begun(url, hold):
    """Begin a product of eight rows of objects."""
    spec = layer_spec("labels", (8 * 128, 16))
    with hold.alone("create"):
        product = Product.open(url, [spec], settings={"a": 1}, attrs={}, constants={})
    assert product.rows == 8
    return product


def test_of_many_that_claim_a_part_one_gets_it_and_it_may_be_given_back(out):
    gate = Barrier(4)

    def attempt(_):
        with locked(out, join=True) as hold:
            gate.wait()
            lease = hold.claim("part")
            gate.wait()
            return lease is not None

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]
    assert beside(out) == [], "the last one leaves nothing"
    with locked(out, join=True) as one, locked(f"{out}2", join=True) as other:
        lease = one.claim("part")
        assert lease.held
        assert one.claim("part") is None, "nor does it claim it twice"
        assert one.claim("other") is not None
        assert other.claim("part") is not None
        one.release(lease)
        assert not lease.held
        assert one.claim("part") is not None


def test_a_run_alone_and_runs_that_join_refuse_each_other_while_they_live(out):
    with another_process(out) as run:
        told = rf"found joined runs that write it, 1 alive: process {run.pid} on .*--join"
        with pytest.raises(UserError, match=told), locked(out):
            pass
        told = holder(out)
        assert (told["pid"], told["alive"], told["processes"]) == (run.pid, True, 1)
        with locked(out, join=True):
            assert holder(out)["processes"] == 2
        assert holder(out)["processes"] == 1
        run.kill()
        run.wait()
        assert holder(out)["alive"] is False
        with locked(out) as hold:
            assert hold.lease.held
            assert beside(out) == ["lock"]
            with pytest.raises(UserError, match="another run that writes it"), another(out):
                pass
    assert beside(out) == []


@contextmanager
def another(out):
    """Join in a thread, which holds nothing that this one holds."""
    with ThreadPoolExecutor(1) as pool:
        stack = ExitStack()
        pool.submit(stack.enter_context, locked(out, join=True)).result()
        yield
        pool.submit(stack.close).result()


def test_a_torn_lock_keeps_nobody_out_for_ever(tmp_path, monkeypatch):
    out, lock = str(tmp_path / "p"), tmp_path / "p.tilespec" / "lock"
    lock.parent.mkdir()
    lock.write_text("{")
    old = time.time() - heartbeat.TTL - 5
    os.utime(lock, (old, old))
    monkeypatch.setattr("tilespec.storage.lock.PATIENCE", 1.0)
    with locked(out, join=True) as hold:
        assert hold.lease.held
    assert beside(out) == []


def test_what_a_killed_run_had_claimed_is_claimed_at_once_by_one_of_the_others(out):
    with another_process(out) as run, locked(out, join=True) as hold:
        assert hold.claim("part") is None
        run.kill()
        run.wait()
        with ThreadPoolExecutor(4) as pool:
            won = [lease for lease in pool.map(lambda _: hold.claim("part"), range(4)) if lease is not None]
        assert len(won) == 1
    assert beside(out) == []


def test_what_a_silent_run_had_claimed_is_claimed_after_a_while_and_it_writes_no_more(out, monkeypatch):
    with locked(out, join=True) as hold, another_process(out) as run:
        run.send_signal(signal.SIGSTOP)
        assert hold.claim("part") is None
        now = heartbeat.now
        monkeypatch.setattr(heartbeat, "now", lambda folder: now(folder) + heartbeat.TTL + 5)
        lease = hold.claim("part")
        assert lease is not None
        monkeypatch.undo()
        run.send_signal(signal.SIGCONT)
        assert lease.held
        (path,) = joined._folder(hold.lock).glob("claim-*")
        assert {**json.loads(path.read_text()), "attempt": ""} == {"token": hold.token, "tries": 2, "attempt": ""}


def test_a_row_is_not_written_by_a_run_that_another_has_replaced(out):
    with locked(out, join=True) as hold:
        product, block = begun(out, hold), np.zeros((128, 16), np.uint8)
        lease = hold.claim("row-000000")
        mine = replace(product, lease=lease)
        mine.write(0, {"labels": block})
        lease.path.swap(b'{"token": "another"}', lease.path.tag())
        before = (store_path(f"{out}.tilespec").sizes(), store_path(out).sizes())
        with pytest.raises(LeaseLostError, match="another run, which has taken over"):
            mine.write(1, {"labels": block})
        assert before == (store_path(f"{out}.tilespec").sizes(), store_path(out).sizes())
        assert product.missing() == list(range(1, 8))


def test_a_part_that_ends_process_after_process_is_left_alone_until_the_next_command(out):
    with locked(out, join=True) as hold:
        for number in range(1, joined.TRIES + 1):
            assert not hold.abandoned("part")
            with another_process(out) as run:
                run.kill()
                run.wait()
            assert json.loads(joined._claim(hold.lock, "part").read_text())["tries"] == number
        assert hold.abandoned("part")
        assert hold.claim("part") is None
        with pytest.raises(IncompleteError, match="5 processes ended while they did 'part'"), hold.alone("part"):
            pass
    with locked(out, join=True) as hold:
        assert hold.claim("part") is not None


def test_only_one_is_in_a_block_at_a_time(out):
    inside = []

    def turn(_):
        with locked(out, join=True) as hold:
            for _ in range(5):
                with hold.alone("block"):
                    inside.append(1)
                    assert len(inside) == 1
                    time.sleep(0.01)
                    inside.pop()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(turn, range(3)))


def test_runs_that_come_and_go_all_the_time_leave_nothing(tmp_path):
    out = str(tmp_path / "p")

    def come_and_go(number):
        for _ in range(15):
            with locked(out, join=True) as hold:
                lease = hold.claim(f"part-{number}")
                assert lease is not None
                assert lease.held
                assert hold.lease.held
                hold.release(lease)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_under_temporary_names_is_gone_at_the_end(tmp_path):
    out, stray = str(tmp_path / "p"), f"0.{'a' * 32}.partial"
    with locked(out, join=True) as hold:
        product, block = begun(out, hold), np.zeros((128, 16), np.uint8)
        for row in range(8):
            product.write(row, {"labels": block})
        left = [store_path(f"{out}/labels/c/0") / stray, product.ledger.rows / stray, hold.lock.parent / stray]
        for path in left:
            path.touch()
        finish(product, hold)
    assert not any(path.exists() for path in left)
