import random
import threading
import time
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.cache import Cache


class Maker:
    """Makes values, slowly, and watches that no key is made twice at the same time."""

    def __init__(self, seconds=0.0):
        self.made, self.now, self.seconds, self.lock = Counter(), set(), seconds, threading.Lock()

    def __call__(self, key):
        with self.lock:
            assert key not in self.now, f"{key} is made twice at once"
            self.now.add(key)
        time.sleep(self.seconds)
        with self.lock:
            self.now.remove(key)
            self.made[key] += 1
        return f"value of {key}"


def look(cache, maker, key, size=1):
    with cache.lent(key, size, lambda: maker(key)) as value:
        assert value == f"value of {key}"


@settings(max_examples=100)
@given(st.lists(st.integers(0, 5), min_size=15, max_size=60), st.integers(3, 12))
def test_one_thread_sees_the_least_recently_used_go_first(keys, budget):
    sizes, cache, maker, model, expected = [1 + k % 4 for k in range(6)], Cache(budget), Maker(), OrderedDict(), []
    for key in keys:
        look(cache, maker, key, sizes[key])
        if key not in model:
            expected.append(key)
            while model and sum(model.values()) + sizes[key] > budget:
                model.popitem(last=False)
        model[key] = sizes[key]
        model.move_to_end(key)
        assert cache.held == sum(model.values()) <= max(budget, *sizes)
    assert maker.made == Counter(expected)


@pytest.mark.parametrize("budget", [0, 3, 7, 1000])
def test_threads_make_nothing_twice_at_once_and_hold_no_more_than_the_budget(budget):
    cache, maker = Cache(budget), Maker(seconds=0.001)

    def work(seed):
        draw = random.Random(seed)
        for _ in range(60):
            key = draw.randrange(12)
            with cache.lent(key, 3, lambda key=key: maker(key)) as value:
                assert value == f"value of {key}"
                assert cache.held <= max(budget, 3)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert cache.peak <= max(budget, 3)
    if budget >= 12 * 3:
        assert set(maker.made.values()) == {1}


def test_the_second_thread_waits_for_what_the_first_makes():
    cache, maker = Cache(10), Maker(seconds=0.05)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: look(cache, maker, "a"), range(8)))
    assert maker.made == {"a": 1}


def test_what_is_looked_at_counts_as_held_and_does_not_go():
    cache, maker, got = Cache(4), Maker(), threading.Event()
    with cache.lent("a", 3, lambda: maker("a")):
        other = threading.Thread(target=lambda: (look(cache, maker, "b", 3), got.set()))
        other.start()
        assert not got.wait(0.1), "6 bytes would be held"
        assert cache.held == 3
    assert got.wait(10)
    other.join()
    assert (cache.held, cache.peak) == (3, 3)


def test_one_value_may_be_larger_than_the_budget():
    cache, maker = Cache(2), Maker()
    for key in "aba":
        look(cache, maker, key, 5)
    assert maker.made == {"a": 2, "b": 1}
    assert cache.peak == 5


@pytest.mark.parametrize("mistake", [ValueError, MemoryError, SystemExit, KeyboardInterrupt])
def test_what_a_maker_raises_is_raised_and_nothing_stays_behind(mistake):
    cache, maker = Cache(4), Maker()

    def broken():
        raise mistake("no value")

    for _ in range(2):
        with pytest.raises(mistake, match="no value"), cache.lent("a", 3, broken):
            pass
        assert cache.held == 0
    look(cache, maker, "a", 3)
    assert maker.made == {"a": 1}


def test_those_who_wait_for_a_maker_that_fails_try_themselves():
    cache, tried = Cache(4), []

    def broken():
        tried.append(threading.get_ident())
        time.sleep(0.02)
        raise OSError("a disk")

    def work(_):
        with pytest.raises(OSError, match="a disk"), cache.lent("a", 3, broken):
            pass

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert len(tried) == 3
    assert cache.held == 0


def test_what_a_borrower_raises_does_not_lose_the_value():
    cache, maker = Cache(4), Maker()
    with pytest.raises(ZeroDivisionError), cache.lent("a", 3, lambda: maker("a")):
        raise ZeroDivisionError
    look(cache, maker, "a", 3)
    assert maker.made == {"a": 1}
