"""Damaged HDF5, NetCDF, MATLAB, NumPy and Zarr files: refused with a message that names them, or read as sane cubes.

``MUTANTS=10000 pytest -m slow tests/faults/test_fuzz_readers.py`` damages as many of each kind.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import zarr
from fuzz_process import KINDS

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.ingest.readers import hdf5, matlab
from tilespec.ingest.readers.apart import run_apart
from tilespec.storage.scene import Scene

SCRIPT = Path(__file__).parents[1] / "support" / "fuzz_process.py"
FEW, MANY = 12, int(os.environ.get("MUTANTS", "2000"))
CUBE = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)


def fuzz(kind, folder, count, seed):
    done = subprocess.run(
        [sys.executable, SCRIPT, kind, folder, str(count), str(seed)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_some_damaged_files_are_refused_or_sane(tmp_path, kind):
    result = fuzz(kind, tmp_path / "x", FEW, 0)
    assert result["faults"] == {}
    assert result["files"] == FEW


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files_are_refused_or_sane(tmp_path, kind):
    result = fuzz(kind, tmp_path / "x", MANY, 1)
    assert result["faults"] == {}
    assert min(result["refused"], result["cube"]) > MANY / 100, "both happen, or the damage is no test"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashed with SIGSEGV"),
        ("import time; time.sleep(60)", "still ran after 1 s"),
        ("raise IndexError('of a parser')", "IndexError: of a parser"),
    ],
)
def test_a_parser_that_crashes_hangs_or_fails_is_one_message(tmp_path, text, why):
    script = tmp_path / "parser.py"
    script.write_text(text)
    with pytest.raises(UserError, match=f"x.mat: found a file that cannot be read .*{why}"):  # noqa: SIM117
        with run_apart(script, tmp_path / "x.mat", seconds=1 if "sleep" in text else 30):
            pass


@pytest.mark.parametrize("script", [hdf5.SCRIPT, matlab.SCRIPT])
def test_a_parser_ends_by_itself_when_nobody_waits_for_it(tmp_path, script):
    os.mkfifo(tmp_path / "x")  # opening it waits for ever
    done = subprocess.run([sys.executable, "-P", script, "2", tmp_path / "x"], timeout=60, check=False)
    assert done.returncode == -signal.SIGALRM


def test_a_mat_file_is_read_apart_and_whole(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"cube": CUBE, "wavelength_nm": [1.0, 2, 3, 400]}, do_compression=True)
    api.ingest(tmp_path / "x.mat", tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    np.testing.assert_array_equal(scene.read(scene.roi), CUBE)
    assert scene.spectral.values == (1, 2, 3, 400)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5", ".nc", ".hdr", ".tif"])
def test_a_pipe_is_refused_at_once(tmp_path, suffix):
    os.mkfifo(tmp_path / f"x{suffix}")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(20)
    try:
        with pytest.raises(UserError, match="found a pipe, a socket or a device"):
            api.ingest(tmp_path / f"x{suffix}", tmp_path / "scene")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_an_npy_header_that_is_no_python_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", CUBE)
    data = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(data.replace(b"(6, 5, 4)", b"(6, 5, 4("))
    with pytest.raises(UserError, match=r"x\.npy: found a file that cannot be read"):
        api.ingest(tmp_path / "x.npy", tmp_path / "scene")


@pytest.fixture
def store(tmp_path):
    group = zarr.create_group(tmp_path / "store")
    group.create_array("cube", data=CUBE, dimension_names=("y", "x", "band"))
    return tmp_path / "store"


def changed(path, **fields):
    node = json.loads(path.read_text())
    path.write_text(json.dumps(node | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [0, 5, 4]},
        {"shape": [-6, 5, 4]},
        {"shape": [10**9, 10**9, 4]},
        {"shape": "six"},
        {"node_type": "leaf"},
        {"codecs": [{"name": "of_nobody"}]},
        {"codecs": None},
        {"data_type": "complex128"},
        {"data_type": "of_nobody"},
        {"attributes": {"scale_factor": "much"}},
        {"attributes": {"_FillValue": "none"}},
        {"zarr_format": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["fit", "info", "ingest", "export"])
def test_metadata_of_an_array_that_are_none_are_one_message_from_every_verb(store, tmp_path, fields, verb):
    changed(store / "cube" / "zarr.json", **fields)
    verbs = {
        "fit": lambda: api.fit(str(store), str(tmp_path / "recipe"), steps="mean"),
        "info": lambda: api.info(str(store)),
        "ingest": lambda: api.ingest(str(store), str(tmp_path / "scene")),
        "export": lambda: api.export(str(store), str(tmp_path / "x.nc")),
    }
    with pytest.raises(UserError, match=r"store(/cube/zarr\.json|: cube)?"):
        verbs[verb]()


def test_files_that_are_no_arrays_are_passed_over_without_a_warning(store, tmp_path, recwarn):
    (store / ".DS_Store").write_text("of a desktop")
    (store / "notes.txt").write_text("of a person")
    (store / "folder").mkdir()
    recwarn.clear()
    api.info(str(store))
    api.ingest(str(store), str(tmp_path / "scene"))
    assert [str(one.message) for one in recwarn] == []
