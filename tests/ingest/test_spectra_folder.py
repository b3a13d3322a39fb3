"""Folders of spectra: one text file each gives the same table as one file of all; classes are folders."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.ingest.readers.spectrum_text import read_two_columns
from tilespec.storage.scene import Scene

NAMES = ("a1", "a10", "b", "c2")
AXIS = np.array([400.25, 401.5, 402.75])
SPECTRA = np.random.default_rng(1).normal(size=(len(NAMES), len(AXIS)))


def one(folder, name, axis=AXIS, values=SPECTRA[0], title="Raman shift (cm-1),counts\n"):
    folder.mkdir(exist_ok=True, parents=True)
    lines = [f"{x!r},{y!r}\n" for x, y in zip(axis.tolist(), values.tolist(), strict=True)]
    (folder / name).write_text(title + "".join(lines))


def test_one_file_and_a_folder_of_files_are_the_same_table(tmp_path):
    for name, values in reversed(list(zip(NAMES, SPECTRA, strict=True))):
        one(tmp_path / "folder", f"{name}.csv", values=values)
    rows = [[x, *values] for x, values in zip(AXIS.tolist(), SPECTRA.T.tolist(), strict=True)]
    lines = [",".join(["wavenumber (cm-1)", *NAMES]), *(",".join(map(repr, row)) for row in rows)]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    header = ",".join(["sample", *map(str, AXIS)])
    lines = [f"{name},{','.join(map(repr, row))}" for name, row in zip(NAMES, SPECTRA.tolist(), strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join([header, *lines]))
    tables = []
    for name in ("folder", "all.csv", "rows.csv"):
        api.ingest(tmp_path / name, tmp_path / f"{name}.zarr", wavelength_unit="cm-1")
        with xr.open_zarr(tmp_path / f"{name}.zarr") as table:
            tables.append(table.load())
    for table in tables[1:]:
        assert_array_equal(table.cube, tables[0].cube)
        assert_array_equal(table.wavenumber, tables[0].wavenumber)
        assert_array_equal(table.sample, tables[0].sample)
    assert_array_equal(tables[0].cube, SPECTRA.astype(np.float32))
    assert tables[0].sample.flag_meanings.split() == list(NAMES)


def test_a_folder_for_each_class_gives_classes(tmp_path):
    for place, values in zip(("soil/b", "leaf/z", "soil/a", "leaf/b"), SPECTRA, strict=True):
        folder, name = place.split("/")
        one(tmp_path / "t" / folder, f"{name}.txt", values=values)
    (tmp_path / "t" / ".hidden").mkdir()
    (tmp_path / "t" / ".hidden" / "x.txt").write_text("no spectrum")
    api.ingest(tmp_path / "t", tmp_path / "out")
    scene = Scene.open(str(tmp_path / "out"))
    assert (scene.classes(), scene.labels()[:, 0].tolist()) == (("leaf", "soil"), [0, 0, 1, 1])
    assert scene.spectral.unit == "cm-1"
    assert_array_equal(scene.read(scene.roi)[:, 0], SPECTRA[[3, 1, 2, 0]].astype(np.float32))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("400,25 1,5\n401,5 2\n", ""),
        ("400.25\t1.5\n401.5\t2\n", ""),
        ("wavelength [nm];value\n400,25;1,5\n401,5;2\n", "nm"),
        ("#Laser (nm)=\t785\n#AxisUnit[1]=1/cm\n400.25\t1.5\r\n401.5\t2\r\n\n", "1/cm"),
        ("#Wave\t\t#Intensity\n4.0025e2\t1.5\n4.015e+02\t2\n", ""),
        ("400.25, 1.5,\n401.5, 2,\n", ""),
    ],
)
def test_files_of_instruments_are_read_with_their_titles_and_marks(tmp_path, text, unit):
    (tmp_path / "t.txt").write_text(text)
    spectrum = read_two_columns(tmp_path / "t.txt")
    assert spectrum.unit == unit
    assert_allclose(spectrum.axis, [400.25, 401.5])
    assert_allclose(spectrum.values, [[1.5, 2]])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "nm,v\n400.25,1\n401,2\n402.75,3\n", r"b.csv: found 401 at band 1; expected 401.5 as in a.csv"),
        ("b.csv", "nm,v\n400.25,1\n401.5,2\n", r"no band at band 2; expected 402.75"),
        ("b.csv", "um,v\n400.25,1\n401.5,2\n402.75,3\n", "an axis in um; expected nm as in a.csv"),
        ("b.csv", "nm,v\n400.25,1\n401.5,x\n402.75,3\n", "the text 'x'"),
        ("b.csv", "nm,v,w,z\n400.25,1,1,2\n401.5,1,2,2\n402.75,3,2,2\n", "4 columns"),
        ("b.csv", "400.25\n401.5\n402.75\n", "1 columns"),
        ("b.csv", "about these spectra\n", "no line of numbers"),
        ("a.txt", "nm,v\n400.25,1\n401.5,2\n402.75,3\n", "a.csv and a.txt; expected one file for each name"),
        ("soil/a.csv", "nm,v\n400.25,1\n401.5,2\n402.75,3\n", "a.csv beside them"),
    ],
)
def test_a_file_that_does_not_belong_is_named(tmp_path, name, text, message):
    one(tmp_path / "t", "a.csv", title="nm,v\n")
    (tmp_path / "t" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "t" / name).write_text(text)
    with pytest.raises(UserError, match=message):
        api.ingest(tmp_path / "t", tmp_path / "out")
    assert not (tmp_path / "out").exists()
