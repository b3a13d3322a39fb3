"""Tiles of a sample are read ahead by a thread, for which nobody waits when a training ends early."""

import threading
import time

from tilespec.training.data.sample_stream import _ahead


def test_tiles_come_in_order_and_one_is_read_ahead():
    read = []
    tiles = _ahead([lambda number=number: read.append(number) or number for number in range(5)])
    assert next(tiles) == 0
    limit = time.monotonic() + 10
    while 1 not in read and time.monotonic() < limit:
        time.sleep(0.01)
    assert 1 in read
    assert list(tiles) == [1, 2, 3, 4]


def test_an_early_end_waits_for_no_tile():
    begun, go = threading.Event(), threading.Event()

    def slow():
        begun.set()
        go.wait(30)

    tiles = _ahead([lambda: 0, slow, slow])
    assert next(tiles) == 0
    assert begun.wait(10)
    ended = threading.Thread(target=tiles.close, daemon=True)
    ended.start()
    ended.join(5)
    waited = ended.is_alive()
    go.set()
    assert not waited
