"""Ranks meet, and notice in bounded time that one of them is gone, frozen or wrong; work that takes long is no loss."""

import socket
import time

import pytest

from tilespec.core.cpu import cores
from tilespec.core.errors import IncompleteError, UserError
from tilespec.storage.backends.paths import store_path
from tilespec.training.ranks import processes
from tilespec.training.ranks.group import Ranks, shared
from tilespec.training.ranks.processes import run_processes
from tilespec.training.ranks.rendezvous import interface, listening

SILENCE = 3.0


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_ranks_meet_and_wait_for_rank_0_longer_than_for_a_silent_one():
    found = run_processes("rank_work:meet", {"seconds": SILENCE, "step": SILENCE, "late": 2 * SILENCE}, 2)
    assert (found["mean"], found["agreed"], found["hosts"]) == (0.5, 7, [socket.gethostname()] * 2)
    assert found["threads"] == max(1, cores() // 2)


@pytest.mark.timeout(120)
def test_a_frozen_rank_ends_the_others(monkeypatch, capfd):
    monkeypatch.setattr(processes, "GRACE", 1.0)
    began = time.monotonic()
    with pytest.raises(IncompleteError, match="rank 1 on this machine did not end with the others"):
        run_processes("rank_work:meet", {"seconds": SILENCE, "freeze": 1}, 2)
    assert time.monotonic() - began < 60
    assert f"no sign of rank 1 for {SILENCE:g} s. The last checkpoint is kept" in capfd.readouterr().err


@pytest.mark.timeout(120)
def test_a_rank_that_lives_but_does_not_come_ends_the_others(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 1.0)
    with pytest.raises(IncompleteError, match="rank 1 on this machine did not end with the others"):
        run_processes("rank_work:meet", {"seconds": 100.0, "step": SILENCE, "stuck": 1}, 2)


@pytest.mark.timeout(120)
def test_a_rank_that_raises_ends_the_others_before_they_would_give_it_up():
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"rank 1(.|\n)*ValueError: a bug in one rank"):
        run_processes("rank_work:meet", {"seconds": 1000.0, "fail": 1}, 2)
    assert time.monotonic() - began < 60


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="expected a free port"):
        listening("127.0.0.1", taken.getsockname()[1])


def test_the_store_listens_on_its_address_alone():
    store = listening("127.0.0.1")
    with socket.create_connection(("127.0.0.1", store.port), timeout=5):
        pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", store.port), timeout=5)


def test_the_interface_of_an_address_is_found_by_its_route():
    assert interface("127.0.0.1") == interface("localhost") == "lo"
    assert interface("no.such.host.invalid") is None


def test_a_machine_that_does_not_see_the_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("tilespec.training.ranks.group.APPEARS", 0.2)
    shared(store_path(tmp_path), Ranks())
    with pytest.raises(UserError, match=f"nothing on {socket.gethostname()}, where rank 1 is"):
        shared(store_path(tmp_path / "elsewhere"), Ranks(rank=1, world=2))
