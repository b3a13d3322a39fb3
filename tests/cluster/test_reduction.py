"""Graphs: a fold's tree depends on the number of blocks alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from tilespec.cluster import reduction
from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.cpu import one_blas_thread


class Tree(str):
    """Something whose sum shows how it was added."""

    __slots__ = ()

    def __add__(self, other):
        return Tree(f"({self}{other})")


def leaf(task):
    return Tree(task)


@settings(deadline=None)
@given(n=st.integers(1, 70), window=st.sampled_from([1, 2, 8, 64]))
def test_windows_do_not_change_the_tree(n, window):
    tasks = [chr(0x4E00 + i) for i in range(n)]
    whole = reduce_blocks(tasks, leaf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduction, "WINDOW", window)
        assert reduce_blocks(tasks, leaf) == whole
    assert str(whole).replace("(", "").replace(")", "") == "".join(tasks)


def test_the_tree_adds_neighbours_pairwise():
    assert reduce_blocks("abcde", leaf) == "(((ab)(cd))e)"


def test_progress_is_told_every_block_once():
    class Counting:
        done = 0

        def say(self, text): ...

        def start(self, what, total, unit): ...
        def finish(self): ...

        def advance(self, units, note=""):
            self.done += units

    told = Counting()
    reduce_blocks("abcdefg", leaf, progress=told)
    assert told.done == 7


def test_an_error_in_a_block_comes_out_as_it_is():
    def wrong(task):
        raise ZeroDivisionError(task)

    with pytest.raises(ZeroDivisionError, match="a"):
        reduce_blocks("a", wrong)


def blas_threads():
    """Return the threads of NumPy's and SciPy's BLAS."""
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


def test_blas_has_one_thread_inside_and_what_it_had_after():
    def task(_):
        with one_blas_thread():
            np.ones((9, 9)) @ np.ones((9, 9))
            return blas_threads()

    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        with ThreadPoolExecutor(4) as pool:
            assert all(found == {1} for found in pool.map(task, range(40)))
        assert blas_threads() == {2}
        assert reduce_blocks([0, 1], lambda _: [blas_threads()]) == [{1}, {1}]
        assert blas_threads() == {2}
