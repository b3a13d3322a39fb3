"""Layers: one way to read an array over ``y, x``, and one refusal of a store that is still being written."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.evaluate.seams import seam_score
from tilespec.ingest.ingest import ingest
from tilespec.output.export.export_source import open_exported
from tilespec.storage.layer import Layer
from tilespec.storage.layout import compressors
from tilespec.storage.rasters import ClassRaster, ValueRaster
from tilespec.storage.scene import Scene
from tilespec.storage.selection import PixelSelection

ROI = Roi(y0=3, y1=37, x0=5, x1=30)


@pytest.fixture(params=["plain", "sharded"])
def store(request, tmp_path):
    """A store of a map of classes and of channels, in objects that end inside of regions."""
    group, shards = zarr.create_group(tmp_path / "store"), request.param == "sharded"
    rng = np.random.default_rng(0)
    for name, dtype, more in (("labels", "uint8", ()), ("probability", "float32", (3,))):
        array = group.create_array(
            name,
            shape=(40, 33, *more),
            chunks=(8, 16, *more),
            shards=(16, 32, *more) if shards else None,
            dtype=dtype,
            compressors=compressors(dtype),
        )
        array[...] = rng.integers(0, 9, array.shape)
    return str(tmp_path / "store")


@pytest.mark.parametrize(("name", "dimensions"), [("labels", 2), ("probability", 3)])
def test_a_layer_reads_as_zarr_does_with_or_without_channels(store, name, dimensions):
    plane = Layer.find(store, name, dimensions=(dimensions,))
    expected = zarr.open_group(store)[name][ROI.slices]
    assert plane.read(ROI).dtype == expected.dtype
    assert_array_equal(plane.read(ROI), expected)
    assert_array_equal(plane.read(ROI, Buffers()), expected)
    assert_array_equal(np.concatenate([lines.copy() for lines in plane.lines(ROI, 5, Buffers())]), expected)
    assert Layer.find(store, name, dimensions=(5 - dimensions,)) is None


@pytest.fixture
def scene(make_scene, tmp_path):
    return make_scene(tmp_path / "scene", 64, 48, 4)


READ = {
    "scene": lambda url: Scene.open(url).labels(ROI),
    "class map": lambda url: ClassRaster.open(url, "labels").read(ROI),
    "channels": lambda url: ValueRaster.open(url, "labels").read(ROI),
    "mask": lambda url: PixelSelection(mask="labels").mask_of(Scene.open(url), ROI),
    "cube": lambda url: Scene.open(url).read(ROI),
    "truth": lambda url: ValueRaster.open(url).read(ROI),
}


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_a_damaged_object_is_named_whatever_reads_it(scene, tmp_path, read):
    read(scene)
    for name in ("cube", "labels"):
        for path in filter(Path.is_file, (tmp_path / "scene" / name / "c").rglob("*")):
            path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(UserError, match=r"scene/(cube|labels)/c/.*: found a damaged object"):
        read(scene)


OPENED = {
    "scene": Scene.open,
    "class map": lambda url: ClassRaster.open(url, "labels"),
    "channels": ValueRaster.open,
    "seams": seam_score,
    "export": lambda url: open_exported(url, None),
    "ingest": lambda url: ingest(url, f"{url}.again"),
}


@pytest.mark.parametrize("opened", OPENED.values(), ids=OPENED)
def test_a_store_that_is_still_being_written_is_refused_in_the_same_words(scene, opened):
    zarr.open_group(scene).attrs["tilespec_status"] = "writing"
    with pytest.raises(UserError, match=r"scene: found status 'writing'; expected status 'complete'\. The run that"):
        opened(scene)
