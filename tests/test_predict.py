"""Laws of the predict engine with nets that are arithmetic: identity, constants, any cut, any order, resumption."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.grid import Grid
from tilespec.predict import PredictPlan, axes, run_slab
from tilespec.product import ArraySpec, Product
from tilespec.progress import Silent
from tilespec.scene import Scene, constants, cube_spec
from tilespec.types import Roi, TileClass


@dataclass(frozen=True)
class Fake:
    """A predictor without a net: ``function`` of tiles, all channels kept."""

    bands: int
    function: object = staticmethod(lambda tiles: tiles)

    @property
    def channels(self):
        return self.bands, self.bands

    threads = 1

    def prepare(self, spectra):
        return spectra

    def __call__(self, tiles, ids):
        return np.ascontiguousarray(self.function(tiles))

    def decode(self, blended, valid):
        blended[~valid] = np.nan
        return {"prediction": blended}

    def open(self, threads):
        return self


def write_scene(url, cube):
    product = Product.open(
        url, [cube_spec(cube.shape, "float32", spectral=None)], settings={"seed": 0}, attrs={}, constants={}
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"cube": cube[y0:y1]})
    product.finish()


def make_plan(tmp, cube, spec, *, tile, overlap, edge, window="cosine", reach=None, name="out", roi=None):
    if not (tmp / "scene").exists():
        write_scene(str(tmp / "scene"), cube)
    roi = roi or Roi.of(cube.shape)
    y, x = axes(roi.shape, tile, overlap)
    shape = (*roi.shape, cube.shape[2])
    array = ArraySpec(
        name="prediction",
        shape=shape,
        dtype="float32",
        dims=("y", "x", "band"),
        chunks=(min(edge, shape[0]), min(edge, shape[1]), shape[2]),
    )
    product = Product.open(str(tmp / name), [array], settings={"name": name}, attrs={}, constants=constants(None))
    return PredictPlan(
        scene=str(tmp / "scene"),
        roi=roi,
        product=product,
        grid=Grid(y=y, x=x, window=window, reach=reach or TileClass(kind="approximate")),
        spec=spec,
        threads=1,
    )


def predicted(plan, groups=None):
    """Run the slabs ``groups`` (default: all rows in one) and return what is stored."""
    for rows in groups or [plan.product.missing()]:
        run_slab(plan, rows, Silent())
    plan.product.finish()
    return np.asarray(zarr.open_group(plan.product.url, mode="r")["prediction"])


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 3)),
    tile=st.integers(1, 40),
    data=st.data(),
    edge=st.integers(3, 80),
    window=st.sampled_from(["cosine", "linear", "none"]),
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


@pytest.mark.parametrize("window", ["cosine", "linear"])
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


@settings(max_examples=15, deadline=None)
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
    run_slab(plan, [0, 1], Silent())
    first = len(calls)
    assert plan.product.missing() == [2, 3]
    assert predicted(plan).tobytes() == cube.tobytes()
    assert len(calls) < 2 * first + 3
    assert plan.product.missing() == []


def test_an_unfinished_product_is_not_published(tmp_path):
    cube = np.zeros((64, 20, 1), np.float32)
    plan = make_plan(tmp_path, cube, Fake(1), tile=8, overlap=2, edge=16)
    run_slab(plan, [1], Silent())
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
    facts = run_slab(plan, plan.product.missing(), Silent())
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
    facts = run_slab(plan, plan.product.missing(), Silent())
    assert facts.bytes_read == cube.nbytes


def test_records_carry_the_digest_of_what_was_written(tmp_path):
    cube = np.ones((10, 10, 1), np.float32)
    plan = make_plan(tmp_path, cube, Fake(1), tile=8, overlap=2, edge=16)
    predicted(plan)
    (record,) = [json.loads(p.read_text()) for p in Path(plan.product.ledger.folder).rglob("row-*.json")]
    assert set(record["digests"]) == {"prediction"}
    assert not list(Path(plan.product.ledger.folder).rglob("*.writing"))
