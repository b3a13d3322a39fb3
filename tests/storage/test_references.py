"""Reference numbers of samples: read as written, paired with the pixels of scenes, or refused by name."""

import math

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tilespec.core.errors import UserError
from tilespec.storage.references import References
from tilespec.storage.samples import samples_in, samples_of
from tilespec.storage.scene import Scene

FINITE = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6))


@given(
    values=st.lists(st.lists(FINITE, min_size=2, max_size=2), min_size=1, max_size=5),
    form=st.sampled_from([(",", "."), (";", ","), (";", "."), ("\t", ",")]),
)
def test_a_table_is_read_as_written(tmp_path_factory, values, form):
    delimiter, point = form
    path = tmp_path_factory.mktemp("table") / "t.csv"
    values = [[1.0, 2.0], *values]
    lines = [
        delimiter.join([f"s{i}", *("" if math.isnan(v) else repr(v).replace(".", point) for v in row)])
        for i, row in enumerate(values)
    ]
    path.write_text("\n".join([delimiter.join(["id", "fat [g]", "dry matter (mg/g)"]), *lines, ""]))
    table = References.read(path)
    assert table.quantities == ("fat", "dry matter")
    assert table.units == ("g", "mg/g")
    assert table.samples == tuple(f"s{i}" for i in range(len(values)))
    assert_array_equal(table.values, np.array(values))
    only = References.read(path, ["dry matter"])
    assert only.quantities == ("dry matter",)
    assert_array_equal(only.values, table.values[:, 1:])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,fat\n", "no row of numbers"),
        ("id,fat\na,1\na,2\n", "a twice"),
        ("id,fat\n,1\n", "without an id"),
        ("id,fat\na,much\n", "'much' of sample a"),
        ("id,fat\na,inf\n", "'inf' of sample a"),
        ("id,fat [%]\na,101\n", "fat 101 of sample a"),
        ("id,fat [%]\na,-1\n", "fat -1 of sample a"),
        ("id,fat,fat\na,1,2\n", "columns named"),
        ("id,fat\na,1,2\n", "row 2 with 3 cells"),
        ("id,fat\na,\nb,NA\n", "no number of fat"),
        ("id,fat\na,1\n", "no column 'water'"),
    ],
)
def test_a_broken_table_is_refused_by_name(tmp_path, text, says):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        References.read(path, ["water"] if "water" in says else ())
    assert str(path) in str(caught.value)


def test_without_a_table_nothing_is_read(tmp_path):
    with pytest.raises(UserError, match="no table"):
        References.read(tmp_path / "absent.csv")


def table(tmp_path, ids):
    path = tmp_path / "t.csv"
    path.write_text("sample,fat [%]\n" + "".join(f"{each},{i}\n" for i, each in enumerate(ids, start=1)))
    return References.read(path)


def with_ids(url, shape, ids):
    layer = zarr.open_group(url).create_array("sample", shape=shape, dtype="int32", dimension_names=("y", "x"))
    layer[...] = ids


@given(seed=st.integers(0, 2**31))
def test_samples_of_a_layer_have_exactly_their_pixels(tmp_path_factory, make_scene, seed):
    folder = tmp_path_factory.mktemp("scene")
    make_scene(folder / "s.zarr", 33, 20, 3)
    ids = np.random.default_rng(seed).integers(0, 5, (33, 20)) * 7
    with_ids(folder / "s.zarr", (33, 20), ids)
    scene, present = Scene.open(str(folder / "s.zarr")), [str(each) for each in np.unique(ids) if each]
    found = samples_of([scene], table(folder, present), layer="sample")
    assert [sample.id for sample in found] == present
    for sample in found:
        whole = np.zeros((33, 20), bool)
        whole[sample.roi.slices] = sample.mask(sample.roi)
        assert_array_equal(whole, ids == int(sample.id))


def test_scenes_are_samples_by_their_names(tmp_path, make_scene):
    for name in ("one", "two.zarr"):
        make_scene(tmp_path / name, 16, 16, 3)
    scenes = [Scene.open(str(tmp_path / name)) for name in ("one", "two.zarr")]
    found = samples_of(scenes, table(tmp_path, ["two", "one"]))
    assert [(each.id, each.scene.url, each.values.tolist()) for each in found] == [
        ("two", scenes[1].url, [1.0]),
        ("one", scenes[0].url, [2.0]),
    ]
    assert found[0].mask(found[0].roi).all()
    with pytest.raises(UserError, match="1 ids that no sample has: three"):
        samples_of(scenes, table(tmp_path, ["one", "three"]))
    with pytest.raises(UserError, match="the sample one, which is in"):
        samples_of([scenes[0], scenes[0]], table(tmp_path, ["one"]))


def test_a_layer_without_a_pixel_and_a_mask_beside_ids_are_refused(tmp_path, make_scene):
    make_scene(tmp_path / "one", 16, 16, 3)
    with_ids(tmp_path / "one", (16, 16), 0)
    scene = Scene.open(str(tmp_path / "one"))
    with pytest.raises(UserError, match="no pixel of any sample"):
        samples_of([scene], table(tmp_path, ["one"]), mask="sample")
    with pytest.raises(UserError, match="no pixel of any sample"):
        samples_in([scene], layer="sample")
    with pytest.raises(UserError, match="the mask sample together with it"):
        samples_in([scene], layer="sample", mask="sample")
