"""Laws of the predict engine with nets that are arithmetic: identity, constants, any cut, any order, resumption."""

import itertools
import json
import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import zarr
from examples import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.core.types import Roi, TileClass
from tilespec.storage.layout import ArraySpec, constants, cube_spec
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import PredictPlan, Slab, SlabCounts, axes, canonical_batch
from tilespec.tiling.slab import run_slab


@dataclass(frozen=True)
class Fake:
    """A predictor without a net: ``function`` of tiles, all channels kept."""

    bands: int
    function: object = staticmethod(lambda tiles: tiles)

    @property
    def channels(self):
        return self.bands, self.bands

    threads: int = 1
    device = None
    any_size: bool = True

    def prepare(self, spectra):
        return spectra

    def __call__(self, tiles, ids):
        return np.ascontiguousarray(self.function(tiles))

    def any_batch(self, shape, batch):
        return self.any_size

    def decode(self, blended, valid):
        blended[~valid] = np.nan
        return {"prediction": blended}

    classes = ()

    def _same(self, _):
        return self

    open = with_norms = with_intra = _same


def write_scene(url, cube):
    product = Product.open(
        url, [cube_spec(cube.shape, "float32", spectral=None)], settings={"seed": 0}, attrs={}, constants={}
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"cube": cube[y0:y1]})
    product.finish()


def make_plan(tmp, cube, spec, *, tile, overlap, edge, name="out", roi=None, panel=None, disagreement=False, **grid):
    """Return a plan on a scene of ``cube``; ``grid`` may hold a window, a scale, a reach."""
    if not (tmp / "scene").exists():
        write_scene(str(tmp / "scene"), cube)
    roi = roi or Roi.of(cube.shape)
    scale = Fraction(grid.pop("scale", 1))
    plane = tuple(int(length * scale) for length in roi.shape)
    y, x = axes(plane, tile, overlap)
    shape = (*plane, cube.shape[2])
    chunks = (min(edge, shape[0]), min(edge, shape[1]))
    array = ArraySpec(
        name="prediction", shape=shape, dtype="float32", dims=("y", "x", "band"), chunks=(*chunks, shape[2])
    )
    spread = replace(array, name="disagreement", shape=plane, dims=("y", "x"), chunks=chunks)
    product = Product.open(
        str(tmp / name),
        [array, spread] if disagreement else [array],
        settings={"name": name},
        attrs={},
        constants=constants(None),
        panel=panel,
    )
    tiles = Grid(y=y, x=x, scale=scale, **{"reach": TileClass(kind="approximate"), **grid})
    return PredictPlan(
        scene=str(tmp / "scene"),
        roi=roi,
        product=product,
        grid=tiles,
        spec=spec,
        threads=1,
        batch=canonical_batch(tiles, (cube.shape[2], cube.shape[2])),
        disagreement=disagreement,
    )


def predicted(plan, groups=None):
    """Run the slabs ``groups`` (default: all rows in one) and return what is stored."""
    parts = plan.parts(1) if groups is None else [Slab(rows=tuple(rows)) for rows in groups]
    for part in parts:
        run_slab(plan, part, Silent())
    plan.product.finish()
    return np.asarray(zarr.open_group(plan.product.url, mode="r")["prediction"])


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 3)),
    tile=st.integers(1, 40),
    data=st.data(),
    edge=st.integers(3, 80),
    window=st.sampled_from(["cosine", "linear", "gaussian", "none"]),
    align=st.sampled_from([1, 8]),
    halo=st.integers(0, 9),
    kind=st.sampled_from(["approximate", "exact"]),
)
def test_the_identity_comes_back_bit_for_bit(tmp_path_factory, shape, tile, data, edge, window, align, halo, kind):
    tmp = tmp_path_factory.mktemp("identity")
    cube = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    overlap = data.draw(st.integers(0, tile - 1))
    reach = TileClass(kind=kind, halo=halo, align=align)
    plan = make_plan(tmp, cube, Fake(shape[2]), tile=tile, overlap=overlap, edge=edge, window=window, reach=reach)
    np.testing.assert_array_equal(predicted(plan), cube)


def shifting(tiles):
    """Depend on the position inside the tile, so that every blend is a real one."""
    ramp = np.arange(tiles.shape[1], dtype=np.float32)[:, None, None]
    return tiles + ramp * ramp[:, 0][None, :, None]


@pytest.mark.parametrize("window", ["cosine", "linear", "gaussian"])
@pytest.mark.parametrize("overlap", [0, 3, 8, 13])
def test_blending_is_the_mean_of_the_tiles_weighted_by_their_windows(tmp_path, window, overlap):
    cube = np.random.default_rng(5).normal(size=(70, 41, 2)).astype(np.float32)
    plan = make_plan(tmp_path, cube, Fake(2, shifting), tile=16, overlap=overlap, edge=17, window=window)
    y, x = plan.grid.y, plan.grid.x
    padded = np.pad(cube, ((0, y.end - 70), (0, x.end - 41), (0, 0)), mode="reflect").astype(np.float64)
    total, weight = np.zeros_like(padded), np.zeros((y.end, x.end, 1))
    for row in range(y.count):
        for column in range(x.count):
            part = np.s_[row * y.step : row * y.step + 16, column * x.step : column * x.step + 16]
            w = (y.weights(row, window)[:, None] * x.weights(column, window))[..., None]
            total[part] += w * shifting(padded[part].astype(np.float32)[None])[0]
            weight[part] += w
    np.testing.assert_allclose(predicted(plan), (total / weight)[:70, :41], rtol=2e-5, atol=2e-4)


@settings(max_examples=EXAMPLES // 5, deadline=None)
@given(overlap=st.integers(0, 15), edge=st.integers(5, 40), order=st.permutations(range(4)))
def test_any_cut_into_slabs_in_any_order_gives_the_same_bits(tmp_path_factory, overlap, edge, order):
    tmp = tmp_path_factory.mktemp("slabs")
    cube = np.random.default_rng(1).normal(size=(90, 50, 2)).astype(np.float32)

    spec = Fake(2, shifting)
    whole = predicted(make_plan(tmp, cube, spec, tile=16, overlap=overlap, edge=edge, name="whole"))
    plan = make_plan(tmp, cube, spec, tile=16, overlap=overlap, edge=edge, name="parts")
    parts = [part.tolist() for part in np.array_split(np.arange(plan.product.rows), 4)]
    cut = predicted(plan, [parts[i] for i in order if parts[i]])
    np.testing.assert_array_equal(cut, whole)
    assert np.abs(whole - cube).max() > 1


def test_a_rerun_computes_only_the_rows_that_are_missing(tmp_path):
    cube = np.random.default_rng(2).normal(size=(64, 20, 1)).astype(np.float32)
    calls = []

    def counting(tiles):
        calls.append(len(tiles))
        return tiles

    plan = make_plan(tmp_path, cube, Fake(1, counting), tile=8, overlap=2, edge=16)
    run_slab(plan, Slab(rows=(0, 1)), Silent())
    first = len(calls)
    assert plan.product.missing() == [2, 3]
    assert predicted(plan).tobytes() == cube.tobytes()
    assert len(calls) < 2 * first + 3
    assert plan.product.missing() == []


def test_an_unfinished_product_is_not_published(tmp_path):
    cube = np.zeros((64, 20, 1), np.float32)
    plan = make_plan(tmp_path, cube, Fake(1), tile=8, overlap=2, edge=16)
    run_slab(plan, Slab(rows=(1,)), Silent())
    attrs = zarr.open_group(plan.product.url, mode="r").attrs
    assert attrs["tilespec_status"] == "writing"
    with pytest.raises(AssertionError):
        plan.product.finish()
    with pytest.raises(ValueError, match="status 'writing'"):
        Scene.open(plan.product.url)


def test_pixels_without_data_stay_so_and_touch_nobody(tmp_path):
    cube = np.random.default_rng(3).normal(size=(60, 60, 2)).astype(np.float32)
    holed = cube.copy()
    holed[10:13, 20:40] = np.nan
    holed[30:60, 0:30] = np.nan
    plan = make_plan(tmp_path, holed, Fake(2), tile=16, overlap=8, edge=20)
    facts = run_slab(plan, Slab(rows=tuple(plan.product.missing())), Silent())
    out = np.asarray(zarr.open_group(plan.product.url, mode="r")["prediction"])
    np.testing.assert_array_equal(out, holed)
    assert facts.nodata == np.isnan(holed[..., 0]).sum()
    assert facts.empty > 0
    assert facts.tiles + facts.empty == plan.grid.tiles


def test_a_region_is_predicted_as_if_it_were_the_scene(tmp_path):
    cube = np.random.default_rng(4).normal(size=(300, 290, 1)).astype(np.float32)
    roi = Roi(y0=37, y1=241, x0=130, x1=285)
    plan = make_plan(tmp_path, cube, Fake(1), tile=64, overlap=32, edge=50, roi=roi)
    np.testing.assert_array_equal(predicted(plan), cube[roi.slices])


def test_every_chunk_of_the_scene_is_decoded_once(tmp_path):
    cube = np.zeros((520, 300, 1), np.float32)
    plan = make_plan(tmp_path, cube, Fake(1), tile=128, overlap=64, edge=100)
    facts = run_slab(plan, Slab(rows=tuple(plan.product.missing())), Silent())
    assert facts.bytes_read == cube.nbytes


def test_records_carry_the_digest_of_what_was_written(tmp_path):
    cube = np.ones((10, 10, 1), np.float32)
    plan = make_plan(tmp_path, cube, Fake(1), tile=8, overlap=2, edge=16)
    predicted(plan)
    (record,) = [json.loads(p.read_text()) for p in Path(plan.product.ledger.folder).rglob("row-*.json")]
    assert set(record["objects"]) == {"prediction"}
    assert not list(Path(plan.product.ledger.folder).rglob("*.writing"))


def run_all(plan, parts):
    total = SlabCounts()
    for part in parts:
        total.add(run_slab(plan, part, Silent()))
    plan.product.finish()
    return total, np.asarray(zarr.open_group(plan.product.url, mode="r")["prediction"])


@pytest.mark.slow
@settings(max_examples=EXAMPLES // 5, deadline=None)
@given(
    overlap=st.integers(0, 12),
    edge=st.integers(5, 40),
    hands=st.integers(2, 6),
    panel=st.sampled_from([None, 1, 2]),
    threads=st.sampled_from([1, 3]),
    data=st.data(),
)
def test_shared_or_recomputed_in_any_order_and_cut_the_bits_are_the_same(
    tmp_path_factory, overlap, edge, hands, panel, threads, data
):
    tmp = tmp_path_factory.mktemp("shared")
    cube = np.random.default_rng(1).normal(size=(170, 50, 2)).astype(np.float32)
    keys = {"tile": 16, "overlap": overlap, "edge": edge}
    whole = predicted(make_plan(tmp, cube, Fake(2, shifting), **keys, name="whole"))
    wide = None if panel is None else panel * min(edge, 50)
    plan = make_plan(tmp, cube, Fake(2, shifting, threads), **keys, name="cut", panel=wide)
    plan = replace(plan, threads=threads)
    parts = plan.parts(hands)
    assert sorted((part.panel, row) for part in parts for row in part.rows) == sorted(
        itertools.product(range(plan.product.panels), range(plan.product.rows))
    )
    facts, shared = run_all(plan, data.draw(st.permutations(parts)))
    np.testing.assert_array_equal(shared, whole)
    assert not plan.product.scratch.exists()
    tiles = sum(len(plan.tiles(part)[0]) * len(plan.tiles(part)[1]) for part in parts)
    assert facts.tiles + facts.shared == tiles


def test_parts_in_their_own_order_evaluate_no_tile_twice(tmp_path):
    cube = np.random.default_rng(1).normal(size=(240, 30, 1)).astype(np.float32)
    for hands, overlap in itertools.product((2, 3, 4, 8), (4, 8, 12)):
        plan = make_plan(tmp_path, cube, Fake(1), tile=16, overlap=overlap, edge=20, name=f"{hands}-{overlap}")
        parts = plan.parts(hands)
        facts, out = run_all(plan, parts)
        assert len(parts) > 1
        assert facts.tiles == plan.grid.tiles
        assert facts.shared > 0
        np.testing.assert_array_equal(out, cube)


def test_a_strip_that_is_damaged_or_gone_is_made_again(tmp_path):
    cube = np.random.default_rng(1).normal(size=(200, 60, 1)).astype(np.float32)
    plan = make_plan(tmp_path, cube, Fake(1, shifting), tile=16, overlap=8, edge=20)
    whole = predicted(make_plan(tmp_path, cube, Fake(1, shifting), tile=16, overlap=8, edge=20, name="whole"))
    first, *rest = plan.parts(3)
    run_slab(plan, first, Silent())
    strips = sorted(plan.product.scratch.iterdir())
    strips[0].write_bytes(strips[0].read_bytes()[:50])
    for strip in strips[1:]:
        strip.unlink()
    np.testing.assert_array_equal(run_all(plan, rest)[1], whole)


@dataclass(frozen=True)
class Scaled:
    """A predictor whose output has another size: ``up`` times larger, then the mean of ``down`` pixels."""

    up: int
    down: int
    channels = (1, 1)
    threads = 1
    device = None

    def prepare(self, spectra):
        return spectra

    def __call__(self, tiles, ids):
        large = tiles.repeat(self.up, axis=1).repeat(self.up, axis=2)
        n, h, w, c = large.shape
        assert h % self.down == w % self.down == 0
        small = large.reshape(n, h // self.down, self.down, w // self.down, self.down, c)
        return np.ascontiguousarray(small.mean(axis=(2, 4), dtype=np.float64).astype(np.float32))

    def any_batch(self, shape, batch):
        return True

    def decode(self, blended, valid):
        return {"prediction": blended}

    classes = ()

    def _same(self, _):
        return self

    open = with_norms = with_intra = _same


@pytest.mark.parametrize(
    ("scale", "tile", "overlap"),
    [("2", 32, 16), ("8", 64, 16), ("1/2", 8, 4), ("3/2", 24, 12), ("2/3", 16, 4), ("1/16", 1, 0), ("1/16", 4, 2)],
)
def test_the_output_may_have_any_rational_scale(tmp_path, scale, tile, overlap):
    cube = np.random.default_rng(6).normal(size=(96, 144, 1)).astype(np.float32)
    fraction = Fraction(scale)
    spec = Scaled(fraction.numerator, fraction.denominator)
    plan = make_plan(tmp_path, cube, spec, tile=tile, overlap=overlap, edge=20, scale=fraction)
    np.testing.assert_array_equal(predicted(plan), spec(cube[None], [0])[0])


def test_pixels_without_data_stay_so_at_another_scale(tmp_path):
    cube = np.random.default_rng(6).normal(size=(64, 64, 1)).astype(np.float32)
    cube[10:20, 30:50] = np.nan
    plan = make_plan(tmp_path, cube, Scaled(2, 1), tile=32, overlap=16, edge=20, scale=2)
    np.testing.assert_array_equal(np.isnan(predicted(plan)), np.isnan(cube).repeat(2, 0).repeat(2, 1))


def test_a_net_whose_bits_depend_on_its_batch_always_sees_batches_of_one_size(tmp_path):
    cube = np.zeros((64, 3 * 8, 1), np.float32)
    sizes = []

    def counting(tiles):
        sizes.append(len(tiles))
        return tiles

    plan = make_plan(tmp_path, cube, Fake(1, counting, any_size=False), tile=8, overlap=0, edge=16)
    predicted(plan)
    assert set(sizes) == {plan.batch} == {16}
    sizes.clear()
    predicted(make_plan(tmp_path, cube, Fake(1, counting), tile=8, overlap=0, edge=16, name="any"))
    assert set(sizes) == {3}


def test_the_spread_of_tiles_is_stored_and_is_zero_where_they_agree(tmp_path):
    cube = np.random.default_rng(1).normal(size=(60, 50, 2)).astype(np.float32)
    cube[20:25, 20:25] = np.nan
    for name, function, least in (("same", lambda tiles: tiles, 0), ("other", shifting, 1)):
        keys = {"tile": 16, "overlap": 8, "edge": 20, "name": name, "disagreement": True}
        plan = make_plan(tmp_path, cube, Fake(2, function), **keys)
        predicted(plan)
        spread = np.asarray(zarr.open_group(plan.product.url, mode="r")["disagreement"])
        np.testing.assert_array_equal(np.isnan(spread), np.isnan(cube[..., 0]))
        assert np.nanmax(spread) >= least
        assert (np.nanmax(spread) == 0) == (least == 0)


def poisoned(tiles):
    """Fail on the tiles that hold a marked pixel."""
    out = tiles.copy()
    out[(tiles == 7).any(axis=(1, 2, 3))] = np.nan
    return out


def raising(tiles):
    if (tiles == 7).any():
        raise RuntimeError("no kernel for this tile")
    return tiles.copy()


@pytest.mark.parametrize("function", [poisoned, raising])
@pytest.mark.parametrize("any_size", [True, False])
def test_a_poison_tile_is_quarantined_and_the_rest_is_predicted(tmp_path, function, any_size):
    cube = np.random.default_rng(1).normal(size=(64, 64, 1)).astype(np.float32)
    cube[34, 34] = 7
    plan = make_plan(tmp_path, cube, Fake(1, function, any_size=any_size), tile=16, overlap=0, edge=16)
    out = predicted(plan)
    expected = cube.copy()
    expected[32:48, 32:48] = np.nan
    np.testing.assert_array_equal(out, expected)
    assert plan.product.poison() == [2 * 4 + 2]
    assert plan.product.missing() == [2]
    assert zarr.open_group(plan.product.url, mode="r").attrs["tilespec_status"] == "incomplete"
    bundle = plan.product.scratch.with_name("poison") / "tile-000010"
    np.testing.assert_array_equal(np.load(bundle.with_suffix(".npy")), cube[32:48, 32:48])
    assert json.loads(bundle.with_suffix(".json").read_text())["tile"] == 10
    healed = replace(plan, spec=Fake(1))
    np.testing.assert_array_equal(predicted(healed), cube)
    assert plan.product.poison() == []


def test_a_net_that_fails_everywhere_stops_the_run(tmp_path):
    cube = np.full((64, 64, 1), 7, np.float32)
    plan = make_plan(tmp_path, cube, Fake(1, raising), tile=8, overlap=0, edge=16)
    with pytest.raises(UserError, match=r"tiles on which the net fails.*no kernel for this tile"):
        predicted(plan)


def test_a_stopped_part_ends_after_the_tile_row_in_work_and_is_resumed(tmp_path):
    cube = np.random.default_rng(1).normal(size=(200, 30, 1)).astype(np.float32)
    plan = make_plan(tmp_path, cube, Fake(1), tile=16, overlap=8, edge=20)
    asked = itertools.count()
    facts = run_slab(plan, plan.parts(1)[0], Silent(), lambda: next(asked) >= 9)
    assert facts.stopped
    assert 0 < len(plan.product.missing()) < plan.product.rows
    np.testing.assert_array_equal(predicted(plan), cube)


def test_an_error_while_writing_ends_the_part_and_nothing_hangs(tmp_path, monkeypatch):
    cube = np.random.default_rng(1).normal(size=(200, 30, 1)).astype(np.float32)
    plan = make_plan(tmp_path, cube, Fake(1), tile=16, overlap=8, edge=20)
    write = Product.write

    def full(self, row, *args, **kwargs):
        if row == 3:
            raise OSError(28, "No space left on device")
        return write(self, row, *args, **kwargs)

    monkeypatch.setattr(Product, "write", full)
    with pytest.raises(OSError, match="No space left") as held:
        predicted(plan)
    monkeypatch.undo()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("tilespec-")]
    assert left == [], "whoever keeps the error keeps no threads, which the collector of garbage would wait for"
    assert held.value.errno == 28
    assert set(plan.product.missing()) >= {3}
    np.testing.assert_array_equal(predicted(plan), cube)
