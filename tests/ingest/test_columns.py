"""Columns of tables: texts without limit, and those that ``--labels`` makes the classes, in any format."""

import csv
import shutil

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.ingest.readers.spectra_text import held, layer_of_texts
from tilespec.storage.layout import class_attrs, class_names, code_type, distinct
from tilespec.storage.scene import Scene

TEXT = st.text(st.sampled_from("abz09_,;é\"' "), max_size=4).map(lambda text: " ".join(text.split()))


def written(path, **columns):
    """Write a table of two bands whose rows tell their number."""
    rows = [[*cells, k, 2 * k] for k, cells in enumerate(zip(*columns.values(), strict=True))]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*columns, "400", "410"], *rows])
    return path


def texts(url, name):
    """Read a column with plain xarray as texts, by CF's flags and the exact names."""
    with xr.open_zarr(url) as table:
        names, none = class_names(table[name].attrs), table[name].attrs["nodata"]
        return ["" if code == none else names[code] for code in table[name].values.tolist()]


@settings(max_examples=6, deadline=None)
@given(few=st.lists(TEXT, min_size=2, max_size=6), count=st.integers(0, 600))
@example(few=["x", ""], count=254)
@example(few=["x", ""], count=255)
def test_a_column_of_any_number_of_texts_is_read_back_equal(tmp_path_factory, few, count):
    folder = tmp_path_factory.mktemp("c")
    cells = [*few, "some text", *(f"n{k}" for k in range(count))]
    cells = [cell if cell.lower() not in ("na", "nan") else "" for cell in cells]
    api.ingest(written(folder / "t.csv", spot=cells), folder / "t")
    assert texts(folder / "t", "spot") == cells
    stored = zarr.open_array(folder / "t" / "spot").dtype
    assert stored == code_type(len(set(cells) - {""}))
    api.export(folder / "t", folder / "again.csv")
    for source in ("again.csv", "t"):
        api.ingest(folder / source, folder / f"{source}.copy")
        assert texts(folder / f"{source}.copy", "spot") == cells
    api.export(folder / "t", folder / "t.mat")
    held = scipy.io.loadmat(folder / "t.mat", simplify_cells=True)
    names = [*np.atleast_1d(held["spot_names"]).tolist(), ""]
    assert [names[min(code, len(names) - 1)] for code in np.atleast_1d(held["spot"]).tolist()] == cells


@pytest.mark.parametrize(("count", "kind"), [(255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4")])
def test_numbers_of_texts_are_as_wide_as_they_have_to_be(count, kind):
    cells = [*(f"n{k:05d}" for k in range(count)), None]
    layer = layer_of_texts(*held("spot", cells))
    codes = layer.read(0, count + 1)[:, 0]
    assert (layer.dtype, codes.dtype, layer.attrs["nodata"]) == (kind, kind, np.iinfo(kind).max)
    assert_array_equal(codes, [*range(count), np.iinfo(kind).max])
    assert class_names(layer.attrs) == tuple(cells[:-1])


@pytest.mark.parametrize("count", [300, 5000])
def test_netcdf_has_the_names_of_a_column_as_far_as_it_can_hold_them(tmp_path, count):
    cells = [f"sample {k}" for k in range(count)]
    api.ingest(written(tmp_path / "t.csv", sample=cells), tmp_path / "t")
    notes = api.export(tmp_path / "t", tmp_path / "t.nc")["notes"]
    left = "NetCDF: the 5000 names of sample are too many and left out; .csv and .mat have them"
    assert notes == ([left] if count == 5000 else [])
    with xr.open_dataset(tmp_path / "t.nc", mask_and_scale=False) as table:
        names = [name.replace(" ", "_") for name in Scene.open(str(tmp_path / "t")).classes("sample")]
        assert str(table.sample.attrs.get("flag_meanings", "")).split() == ([] if left in notes else names)
        assert_array_equal(np.array(names)[table.sample.values], [cell.replace(" ", "_") for cell in cells])


@given(st.integers(1, 255))
def test_a_class_map_of_up_to_255_classes_is_stored_as_ever(count):
    attrs = class_attrs(tuple(f"c{k}" for k in range(count)))
    words = " ".join(f"c{k}" for k in range(count))
    assert attrs == {"nodata": 255, "flag_values": list(range(count)), "flag_meanings": words}
    assert code_type(count) == np.uint8


@given(st.lists(st.sampled_from(["", "a", "a b", "a_b", "a_1", "a_2", "class_0", "a_b_2"]), max_size=12))
def test_names_are_told_apart_and_survive_their_attributes(names):
    told = distinct(names)
    assert len(set(told)) == len(told) == len(names)
    assert class_names(class_attrs(tuple(names))) == told


CELLS = {"variety": ["b", "", "a b", "b"], "plot": ["10", "9", "", "9"], "class": ["x", "y", "x", "y"]}


@pytest.fixture
def table(tmp_path):
    return written(
        tmp_path / "t.csv", **{"variety (code)": CELLS["variety"]} | {k: CELLS[k] for k in ("plot", "class")}
    )


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(
    ("named", "names", "codes", "others"),
    [
        ("variety", ("a b", "b"), [1, 255, 0, 1], {"plot", "class_"}),
        ("variety (code)", ("a b", "b"), [1, 255, 0, 1], {"plot", "class_"}),
        ("plot", ("9", "10"), [1, 0, 255, 0], {"variety", "class_"}),
        ("class", ("x", "y"), [0, 1, 0, 1], {"variety", "plot"}),
    ],
)
def test_a_column_that_is_named_is_the_classes(tmp_path, table, copied, named, names, codes, others):
    if copied:
        api.ingest(table, tmp_path / "stored")
        table = tmp_path / "stored"
    api.ingest(table, tmp_path / "out", labels=named)
    scene = Scene.open(str(tmp_path / "out"))
    assert (scene.classes(), scene.labels()[:, 0].tolist()) == (names, codes)
    assert set(scene.layers) == {"labels", *others}
    assert scene.attrs["provenance"]["labels"] == named


def test_labels_name_a_file_or_a_column_and_say_what_there_is(tmp_path, table, monkeypatch):
    with pytest.raises(UserError, match="neither a file nor a column sort; expected a file, or one of variety, plot"):
        api.ingest(table, tmp_path / "out", labels="sort")
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "plot", np.array([3, 1, 0, 2]))
    shutil.move(tmp_path / "plot.npy", tmp_path / "plot")
    with pytest.raises(UserError, match="plot, a column and a file too"):
        api.ingest(table, tmp_path / "out", labels="plot")


def test_more_texts_than_classes_are_refused_as_labels_and_kept_as_a_column(tmp_path):
    cells = [f"n{k:03d}" for k in range(256)]
    path = written(tmp_path / "t.csv", spot=cells, target=cells)
    with pytest.raises(UserError, match=r"--labels spot: found 256 different texts, n000, .* at most 255 classes"):
        api.ingest(path, tmp_path / "out", labels="spot")
    notes = api.ingest(path, tmp_path / "out")["notes"]
    assert any("256 classes are more than 255: kept as column class_" in note for note in notes)
    assert texts(tmp_path / "out", "class_") == cells
    assert "labels" not in Scene.open(str(tmp_path / "out")).layers


def test_a_title_of_jcamp_is_a_class(tmp_path):
    head = "##XUNITS=1/CM\n##NPOINTS=2\n##XYPOINTS=(XY..XY)\n400 1\n402 2\n##END=\n"
    for name, title in (("a", "talc"), ("b", "mica"), ("c", "talc")):
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t" / f"{name}.jdx").write_text(f"##TITLE={title}\n{head}")
    api.ingest(tmp_path / "t", tmp_path / "folder", labels="title")
    (tmp_path / "all.jdx").write_text("".join((tmp_path / "t" / f"{n}.jdx").read_text() for n in "abc"))
    api.ingest(tmp_path / "all.jdx", tmp_path / "all", labels="sample")
    for name in ("folder", "all"):
        scene = Scene.open(str(tmp_path / name))
        assert (scene.classes(), scene.labels()[:, 0].tolist()) == (("mica", "talc"), [1, 0, 1])


def npy(path, cells):
    np.save(path.with_suffix(".npy"), np.array(cells))
    return path.with_suffix(".npy")


def npz(path, cells):
    np.savez(path.with_suffix(".npz"), wl=np.arange(3), variety=np.array(cells))
    return f"{path.with_suffix('.npz')}:variety"


def mat(path, cells):
    scipy.io.savemat(path.with_suffix(".mat"), {"wl": np.arange(3), "variety": np.array(cells, object)})
    return f"{path.with_suffix('.mat')}:variety"


def mat_of_characters(path, cells):
    scipy.io.savemat(path.with_suffix(".mat"), {"wl": np.arange(3), "variety": np.array(cells)})
    return f"{path.with_suffix('.mat')}:variety"


def hdf5(path, cells):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["wl"], file["variety"] = np.arange(3), np.array(cells, object)
    return f"{path.with_suffix('.h5')}:variety"


def hdf5_of_bytes(path, cells):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["wl"], file["variety"] = np.arange(3), np.array(cells, "S")
    return f"{path.with_suffix('.h5')}:variety"


def netcdf(path, cells):
    xr.Dataset({"variety": ("spectrum", np.array(cells))}).to_netcdf(path.with_suffix(".nc"))
    return f"{path.with_suffix('.nc')}:variety"


@pytest.mark.parametrize("write", [npy, npz, mat, mat_of_characters, hdf5, hdf5_of_bytes, netcdf])
def test_texts_in_an_array_are_classes(tmp_path, write):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((4, 5)))
    options = {"axes": "spectrum,band", "labels": str(write(tmp_path / "y", CELLS["variety"]))}
    api.ingest(tmp_path / "x.npy", tmp_path / "out", **options)
    scene = Scene.open(str(tmp_path / "out"))
    assert (scene.classes(), scene.labels()[:, 0].tolist()) == (("a b", "b"), [1, 255, 0, 1])
    short = options | {"labels": str(write(tmp_path / "z", ["a", "b"]))}
    with pytest.raises(UserError, match="2 x 1 labels; expected 4 x 1"):
        api.ingest(tmp_path / "x.npy", tmp_path / "no", **short)
