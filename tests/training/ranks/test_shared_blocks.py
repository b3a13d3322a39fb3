"""What ranks of one machine decode they decode once for all of them, and the bits are those of a rank alone."""

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_work import blocks_of
from spectral_pairs import write_pair

from tilespec.training.ranks import shared_blocks
from tilespec.training.ranks.group import Ranks
from tilespec.training.ranks.processes import run_processes
from tilespec.training.ranks.shared_blocks import SharedBlocks

TOGETHER = tuple(Ranks(rank=rank, world=2, hosts=("here", "here")) for rank in range(2))
KINDS = st.lists(
    st.tuples(st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple), st.sampled_from(["f4", "u1"])),
    min_size=1,
    max_size=3,
)


@pytest.fixture
def shelves(monkeypatch):
    """Memory that two ranks have in common, though they are one process here."""
    made = {}

    def common(ranks, size):
        return made.setdefault(size, mmap.mmap(-1, size)) if ranks.together else None

    monkeypatch.setattr(shared_blocks, "common", common)


def kinds_of(drawn):
    return {key: [(shape, np.dtype(name)) for shape, name in each] for key, each in enumerate(drawn)}


@given(drawn=st.lists(KINDS, min_size=1, max_size=9))
def test_every_array_has_a_place_of_its_own(drawn):
    memory = mmap.mmap(-1, 1 << 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_blocks, "common", lambda ranks, size: memory)
        mine, other = (SharedBlocks.of(ranks, kinds_of(drawn), 1 << 16) for ranks in TOGETHER)
    for key in mine.kinds:
        for number, array in enumerate(mine.take(key, lambda arrays: None)):
            assert array.ctypes.data % 64 == 0
            array[...] = 10 * key + number
    for key, kinds in mine.kinds.items():
        found = other.take(key, lambda arrays: pytest.fail("it was made"))
        assert [(array.shape, array.dtype) for array in found] == kinds
        assert all((array == 10 * key + number).all() for number, array in enumerate(found))


@pytest.fixture(scope="module")
def every(make_scene, tmp_path_factory):
    """What trainings read, whose regions cut some objects."""
    folder = tmp_path_factory.mktemp("shelf")
    scene = make_scene(folder / "a.zarr", 250, 280, 6, seed=1, nan=0.001)
    rgb, target = write_pair(folder, 200, 150, nan=0.01, unknown=0.01)
    return {
        "classes": {"data": {"scene": scene, "rows": "20:240", "cols": "5:270"}},
        "field": {"data": {"scene": rgb, "target": target, "rows": "3:190"}, "task": {"name": "reconstruct"}},
    }


@pytest.fixture(params=["classes", "field"])
def settings(request, every):
    return every[request.param]


def test_what_one_rank_decoded_the_other_takes_bit_for_bit(settings, shelves):
    alone, roi = blocks_of(settings, 1 << 30, Ranks())
    expected = alone.read(0, roi)
    first, second = (blocks_of(settings, 1 << 30, ranks)[0] for ranks in TOGETHER)
    found, taken = first.read(0, roi), second.read(0, roi)
    assert (first.decoded, second.decoded) == (alone.decoded, 0)
    assert first.used == second.used == alone.used
    for wanted, one, other in zip(expected, found, taken, strict=True):
        np.testing.assert_array_equal(one, wanted)
        np.testing.assert_array_equal(other, wanted)


def test_where_not_all_fits_each_rank_holds_its_share(settings, shelves):
    budget = 30_000
    blocks, roi = blocks_of(settings, budget, TOGETHER[1])
    alone, _ = blocks_of(settings, budget, Ranks())
    for mine, wanted in zip(blocks.read(0, roi), alone.read(0, roi), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert blocks.decoded > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_blocks, "common", lambda ranks, size: pytest.fail("asked for more than the budget"))
        held = [blocks_of(settings, budget, ranks)[0].cache._budget for ranks in (*TOGETHER, Ranks())]
    assert held == [budget // 2, budget // 2, budget]


def test_a_block_that_cannot_be_read_is_read_again_by_whoever_comes_next(settings, shelves, monkeypatch):
    """A rank that fails has left no sign: what it wrote until then is nothing to anybody."""
    alone, roi = blocks_of(settings, 1 << 30, Ranks())
    broken, _ = blocks_of(settings, 1 << 30, TOGETHER[0])
    with monkeypatch.context() as patch:
        patch.setattr("tilespec.training.data.score_cache.transform", lambda *_, **__: np.full((1, 1), np.float32(7)))
        patch.setattr(type(broken._regions[0].truth), "read", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            broken.read(0, roi)
    found, _ = blocks_of(settings, 1 << 30, TOGETHER[1])
    for mine, wanted in zip(found.read(0, roi), alone.read(0, roi), strict=True):
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_that_are_processes_decode_every_block_once(every, world):
    told = run_processes("rank_work:shelved", {"every": every}, world)
    assert told.keys() == every.keys()
    for facts in told.values():
        assert facts["alike"]
        assert facts["decoded"] == [facts["pixels"]] + [0] * (world - 1)
