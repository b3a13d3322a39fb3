"""Stop: the first signal is kept, the second one interrupts; a notice only ever asks."""

import os
import signal

import pytest

from tilespec.core.signals import SIGNALS, LocalFlag, catch_signals

NOTICE = signal.SIGUSR1


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (*SIGNALS, NOTICE)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


def test_the_first_signal_is_kept_and_the_second_one_interrupts():
    with catch_signals(LocalFlag()) as told:
        assert not told()
        send(signal.SIGTERM)
        assert told()
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_notice_asks_however_often_it_comes_and_does_not_kill_on_the_way_out():
    with catch_signals(LocalFlag(), (*SIGNALS, NOTICE)) as told:
        send(NOTICE)
        send(NOTICE)
        assert told()
    send(NOTICE)


def test_handlers_are_what_they_were_before():
    before = [signal.getsignal(number) for number in (*SIGNALS, NOTICE)]
    with catch_signals(LocalFlag(), (*SIGNALS, NOTICE)):
        assert [signal.getsignal(number) for number in (*SIGNALS, NOTICE)] != before
    assert [signal.getsignal(number) for number in (*SIGNALS, NOTICE)] == before
