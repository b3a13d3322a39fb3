"""OPUS: what is in a file comes in as two other readers say it, in any order; what contradicts itself is refused."""

import random
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from opus_files import KEPT, SERIES, opus, sample, spectrum

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.ingest.readers.opus import read_opus
from tilespec.ingest.readers.reader_table import open_source
from tilespec.ingest.readers.source import Options
from tilespec.storage.layout import class_names
from tilespec.storage.scene import Scene

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it has escapes in its texts that Python warns of
    from brukeropus import read_opus as oracle

VALUES = np.array([0.25, 1.5, -2.0, 3.0, 0.0], np.float32)
NUMBERS = st.floats(-1e6, 1e6, width=32)


def written(folder, *blocks, name="a.0"):
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(opus([block for pair in blocks for block in pair]))
    return path


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(NUMBERS, min_size=1, max_size=30),
    ends=st.tuples(st.floats(0.5, 15000), st.floats(0.5, 15000)),
    name=st.sampled_from(["AB", "TR", "RFL", "RAM", "ScSm"]),
    seed=st.randoms(use_true_random=False),
)
def test_a_spectrum_comes_in_in_any_order_of_blocks_as_brukeropus_reads_it(tmp_path_factory, values, ends, name, seed):
    blocks = [*spectrum(name, values, *ends), *spectrum("IgSm", [1, 2, 3], DXU="PNT"), *sample("soil 1")]
    random.Random(seed.random()).shuffle(blocks)
    path = written(tmp_path_factory.mktemp("o"), blocks)
    found = read_opus(path)
    assert_array_equal(found.values, np.array([values], np.float32))
    assert_allclose(found.axis, np.linspace(*ends, len(values)))
    assert (found.unit, found.names, found.notes, found.header["CNM"]) == ("cm-1", ("soil 1",), (), "né")
    theirs = getattr(oracle(str(path)), {"AB": "a", "TR": "t", "RFL": "r", "RAM": "ra", "ScSm": "sm"}[name])
    assert_array_equal(theirs.y, found.values[0].astype(np.float32))
    assert_allclose(theirs.x, found.axis)


def test_whole_numbers_have_a_factor_and_micrometres_become_nanometres(tmp_path):
    path = written(tmp_path, spectrum("AB", [1.5, -2.0, 7.0], 1.0, 2.0, DPF=2, CSF=0.5, DXU="MI"))
    api.ingest(path, tmp_path / "out")
    with xr.open_zarr(tmp_path / "out") as table:
        assert_array_equal(table.cube, [[1.5, -2, 7]])
        assert_allclose(table.wavelength, [1000, 1500, 2000])
        assert class_names(table.sample.attrs) == ("a.0",)


def test_of_several_spectra_of_a_kind_the_current_one_is_taken(tmp_path):
    first, again, last = (spectrum("AB", VALUES + k, kept=KEPT if k == 0 else 0) for k in range(3))
    for blocks in ((first, again, last), (again, last, first)):
        found = read_opus(written(tmp_path, *blocks))
        assert_array_equal(found.values[0], VALUES + 2)
        assert found.notes == (f"{tmp_path / 'a.0'}: AB: of 3 in the file, the one stored last",)


def test_several_results_are_refused_until_one_is_named(tmp_path):
    parts = spectrum("AB", VALUES), spectrum("TR", VALUES + 1), spectrum("ScSm", VALUES + 2), spectrum("ScRf", VALUES)
    path = written(tmp_path, *parts)
    with pytest.raises(UserError, match=r"a.0: found AB, TR, ScSm, ScRf; .* --variable AB"):
        api.ingest(path, tmp_path / "out")
    with pytest.raises(UserError, match="KM: found AB, TR, ScSm, ScRf"):
        api.ingest(path, tmp_path / "out", variable="KM")
    with pytest.raises(UserError, match=r"--axes: found 'band,spectrum' for a.0"):
        api.ingest(path, tmp_path / "out", variable="AB", axes="band,spectrum")
    for place, (name, added) in enumerate({"tr": 1, "ScSm": 2}.items()):
        api.ingest(path, tmp_path / f"out{place}", variable=name)
        with xr.open_zarr(tmp_path / f"out{place}") as table:
            assert_array_equal(table.cube, [VALUES + added])
    assert_array_equal(read_opus(written(tmp_path, *parts[2:])).values[0], VALUES + 2)


def test_a_folder_has_a_spectrum_of_each_file_with_its_title_and_a_class_by_its_folder(tmp_path):
    for k, name in enumerate(("soil/a.0", "soil/a.1", "leaf/b.0003")):
        parts = spectrum("AB", VALUES + k), spectrum("TR", VALUES), sample(f"title {k % 2}")
        written(tmp_path, *parts, name=f"t/{name}")
    api.ingest(tmp_path / "t", tmp_path / "out", variable="AB")
    scene = Scene.open(str(tmp_path / "out"))
    assert_array_equal(scene.read(scene.roi)[:, 0], [VALUES + 2, VALUES, VALUES + 1])
    assert (scene.classes(), scene.labels()[:, 0].tolist()) == (("leaf", "soil"), [0, 1, 1])
    assert scene.classes("sample") == ("a.0", "a.1", "b.0003")
    assert (scene.classes("title"), scene.plane("title").read(scene.roi)[:, 0].tolist()) == (
        ("title 0", "title 1"),
        [0, 0, 1],
    )
    (tmp_path / "t" / "soil" / "c.csv").write_text("cm-1,v\n4000,1\n3100,2\n2200,3\n1300,4\n400,5\n")
    with pytest.raises(UserError, match="--variable: found 'AB' for t"):
        api.ingest(tmp_path / "t", tmp_path / "again", variable="AB")


AB = spectrum("AB", VALUES)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (spectrum("AB", VALUES, NPT=6), "NPT=6 of AB; expected 1 to 5"),
        (spectrum("AB", VALUES, NPT=0), "NPT=0 of AB"),
        (spectrum("AB", VALUES, NPT=None), "NPT=none of AB; expected a number"),
        (spectrum("AB", VALUES, FXV=float("nan")), "FXV=nan of AB"),
        (spectrum("AB", VALUES, LXV="far"), "LXV=far of AB"),
        (spectrum("AB", VALUES, CSF=None), "CSF=none of AB"),
        (spectrum("AB", VALUES, DPF=3), "DPF=3 of AB; expected 1 for floats, or 2 for integers"),
        (spectrum("AB", VALUES, DXU="MIN"), "AB: found an axis in DXU=MIN; expected a spectrum, in DXU=WN or MI"),
        (AB[:1], "1 blocks of AB, and 0 of their parameters"),
        ([*AB, AB[1]], "1 blocks of AB, and 2 of their parameters"),
        ([AB[0], (AB[1][0], AB[1][1][:6] + b"\xff" + AB[1][1][7:])], "a parameter inside its block"),
        (spectrum("AB", VALUES, bits=SERIES), "no spectrum, or none but series"),
        (spectrum("IgSm", VALUES, DXU="PNT"), "found IgSm; expected one result"),
        (sample("none"), "no spectrum"),
    ],
)
def test_blocks_that_do_not_agree_are_refused(tmp_path, blocks, message):
    with pytest.raises(UserError, match=message):
        api.ingest(written(tmp_path, blocks), tmp_path / "out")
    assert not (tmp_path / "out").exists()


WHOLE = opus([*spectrum("AB", VALUES), *sample("soil")])


def test_a_file_that_ends_early_is_refused_wherever_it_ends(tmp_path):
    for length in range(4, len(WHOLE)):
        (tmp_path / "a.0").write_bytes(WHOLE[:length])
        with pytest.raises(UserError, match=r"a.0: found .*; expected"):
            open_source(str(tmp_path / "a.0"), Options())


@settings(max_examples=80, deadline=None)
@given(at=st.integers(4, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_a_damaged_byte_is_refused_or_leaves_a_spectrum(tmp_path_factory, at, byte):
    path = tmp_path_factory.mktemp("o") / "a.0"
    path.write_bytes(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    try:
        source = open_source(str(path), Options())
    except UserError as error:
        assert "a.0" in str(error)  # noqa: PT017 - most of them are refused, which ones depends on the byte
    else:
        values = source.read_rows(0, 1)
        assert values.shape == source.facts.shape
        assert source.facts.shape[2] <= len(VALUES)


def test_values_that_are_not_those_of_the_file_are_said(tmp_path):
    path = written(tmp_path, spectrum("AB", VALUES, MXY=9.0))
    assert read_opus(path).notes == (f"{path}: AB: values from -2 to 3, not MXY=9",)


def test_a_number_at_the_end_of_a_name_is_no_sign_of_opus(tmp_path):
    (tmp_path / "a.0").write_text("nm,v\n400,1\n")
    with pytest.raises(UserError, match=r"a.0"):
        api.ingest(tmp_path / "a.0", tmp_path / "out")
