import multiprocessing
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import zarr

from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.types import Roi
from tilespec.models.tasks import task
from tilespec.models.tasks.segment import Segment
from tilespec.spectra.fit import fit_steps
from tilespec.spectra.recipe import Recipe
from tilespec.training.config import resolve
from tilespec.training.data import loader as loader_module
from tilespec.training.data.loader import Loader
from tilespec.training.data.patches import PatchStream, turned, undone
from tilespec.training.data.read_forecast import forecast, summary
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.training_set import open_training_set
from tilespec.training.train import train

SEGMENT = task({"name": "segment", "classes": 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reading")


@pytest.fixture(scope="module")
def corpus(make_scene, folder):
    """A scene of 8 x 9 objects, of which the region cuts some."""
    scene = make_scene(folder / "a.zarr", 250, 280, 6, seed=1, nan=0.001)
    return open_training_set(resolve({"data": {"scene": scene, "rows": "20:240", "cols": "5:270"}}))


@pytest.fixture(scope="module")
def recipe(corpus):
    return fit_steps("snv,pca=3", [(g.scene, g.roi) for g in corpus.regions])


def loader(corpus, *, recipe=None, budget=1 << 30, threads=0, job=SEGMENT, batch=2, **law):
    recipe = recipe or Recipe.empty(corpus.bands, corpus.regions[0].scene.spectral)
    settings = {"seed": 0, "regions": tuple(g.roi for g in corpus.regions), "side": 48, "patches": 20, **law}
    blocks = ScoreCache(corpus.regions, recipe, budget)
    return Loader(PatchStream(**settings), blocks, job, batch=batch, share=range(batch), threads=threads), blocks


def same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch.x, other.x)
        assert torch.equal(batch.y, other.y)
        assert batch.ids == other.ids


class TestPixels:
    @pytest.mark.parametrize("budget", [0, 1 << 30])
    def test_patches_of_one_pixel_are_what_is_read_of_each_alone(self, corpus, recipe, budget):
        read, blocks = loader(corpus, recipe=recipe, budget=budget, side=1, patches=40, batch=16)
        labels = corpus.regions[0].truth
        for step in range(4):
            batch = read.batch(step)
            for index, x, y in zip(batch.ids, batch.x, batch.y, strict=True):
                roi = read.stream.roi(read.stream.patch(index))
                scores, truth = blocks.read(0, roi)
                expected = SEGMENT.pair(scores, truth)
                assert np.array_equal(x[:, 0, 0].numpy(), expected[0][0, 0])
                assert int(y[0, 0]) == int(expected[1][0, 0])
                assert truth[0, 0] == labels.read(roi)[0, 0]

    def test_they_come_from_several_scenes_in_the_order_of_the_stream(self, make_scene, folder):
        paths = [make_scene(folder / f"p{i}.zarr", 70, 60 + 10 * i, 6, seed=i) for i in range(3)]
        three = open_training_set(resolve({"data": {"scene": paths}}))
        read, blocks = loader(three, side=1, patches=64, batch=64)
        batch = read.batch(0)
        patches = [read.stream.patch(index) for index in batch.ids]
        assert {patch.scene for patch in patches} == {0, 1, 2}
        for patch, x in zip(patches, batch.x, strict=True):
            scores, _ = blocks.read(patch.scene, read.stream.roi(patch))
            assert np.array_equal(x[:, 0, 0].numpy(), scores[0, 0])


class TestBlocks:
    def test_scores_are_those_of_the_recipe_on_the_whole_scene_bit_for_bit(self, corpus, recipe):
        region = corpus.regions[0]
        whole = recipe.apply(region.scene.read(region.roi).reshape(-1, 6)).reshape(*region.roi.shape, 3)
        blocks = ScoreCache(corpus.regions, recipe, 1 << 30)
        for roi in [region.roi, Roi(y0=20, y1=21, x0=5, x1=6), Roi(y0=100, y1=131, x0=130, x1=270)]:
            scores, labels = blocks.read(0, roi)
            inside = slice(roi.y0 - 20, roi.y1 - 20), slice(roi.x0 - 5, roi.x1 - 5)
            np.testing.assert_array_equal(scores, whole[inside])
            np.testing.assert_array_equal(labels, region.truth.read(roi))

    def test_threads_decode_each_block_once(self, corpus, recipe):
        _, blocks = pair = loader(corpus, recipe=recipe, threads=4)
        list(pair[0].batches(0, 40))
        assert blocks.decoded <= 250 * 280
        list(pair[0].batches(40, 60))
        before = blocks.decoded
        list(pair[0].batches(0, 60))
        assert blocks.decoded == before
        assert blocks.used == 120 * 2 * 48 * 48

    def test_many_threads_on_one_patch_decode_it_once(self, corpus, recipe):
        blocks, roi = ScoreCache(corpus.regions, recipe, 1 << 30), Roi(y0=32, y1=96, x0=32, x1=96)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: blocks.read(0, roi), range(12)))
        assert blocks.decoded == 128 * 128

    @pytest.mark.parametrize("budget", [0, 5000, 200_000])
    def test_the_cache_holds_no_more_than_its_budget_and_changes_nothing(self, corpus, recipe, budget):
        whole, _ = loader(corpus, recipe=recipe)
        small, blocks = loader(corpus, recipe=recipe, budget=budget, threads=3)
        same(whole.batches(0, 12), small.batches(0, 12))
        assert blocks.cache.peak <= max(budget, 128 * 128 * 13)

    def test_memory_is_that_of_the_cache_and_of_what_is_under_way(self, make_scene, folder):
        scene = make_scene(folder / "m.zarr", 512, 512, 40, chunk=128)
        small = open_training_set(resolve({"data": {"scene": scene}}))
        recipe, block = fit_steps("snv,pca=2", [(g.scene, g.roi) for g in small.regions]), 128 * 128 * 9
        read, blocks = loader(small, recipe=recipe, budget=2 * block, threads=2, side=64)
        tracemalloc.start()
        for _ in read.batches(0, 12):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        lines = 2048 * 40 * 4  # spectra that a thread looks at at once; the recipe has a few arrays of that size
        assert blocks.cache.peak <= 2 * block
        assert peak < 2 * block + 2 * 6 * lines < 512 * 512 * 40 * 4 / 8

    def test_no_store_is_opened_while_batches_are_read(self, corpus, recipe, monkeypatch):
        read, _ = loader(corpus, recipe=recipe, density=None)

        def opened(*_, **__):
            raise AssertionError("a store was opened")

        monkeypatch.setattr(zarr, "open_group", opened)
        assert len(list(read.batches(0, 3))) == 3


class TestForeseen:
    @pytest.mark.parametrize("budget", [60_000, 1 << 30])
    @pytest.mark.parametrize("window", [1, 5])
    def test_it_is_what_an_epoch_decodes(self, corpus, recipe, budget, window):
        read, blocks = loader(corpus, recipe=recipe, budget=budget, window=window)
        first, later = forecast(read.stream, corpus.regions, bands=3, budget=budget)
        list(read.batches(0, 10))
        assert (blocks.decoded, blocks.used) == (first.decoded, first.used)
        list(read.batches(10, 20))
        assert blocks.decoded == first.decoded + later.decoded

    def test_a_cache_that_holds_all_reads_once_and_a_window_reads_less_with_a_small_one(self, make_scene, folder):
        scene = make_scene(folder / "w.zarr", 640, 640, 1, chunk=32)
        regions = open_training_set(resolve({"data": {"scene": scene}})).regions
        stream = PatchStream(seed=0, regions=(regions[0].roi,), side=64, patches=100)

        def read(budget, window):
            epochs = forecast(replace(stream, window=window), regions, bands=1, budget=budget)
            return [epoch.amplification for epoch in epochs]

        blocks = 12 * 128 * 128 * 5
        assert read(1 << 30, 1)[1] == 0
        assert read(blocks, 10)[1] < 0.5 * read(blocks, 1)[1]

    def test_a_note_says_what_helps(self, corpus):
        stream = PatchStream(seed=0, regions=(corpus.regions[0].roi,), side=48, patches=20)
        small, large = (summary(stream, corpus.regions, bands=3, budget=budget) for budget in (1000, 1 << 30))
        assert small["bytes_of_scores"] == large["bytes_of_scores"] == 220 * 265 * 13
        assert "Raise data.cache" in small["notes"][0]
        assert large["notes"] == []


class Twice(Segment):
    """A task whose nets read one band, and whose answers are others."""

    def pair(self, scores, labels):
        return scores[:, :, :1] * 2, 255 - labels


class TestBatches:
    def test_a_turn_is_undone_by_another(self):
        plane = np.arange(18).reshape(3, 3, 2)
        for turn in range(8):
            np.testing.assert_array_equal(turned(turned(plane, turn), undone(turn)), plane)

    def test_a_task_may_make_something_else_of_scores_and_labels(self, corpus):
        read, _ = loader(corpus, job=Twice(classes=2))
        for batch in read.batches(0, 3):
            for x, y, index in zip(batch.x, batch.y, batch.ids, strict=True):
                patch = read.stream.patch(index)
                roi = read.stream.roi(patch)
                spectra, labels = corpus.regions[0].scene.read(roi), corpus.regions[0].truth.read(roi)
                np.testing.assert_array_equal(x[0].numpy(), turned(2 * spectra[:, :, 0], patch.turn))
                np.testing.assert_array_equal(y.numpy(), turned(255 - labels, patch.turn))

    @pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
    def test_no_process_and_no_shared_memory_is_used(self, corpus, recipe):
        before = psutil.Process().children()
        read, _ = loader(corpus, recipe=recipe, threads=3)
        for batch in read.batches(0, 4):
            assert not batch.x.is_shared()
            assert psutil.Process().children() == before
            assert multiprocessing.active_children() == []
            assert "/dev/shm/torch" not in Path("/proc/self/maps").read_text()

    def test_threads_end_with_the_loader(self, corpus, recipe):
        read, _ = loader(corpus, recipe=recipe, threads=3)
        batches = read.batches(0, 100)
        next(batches)
        batches.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("tilespec-loader")]

    def test_waiting_is_counted(self, corpus):
        class Slow(Segment):
            def pair(self, scores, labels):
                time.sleep(0.02)
                return scores, labels

        read, _ = loader(corpus, job=Slow(classes=2))
        list(read.batches(0, 3))
        assert read.waited > 0.1


class Broken(Segment):
    """A task that raises on the tenth patch."""

    def pair(self, scores, labels):
        seen[self.least] += 1
        if seen[self.least] == 10:
            raise MISTAKES[self.least]("the tenth patch")
        return scores, labels


MISTAKES = dict(enumerate([OSError, MemoryError, TimeoutError, SystemExit]))
seen = Counter()


class TestFaults:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("threads", [0, 1, 4])
    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_what_a_thread_raises_reaches_the_loop_as_itself(self, corpus, threads, mistake):
        seen.clear()
        read, _ = loader(corpus, job=Broken(classes=2, least=mistake), threads=threads)
        with pytest.raises(MISTAKES[mistake], match="the tenth patch"):
            for _ in read.batches(0, 1000):
                pass
        assert not [t for t in threading.enumerate() if t.name.startswith("tilespec-loader")]

    @pytest.mark.timeout(60)
    def test_a_damaged_object_is_named_and_all_threads_end(self, make_scene, folder):
        scene = make_scene(folder / "d.zarr", 96, 96, 4)
        damaged = open_training_set(resolve({"data": {"scene": scene}}))
        victim = Path(scene, "cube", "c", "1", "1", "0")
        victim.write_bytes(bytes(b ^ 1 if i == 99 else b for i, b in enumerate(victim.read_bytes())))
        read, blocks = loader(damaged, threads=3, side=32)
        with pytest.raises(UserError, match=r"d.zarr.*c/1/1/0: found a damaged object"):
            list(read.batches(0, 100))
        assert blocks.cache.held >= 0

    @pytest.mark.timeout(60)
    def test_damaged_labels_are_named(self, make_scene, folder):
        scene = make_scene(folder / "l.zarr", 96, 96, 4)
        damaged = open_training_set(resolve({"data": {"scene": scene}}))
        victim = Path(scene, "labels", "c", "1", "1")
        victim.write_bytes(victim.read_bytes()[:-7])
        with pytest.raises(UserError, match=r"l.zarr.*c/1/1: found a damaged object"):
            list(loader(damaged, threads=2, side=32)[0].batches(0, 100))

    @pytest.mark.timeout(60)
    def test_threads_that_are_gone_are_an_error_and_no_hang(self, corpus, monkeypatch):
        monkeypatch.setattr(loader_module, "LOOK", 0.01)
        team = loader_module._Team()
        dead = threading.Thread(target=team.join)
        dead.start()
        dead.join()
        with pytest.raises(IncompleteError, match="the threads that read patches have died"):
            loader(corpus)[0]._timed(Future(), team)


@pytest.fixture(scope="module")
def scenes(make_scene, folder):
    sizes = [(96, 100), (64, 200)]
    return [make_scene(folder / f"c{i}.zarr", *size, 3, seed=i) for i, size in enumerate(sizes)]


@pytest.fixture(scope="module")
def rare(make_scene, folder):
    """Labels of a scene with a class of few pixels, and a layer of weights beside them."""
    scene = make_scene(folder / "r.zarr", 300, 260, 3, seed=5, classes=3)
    store = zarr.create_group(str(folder / "r-labels.zarr"), zarr_format=3)
    labels = np.zeros((300, 260), np.uint8)
    labels[:, 130:], labels[40:60, 100:120] = 1, 2
    weights = np.zeros((300, 260), np.float32)
    weights[150:, :] = 1
    names = {"flag_meanings": "soil leaf flower"}
    store.create_array("labels", data=labels, chunks=(100, 100), attributes=names)
    store.create_array("mine", data=weights, chunks=(100, 100))
    return scene, str(folder / "r-labels.zarr"), labels


class TestConfigured:
    def law(self, scenes, **data):
        settings = resolve({"data": {"scene": scenes, "patch": 32, "patches": 400, **data}})
        corpus = open_training_set(settings)
        return PatchStream.of(settings, corpus), corpus

    def drawn(self, law, epochs=2):
        return [law.patch(k) for k in range(epochs * law.length)]

    def test_scenes_are_drawn_by_their_shares(self, scenes):
        stream, _ = self.law(scenes, shares=[1.0, 3.0], stratify=True)
        assert Counter(p.scene for p in self.drawn(stream)) == {0: 200, 1: 600}

    def test_rare_classes_are_in_the_centre_as_often_as_others(self, rare):
        scene, store, labels = rare
        stream, _ = self.law(scene, labels=store, balance="classes")
        centres = Counter(int(labels[p.y + 16, p.x + 16]) for p in self.drawn(stream, 10))
        assert centres[2] / 4000 == pytest.approx(1 / 3, abs=0.03)
        plain, _ = self.law(scene, labels=store)
        assert np.mean([2 in np.unique(labels[stream.roi(p).slices]) for p in self.drawn(plain, 10)]) < 0.1

    def test_patches_lie_around_pixels_with_a_weight(self, rare):
        scene, store, _ = rare
        stream, _ = self.law(scene, labels=store, weight="mine")
        assert min(p.y for p in self.drawn(stream, 5)) == 150 - 16
        assert all(0 <= p.y <= 300 - 32 and 0 <= p.x <= 260 - 32 for p in self.drawn(stream, 5))

    @pytest.mark.parametrize("options", [{}, {"balance": "sqrt"}, {"weight": "mine"}, {"balance": "classes"}])
    @pytest.mark.parametrize("stratify", [False, True])
    def test_the_law_is_one_for_any_window_and_any_process(self, rare, options, stratify):
        scene, store, _ = rare
        laws = [
            self.law(scene, labels=store, stratify=stratify, window=window, patches=60, **options)[0]
            for window in (1, 1, 7)
        ]
        first, again, windowed = (self.drawn(stream) for stream in laws)
        assert first == again
        assert Counter(windowed[:60]) == Counter(first[:60])
        assert Counter(windowed[60:]) == Counter(first[60:])
        assert first[:60] != first[60:]

    def test_stratified_patches_cover_the_region_more_evenly(self, make_scene, folder):
        scene = make_scene(folder / "e.zarr", 320, 320, 1, chunk=160)

        def spread(**data):
            stream, _ = self.law(scene, patches=400, **data)
            seen = np.zeros((320, 320))
            for patch in self.drawn(stream, 1):
                seen[stream.roi(patch).slices] += 1
            return seen[32:-32, 32:-32].std()

        assert spread(stratify=True) < 0.6 * spread()

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            ({"weight": "nowhere"}, r"found no nowhere\(y, x\) of 300 x 260 pixels; expected one of labels"),
            ({"shares": [1.0, 2.0]}, "expected 1 numbers, one for each of data.scene"),
            ({"shares": [0.0]}, "not all 0"),
            ({"shares": [-1.0]}, "greater than or equal to 0"),
            ({"balance": "all"}, "'sqrt' or 'classes'"),
        ],
    )
    def test_what_cannot_be_is_refused(self, rare, data, text):
        with pytest.raises(UserError, match=text):
            self.law(rare[0], **data)

    def test_a_training_draws_as_asked_and_is_not_resumed_with_another_law(self, rare, tmp_path):
        scene, store, _ = rare
        tables = {
            "data": {"scene": scene, "labels": store, "patch": 16, "patches": 8, "balance": "sqrt", "weight": "mine"},
            "recipe": {"steps": "pca=2"},
            "net": {"base_width": 4, "n_down": 2, "norm": "channel"},
            "objective": {"name": "supervised"},
            "train": {"steps": 2, "batch": 2, "warmup": 0, "loaders": 2},
        }
        result = train(tables, str(tmp_path / "m"))
        assert result["read_amplification"] > 0
        assert 0 <= result["starvation"] <= 1
        for key, value in {
            "stratify": True,
            "balance": "classes",
            "weight": None,
            "shares": [1.0],
            "window": 4,
        }.items():
            other = {**tables, "data": {**tables["data"], key: value}}
            with pytest.raises(UserError, match=f"other settings: data.{key}"):
                train(other, str(tmp_path / "m"))
