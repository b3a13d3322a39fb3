"""Files of instruments: JCAMP-DX in all its forms, and SPC; what their checks contradict is refused."""

import struct
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.ingest.readers.jcamp import read_jcamp
from tilespec.ingest.readers.spc import read_spc
from tilespec.storage.layout import class_names

SQUEEZED, DIFFERENCES, REPEATS = "ihgfedcba@ABCDEFGHI", "rqponmlkj%JKLMNOPQR", "STUVWXYZs"
FORMS = ("plain", "packed", "squeezed", "differences", "repeats")


def lettered(number, letters, least=-9):
    """Write a whole number with its sign and its first digit as a letter."""
    digits = str(abs(number))
    return letters[int(digits[0]) * (1 if number >= 0 else -1) - least] + digits[1:]


def encoded(values, form, start):
    """Write whole numbers as a line of JCAMP-DX that begins at a place."""
    if form == "plain":
        return " ".join(map(str, [start, *values]))
    if form == "packed":
        return str(start) + "".join(f"{value:+d}" for value in values)
    words = [lettered(values[0], SQUEEZED)]
    steps = form != "squeezed"
    words += [lettered(b - a if steps else b, DIFFERENCES if steps else SQUEEZED) for a, b in pairwise(values)]
    if form == "repeats":
        runs = []
        for i, word in enumerate(words):
            if i > 1 and runs[-1][0] == word:
                runs[-1][1] += 1
            else:
                runs.append([word, 1])
        words = [word + (lettered(n, REPEATS, 1) if n > 1 else "") for word, n in runs]
    return str(start) + "".join(words)


def jdx(values, form="plain", width=6, units="1/CM", title="a sample", factor=0.5, **labels):
    """Write a block; lines after differences begin with the last value of the line before."""
    checked, lines, at = form in ("differences", "repeats"), [], 0
    while at < len(values):
        begin = at - 1 if checked and at else at
        lines.append(encoded(values[begin : at + width], form, 400 + 2 * begin))
        at += width
    last = 400 + 2 * (len(values) - 1)
    fields = {"TITLE": title, "JCAMP-DX": "4.24", "DATA TYPE": "RAMAN SPECTRUM", "XUNITS": units, "YUNITS": "COUNTS"}
    fields |= {"FIRSTX": 400, "LAST X": last, "NPOINTS": len(values), "XFACTOR": 1, "YFACTOR": factor} | labels
    head = "".join(f"##{label}={value}\n" for label, value in fields.items())
    return head + "##XYDATA=(X++(Y..Y)) $$ comment\n" + "\n".join(lines) + "\n##END=\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1200, 1200), min_size=2, max_size=40), st.sampled_from(FORMS), st.integers(2, 8))
def test_every_form_of_jcamp_holds_the_same_numbers(tmp_path_factory, values, form, width):
    path = tmp_path_factory.mktemp("j") / "a.jdx"
    path.write_text(jdx(values, form, width))
    spectra = read_jcamp(path)
    assert_array_equal(spectra.values[0], np.array(values) / 2)
    assert_allclose(spectra.axis, 400 + 2 * np.arange(len(values)))


@pytest.mark.parametrize(
    "line", ["0 1 2 3 3 2 1 0 -1 -2 -3", "0+1+2+3+3+2+1+0-1-2-3", "0ABCCBA@abc", "0AJJ%jjjjjj", "0AJT%jX"]
)
def test_the_example_of_the_standard_reads_alike_in_all_forms(tmp_path, line):
    path = tmp_path / "a.dx"
    head = "##TITLE=\n##XUNITS=NANOMETERS\n##FIRSTX=0\n##LASTX=9\n##NPOINTS=10\n##YFACTOR=1.0E+00\n"
    path.write_text(f"{head}##XYDATA=(X++(Y..Y))\n{line}\n##END=\n")
    assert read_jcamp(path).values.tolist() == [[1, 2, 3, 3, 2, 1, 0, -1, -2, -3]]


def test_blocks_and_points_become_spectra_with_their_titles(tmp_path):
    points = (
        "##TITLE=b\n##XUNITS=1/CM\n##NPOINTS=3\n##YFACTOR=2\n##XYPOINTS=(XY..XY)\n400, 1.5; 402, 2\n404 3\n##END=\n"
    )
    link = "##TITLE=all\n##DATA TYPE=LINK\n##BLOCKS=2\n"
    (tmp_path / "a.jdx").write_text(link + jdx([3, 4, 5], title="a") + points + "##END=\n")
    api.ingest(tmp_path / "a.jdx", tmp_path / "out")
    with xr.open_zarr(tmp_path / "out") as table:
        assert_array_equal(table.cube, [[1.5, 2, 2.5], [3, 4, 6]])
        assert_allclose(table.wavenumber, [400, 402, 404])
        assert class_names(table.sample.attrs) == ("a", "b")


def test_a_folder_of_instrument_files_is_a_table(tmp_path):
    for name, values in (("x/b", [1, 2, 3]), ("x/a", [4, 5, 6]), ("y/c", [7, 8, 9])):
        (tmp_path / "t" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "t" / f"{name}.jdx").write_text(jdx(values, "differences"))
    (tmp_path / "t" / "y" / "d.txt").write_text("shift cm-1,v\n400,1\n402,2\n404,3\n")
    with pytest.raises(UserError, match=r"d.txt: found an axis in cm-1; expected 1/CM"):
        api.ingest(tmp_path / "t", tmp_path / "out")
    (tmp_path / "t" / "y" / "d.txt").unlink()
    api.ingest(tmp_path / "t", tmp_path / "out")
    with xr.open_zarr(tmp_path / "out") as table:
        assert_array_equal(table.cube, [[2, 2.5, 3], [0.5, 1, 1.5], [3.5, 4, 4.5]])
        assert_array_equal(table["class"], [0, 0, 1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("##NPOINTS=9", "##NPOINTS=8", "a line at|9 values; expected 8"),
        ("C%%", "D%%", r"the check \[4.0\] in .*; expected 3, the last value before"),
        ("\n404", "\n464", "a line at 464: .*; expected 404"),
        ("##END=\n", "", "no ##END="),
        ("##YFACTOR=0.5", "##YFACTOR=half", "##YFACTOR=half; expected a number"),
        ("##FIRSTX=400\n", "", "##FIRSTX=; expected a number"),
        ("(X++(Y..Y))", "(X++(R..R))", r"expected \(X\+\+\(Y..Y\)\)"),
        ("##XYDATA", "##PEAKTABLE", "no block with ##XYDATA"),
        ("400A", "400!A", "'!' in '400!A"),
        ("400A", "400J", "'J' in '400J"),
        ("##XUNITS=1/CM", "##XUNITS=furlongs", "furlongs|cannot"),
    ],
)
def test_jcamp_whose_checks_fail_is_refused(tmp_path, old, new, message):
    text = jdx([1, 2, 3, 3, 3, 3, 3, 3, 3], "differences", 3)
    assert old in text
    (tmp_path / "a.jdx").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        api.ingest(tmp_path / "a.jdx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def spc(values, *, exponent=-128, flags=0, unit=1, axis=None, version=0x4B, places=None):
    """Write the new form of SPC by its description; ``places`` are Z and W of each spectrum."""
    count, points = values.shape
    flags |= (4 if count > 1 else 0) | (128 if axis is not None else 0)
    head = struct.pack("<BBBbiddiBBBB", flags, version, 0, exponent, points, 400.0, 404.0, count, unit, 0, 0, 0)
    body = b"" if axis is None else np.asarray(axis, "<f4").tobytes()
    kind = "<f4" if exponent == -128 else "<i2" if flags & 1 else "<i4"
    for i, row in enumerate(values):
        scale = 1 if exponent == -128 else 2.0 ** (8 * np.dtype(kind).itemsize - exponent)
        z, w, after = (*((0, 0) if places is None else places[i]), 0)[:3]
        own = struct.pack("<BbhfffiifI", 0, exponent, i, z, after, 0, points, 0, w, 0)[:32]
        body += own.ljust(32, b"\0") + (np.round(row * scale) if scale > 1 else row).astype(kind).tobytes()
    return head.ljust(512, b"\0") + body


@pytest.mark.parametrize(("exponent", "flags", "step"), [(-128, 0, 0), (3, 0, 2**-29), (3, 1, 2**-13)])
@pytest.mark.parametrize("count", [1, 3])
def test_spc_holds_floats_and_scaled_integers(tmp_path, count, exponent, flags, step):
    values = np.random.default_rng(4).uniform(-3, 3, (count, 5)).astype(np.float32)
    (tmp_path / "a.spc").write_bytes(spc(values, exponent=exponent, flags=flags))
    spectra = read_spc(tmp_path / "a.spc")
    assert_allclose(spectra.values, values, atol=step)
    assert_allclose(spectra.axis, [400, 401, 402, 403, 404])
    assert (spectra.unit, len(spectra.names)) == ("cm-1", count)


def test_spc_comes_in_with_an_axis_that_is_listed(tmp_path):
    values = np.arange(10, dtype=np.float32).reshape(2, 5)
    (tmp_path / "a.spc").write_bytes(spc(values, unit=2, axis=[0.4, 0.5, 0.7, 0.8, 1.0]))
    api.ingest(tmp_path / "a.spc", tmp_path / "out")
    with xr.open_zarr(tmp_path / "out") as table:
        assert_array_equal(table.cube, values)
        assert_allclose(table.wavelength, [400, 500, 700, 800, 1000], rtol=1e-6)
        assert class_names(table.sample.attrs) == ("a_0", "a_1")


def test_a_map_in_spc_is_a_scene_and_what_was_not_varied_is_no_column(tmp_path):
    places = [(z, w) for w in (5.0, 5.5) for z in (-1.0, 0.0, 1.0)]
    values = np.arange(30, dtype=np.float32).reshape(6, 5)
    (tmp_path / "map.spc").write_bytes(spc(values[::-1], places=places[::-1]))
    api.ingest(tmp_path / "map.spc", tmp_path / "map", grid="z,w")
    with xr.open_zarr(tmp_path / "map") as scene:
        assert scene.cube.dims == ("y", "x", "band")
        assert_array_equal(scene.cube.values.reshape(6, 5), values)
        assert_array_equal(scene.position_x[0], [-1, 0, 1])
        assert_array_equal(scene.position_y[:, 0], [5, 5.5])
    assert read_spc(tmp_path / "map.spc").columns.keys() == {"z", "w"}
    (tmp_path / "line.spc").write_bytes(spc(values, places=[(z, 0) for z in range(6)]))
    api.ingest(tmp_path / "line.spc", tmp_path / "line")
    with xr.open_zarr(tmp_path / "line") as table:
        assert "w" not in table.variables
        assert_array_equal(table.z, range(6))


def test_places_of_even_steps_need_be_said_once(tmp_path):
    values, once = np.ones((3, 5), np.float32), [(5.0, 0.0, 7.0), (0.0, 0.0), (-0.0, 0.0)]
    (tmp_path / "even.spc").write_bytes(spc(values, places=once))
    assert read_spc(tmp_path / "even.spc").columns == {"z": ("5", "7", "9")}
    head = bytearray(spc(values))
    head[312:316] = struct.pack("<f", 0.25)
    (tmp_path / "step.spc").write_bytes(head)
    assert read_spc(tmp_path / "step.spc").columns == {"z": ("0", "0.25", "0.5")}
    (tmp_path / "other.spc").write_bytes(spc(values, places=once, flags=16))
    assert read_spc(tmp_path / "other.spc").columns == {"z": ("5", "0", "-0")}


@pytest.mark.parametrize(
    ("options", "cut", "message"),
    [
        ({"version": 0x4D}, None, "version 0x4d; expected version 0x4b"),
        ({"flags": 64}, None, "an axis for each spectrum"),
        ({}, 550, "550 bytes; expected 564 for 1 x 5 values"),
        ({}, 1, "no header"),
    ],
)
def test_spc_that_cannot_be_read_is_refused(tmp_path, options, cut, message):
    (tmp_path / "a.spc").write_bytes(spc(np.ones((1, 5)), **options)[:cut])
    with pytest.raises(UserError, match=message):
        api.ingest(tmp_path / "a.spc", tmp_path / "out")
