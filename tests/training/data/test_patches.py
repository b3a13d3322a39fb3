from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.types import Roi
from tilespec.models.tasks import task
from tilespec.spectra.recipe import Recipe
from tilespec.training.config import resolve
from tilespec.training.data.loader import Loader
from tilespec.training.data.patches import PatchStream, _epoch, turned
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.training_set import open_training_set

REGIONS = (Roi(y0=3, y1=40, x0=0, x1=32), Roi(y0=0, y1=20, x0=10, x1=26))
laws = st.fixed_dictionaries(  # the type checker draws from `random`: laws are built in the tests
    {
        "seed": st.integers(0, 2**40),
        "regions": st.sampled_from([REGIONS, REGIONS[:1]]),
        "side": st.sampled_from([4, 16]),
        "patches": st.integers(1, 40),
        "augment": st.booleans(),
        "window": st.integers(1, 9),
        "stratify": st.booleans(),
        "shares": st.sampled_from([None, (1.0, 2.5)]),
    }
)


@pytest.fixture(scope="module")
def corpus(make_scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    scenes = [make_scene(folder / f"{i}.zarr", 50, 40 + 10 * i, 5, seed=i, nan=0.02) for i in range(2)]
    return open_training_set(resolve({"data": {"scene": scenes}}))


def loader(corpus, *, share=range(4), threads=0, budget=1 << 30, seed=0):
    recipe = Recipe.empty(corpus.bands, corpus.regions[0].scene.spectral)
    stream = PatchStream(seed=seed, regions=tuple(g.roi for g in corpus.regions), side=16, patches=12)
    blocks = ScoreCache(corpus.regions, recipe, budget)
    return Loader(stream, blocks, task({"name": "segment", "classes": 2}), batch=4, share=share, threads=threads)


def made(law):
    return PatchStream(**{**law, "shares": law["shares"] and law["shares"][: len(law["regions"])]})


@settings(max_examples=60, deadline=None)
@given(laws, st.integers(0, 200))
def test_a_patch_is_a_pure_function_and_lies_in_its_region(law, index):
    law = made(law)
    patch = law.patch(index)
    _epoch.cache_clear()
    assert patch == PatchStream(**vars(law)).patch(index)
    roi = law.regions[patch.scene]
    assert roi.y0 <= patch.y <= roi.y1 - law.side
    assert roi.x0 <= patch.x <= roi.x1 - law.side
    assert patch.turn in (range(8) if law.augment else (0,))


@settings(max_examples=30, deadline=None)
@given(laws, st.integers(0, 5))
def test_a_window_reorders_the_patches_of_an_epoch_and_draws_no_others(law, epoch):
    law = made(law)

    def patches(window):
        same = PatchStream(**{**vars(law), "window": window})
        return Counter(same.patch(epoch * law.patches + k) for k in range(law.patches))

    assert patches(law.window) == patches(1)


def test_neighbours_follow_each_other_inside_a_window():
    def steps(window):
        stream = PatchStream(seed=0, regions=(Roi(y0=0, y1=2000, x0=0, x1=2000),), side=100, patches=400, window=window)
        patches = [stream.patch(k) for k in range(400)]
        return np.mean([abs(a.y - b.y) for a, b in pairwise(patches)])

    assert steps(20) < 0.5 * steps(1)


def test_seeds_and_epochs_differ():
    def stream(seed, epoch):
        law = PatchStream(seed=seed, regions=REGIONS, side=4, patches=20)
        return [law.patch(epoch * 20 + k) for k in range(20)]

    assert stream(0, 0) != stream(1, 0)
    assert stream(0, 0) != stream(0, 1)


def test_positions_are_drawn_uniformly_over_all_regions():
    stream = PatchStream(
        seed=0, regions=(Roi(y0=0, y1=5, x0=0, x1=6), Roi(y0=1, y1=5, x0=0, x1=4)), side=4, patches=8000
    )
    counts = Counter((p.scene, p.y, p.x) for p in map(stream.patch, range(8000)))
    assert len(counts) == 2 * 3 + 1
    assert max(abs(n - 8000 / 7) for n in counts.values()) < 5 * np.sqrt(8000 / 7)


def test_the_eight_turns_are_different_and_turn_planes_alike():
    plane = np.arange(9).reshape(3, 3)
    cube = np.stack([plane, plane + 100], axis=2)
    turns = [turned(plane, turn) for turn in range(8)]
    assert len({t.tobytes() for t in turns}) == 8
    for turn in range(8):
        np.testing.assert_array_equal(turned(cube, turn)[:, :, 1] - 100, turns[turn])


def test_batches_are_the_scene_and_its_labels_turned_alike(corpus):
    read = loader(corpus)
    for batch in read.batches(0, 6):
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        for x, y, index in zip(batch.x, batch.y, batch.ids, strict=True):
            patch = read.stream.patch(index)
            region = corpus.regions[patch.scene]
            roi = Roi(y0=patch.y, y1=patch.y + 16, x0=patch.x, x1=patch.x + 16)
            cube, labels = region.scene.read(roi), region.truth.read(roi).copy()
            blank = np.isnan(cube).any(axis=2)
            labels[blank], cube[blank] = 255, 0
            np.testing.assert_array_equal(x.permute(1, 2, 0).numpy(), turned(cube, patch.turn))
            np.testing.assert_array_equal(y.numpy(), turned(labels, patch.turn))


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_ranks_and_threads_do_not_change_the_stream(corpus, world, threads):
    whole = list(loader(corpus).batches(0, 5))
    each = 4 // world
    parts = [
        list(loader(corpus, share=range(r * each, r * each + each), threads=threads).batches(0, 5))
        for r in range(world)
    ]
    assert [i for batch in whole for i in batch.ids] == list(range(20))
    for step, batch in enumerate(whole):
        assert torch.equal(batch.x, torch.cat([part[step].x for part in parts]))
        assert torch.equal(batch.y, torch.cat([part[step].y for part in parts]))
        assert batch.ids == sum((part[step].ids for part in parts), ())


def test_resuming_is_knowing_the_step(corpus):
    whole = list(loader(corpus, threads=1).batches(0, 6))
    rest = list(loader(corpus, threads=1).batches(4, 6))
    assert all(torch.equal(a.x, b.x) and a.ids == b.ids for a, b in zip(whole[4:], rest, strict=True))


def test_leaving_a_loader_early_ends_its_threads(corpus):
    batches = loader(corpus, threads=2).batches(0, 1000)
    next(batches)
    batches.close()


def test_a_small_cache_gives_the_same_batches_within_its_bytes(corpus):
    whole = list(loader(corpus).batches(0, 4))
    small = loader(corpus, budget=50 * 60 * 21)
    for batch, same in zip(whole, small.batches(0, 4), strict=True):
        assert torch.equal(batch.x, same.x)
        assert small.blocks.cache.held <= 50 * 60 * 21
    assert small.blocks.decoded > 50 * 40 + 50 * 50


def test_a_block_is_decoded_once_while_it_is_kept(corpus):
    read = loader(corpus)
    list(read.batches(0, 30))
    assert read.blocks.decoded <= sum(g.scene.shape[0] * g.scene.shape[1] for g in corpus.regions)
    assert read.blocks.used == 30 * 4 * 16 * 16


def test_keeping_draws_from_the_fixed_patches_with_two_classes(corpus):
    base = PatchStream(seed=0, regions=tuple(g.roi for g in corpus.regions), side=4, patches=60, augment=False)
    stream = base.keeping(corpus.regions)
    assert 0 < stream.length < 60
    for index in range(3 * stream.length):
        patch = stream.patch(index)
        roi = Roi(y0=patch.y, y1=patch.y + 4, x0=patch.x, x1=patch.x + 4)
        assert len(np.unique(corpus.regions[patch.scene].truth.read(roi))) == 2
    drawn = [stream.patch(k) for k in range(stream.length)]
    assert len(set(drawn)) < len(drawn), "with replacement"
