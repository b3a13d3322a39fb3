"""Stop: the first signal is kept, the second one interrupts; a notice only ever asks."""

import io
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tilespec.core.progress import to_stderr
from tilespec.core.signals import SIGNALS, LocalFlag, catch_signals
from tilespec.core.threads import awaited

NOTICE = signal.SIGUSR1


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (*SIGNALS, NOTICE)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, in the tests too
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    signal.raise_signal(number)  # to this thread: `os.kill` may choose another one, which is heard a moment later


def test_the_first_signal_is_kept_and_the_second_one_interrupts():
    with catch_signals(LocalFlag()) as told:
        assert not told()
        send(signal.SIGTERM)
        assert told()
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_notice_asks_however_often_it_comes():
    with catch_signals(LocalFlag(), (*SIGNALS, NOTICE)) as told:
        send(NOTICE)
        send(NOTICE)
        assert told()


def test_a_late_notice_does_not_kill_a_command_on_its_way_out(monkeypatch):
    monkeypatch.setattr("tilespec.core.signals._ends_at_once", True)
    with catch_signals(LocalFlag(), (*SIGNALS, NOTICE)):
        send(NOTICE)
    send(NOTICE)


def test_after_a_notice_others_have_their_handlers_again_and_hear_the_next_one():
    heard = []
    signal.signal(NOTICE, lambda *_: heard.append("mine"))
    for _ in range(2):
        with catch_signals(LocalFlag(), (*SIGNALS, NOTICE)) as told:
            send(NOTICE)
            assert told()
        assert heard == []
    send(NOTICE)
    assert heard == ["mine"]


def test_handlers_are_what_they_were_before():
    before = [signal.getsignal(number) for number in (*SIGNALS, NOTICE)]
    with catch_signals(LocalFlag(), (*SIGNALS, NOTICE)):
        assert [signal.getsignal(number) for number in (*SIGNALS, NOTICE)] != before
    assert [signal.getsignal(number) for number in (*SIGNALS, NOTICE)] == before


def test_a_terminal_that_is_closed_asks_however_often_it_says_so():
    with catch_signals(LocalFlag()) as told:
        send(signal.SIGHUP)
        send(signal.SIGHUP)
        assert told()


def test_under_nohup_a_closed_terminal_changes_nothing():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with catch_signals(LocalFlag()) as told:
        send(signal.SIGHUP)
        assert not told()


COMMAND = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from tilespec.core.signals import LocalFlag, catch_signals, end_at_once, last_act
end_at_once()
with catch_signals(LocalFlag()) as stop, last_act(lambda: print("released", flush=True)):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, 60)
        print("ready", flush=True)
        while True:
            time.sleep(0.05)
"""


def test_a_second_signal_ends_a_command_whose_threads_compute_for_a_minute():
    with subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None, "the first one waits for what is in flight"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
        assert time.monotonic() - began < 30
        assert process.stdout.read() == "released\n"


def test_a_signal_that_does_not_wake_the_main_thread_is_answered_while_it_waits():
    answered = threading.Event()
    signal.signal(NOTICE, lambda *_: answered.set())

    def noticed():
        time.sleep(0.2)
        signal.raise_signal(NOTICE)  # to this thread: the main thread, which waits, is not woken
        return answered.wait(60)

    with ThreadPoolExecutor(1) as pool:
        assert awaited(pool.submit(noticed))


class Noticed(io.RawIOBase):
    """A stream that a signal reaches while it writes."""

    def writable(self):
        return True

    def write(self, data):
        send(signal.SIGINT)
        return len(data)


def test_a_signal_while_stderr_is_written_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(Noticed()), write_through=True))
    with catch_signals(LocalFlag()) as told:
        to_stderr("12 of 24 tiles\n")
        assert told()
    monkeypatch.undo()
