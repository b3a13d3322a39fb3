"""Shards: several chunks in one object, which is written at once, hashed at once, and repaired at once."""

from dataclasses import replace
from math import prod

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.spectra.fit import fit
from tilespec.spectra.transform import transform
from tilespec.storage import layout as module
from tilespec.storage.audit import verify
from tilespec.storage.layout import ArraySpec, constants, cube_spec, layer_spec, sharded
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

AXIS = SpectralAxis(name="wavelength", unit="nm", values=(500.0, 600.0, 700.0))


def specs(shape=(300, 500, 3)):
    return [cube_spec(shape, "float32", spectral=AXIS), layer_spec("labels", shape[:2], classes=("a", "b"))]


def opened(path, asked, shape=(300, 500, 3)):
    return Product.open(
        str(path), sharded(specs(shape), asked), settings={"shards": asked}, attrs={}, constants=constants(AXIS)
    )


def values(shape=(300, 500, 3)):
    rng = np.random.default_rng(0)
    return {"cube": rng.random(shape, np.float32), "labels": rng.integers(0, 2, shape[:2]).astype(np.uint8)}


def written(path, asked, shape=(300, 500, 3)):
    product, blocks = opened(path, asked, shape), values(shape)
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {name: block[y0:y1] for name, block in blocks.items()})
    product.finish()
    return product


def objects(path, name="cube"):
    return sorted(p.relative_to(path).as_posix() for p in (path / name / "c").rglob("*") if p.is_file())


@pytest.mark.parametrize(("asked", "count"), [(None, 12), ("none", 12), ("128x256", 6), ("256x512", 2), ("auto", 12)])
def test_a_scene_in_shards_holds_the_same_values_in_fewer_objects(tmp_path, asked, count):
    written(tmp_path / "s", asked)
    scene = Scene.open(str(tmp_path / "s"))
    np.testing.assert_array_equal(scene.read(scene.roi), values()["cube"])
    roi = Roi(y0=100, y1=270, x0=120, x1=420)
    np.testing.assert_array_equal(scene.read(roi), values()["cube"][roi.slices])
    np.testing.assert_array_equal(scene.labels(), values()["labels"])
    assert len(objects(tmp_path / "s")) == len(objects(tmp_path / "s", "labels")) == count
    assert verify(str(tmp_path / "s"))["whole"]


def test_a_torn_shard_is_found_deleted_and_written_again(tmp_path, make_scene):
    """faults.md row 17: zarr cannot overwrite a torn shard."""
    product = written(tmp_path / "s", "128x512")
    torn = tmp_path / "s" / "cube/c/1/0/0"
    before = torn.read_bytes()
    torn.write_bytes(before[:-10])
    (found,) = verify(str(tmp_path / "s"))["damaged"]
    assert (found["object"], found["row"]) == ("cube/c/1/0/0", 1)
    product.ledger.drop(1)
    assert product.missing() == [1]
    with pytest.raises(UserError, match="damaged object"):
        Scene.open(str(tmp_path / "s")).read(Roi(y0=130, y1=140, x0=0, x1=10))
    product.write(1, {name: block[128:256] for name, block in values().items()})
    assert torn.read_bytes() == before
    assert verify(str(tmp_path / "s"))["whole"]


def test_dask_blocks_that_cut_shards_are_refused_before_a_byte_is_written(tmp_path):
    """faults.md row 26."""
    product, cube = opened(tmp_path / "s", "256x512"), da.from_array(values()["cube"], chunks=(128, 500, 3))
    labels = values()["labels"]

    @dask.delayed
    def write(row, block):
        product.write(row, {"cube": block, "labels": labels[row * 128 : row * 128 + len(block)]})

    with pytest.raises(AssertionError, match="is no whole row of objects"):
        dask.compute(*[write(row, block) for row, block in enumerate(cube.to_delayed().ravel())], scheduler="threads")
    assert not (tmp_path / "s" / "cube" / "c").exists()
    assert product.missing() == [0, 1]


def test_a_scene_in_shards_goes_through_a_recipe_as_one_without(tmp_path):
    for name, asked in (("a", None), ("b", "256x256")):
        written(tmp_path / name, asked)
        fit(str(tmp_path / name), str(tmp_path / f"{name}-recipe"), steps="pca=2")
        transform(str(tmp_path / f"{name}-recipe"), str(tmp_path / name), str(tmp_path / f"{name}-scores"))
    one, other = (Scene.open(str(tmp_path / name)) for name in ("a-scores", "b-scores"))
    np.testing.assert_array_equal(one.read(one.roi), other.read(other.roi))


@given(
    rows=st.integers(1, 5000),
    cols=st.integers(1, 5000),
    bands=st.integers(1, 300),
    high=st.integers(1, 9),
    wide=st.integers(1, 9),
)
def test_a_shard_is_whole_chunks_and_no_larger_than_asked_or_needed(rows, cols, bands, high, wide):
    cube, labels = specs((rows, cols, bands))
    height, width = cube.chunks[:2]
    for spec in sharded([cube, labels], f"{high * height}x{wide * width}"):
        for axis, most in enumerate((high * height, wide * width)):
            assert spec.objects[axis] % spec.chunks[axis] == 0
            assert spec.objects[axis] <= most
            assert spec.objects[axis] < spec.shape[axis] + spec.chunks[axis]
        assert spec.objects[2:] == spec.chunks[2:]


@given(bands=st.integers(1, 400), rows=st.integers(10_000, 200_000))
def test_auto_leaves_few_objects_alone_and_makes_many_fewer(bands, rows):
    spec = replace(specs()[0], shape=(rows, 30_000, bands), chunks=(128, 128, bands))
    chunks = -(-rows // 128) * 235
    (found,) = sharded([spec], "auto")
    if chunks <= module.OBJECTS:
        assert found == spec
    elif found.shards is not None:
        assert found.shards[0] == 128
        assert prod(found.shards) * 4 <= module.SHARD_BYTES
        assert found.shards[1] >= 256


@pytest.mark.parametrize("asked", ["100x128", "128", "x", "0x128", "128x128x3", "128x-128"])
def test_other_shards_are_refused_with_what_would_do(asked):
    with pytest.raises(UserError, match=r"multiples of the chunk, 128 x 128; or auto, or none. Try 128x1024"):
        sharded(specs(), asked)


def test_arrays_without_shards_are_stored_as_before():
    spec = ArraySpec(name="a", shape=(4, 4), dtype="uint8", dims=("y", "x"), chunks=(2, 2))
    assert (spec.shards, spec.objects) == (None, (2, 2))
