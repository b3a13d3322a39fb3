"""Damaged files, one after another, in processes of their own: ``fuzz_process.py KIND FOLDER COUNT SEED`` prints JSON.

Each file is a whole one with some bytes changed, cut, or doubled. A reader may refuse it with a message, or read it as
a sane cube; every traceback, crash and hang is listed with the damage that leads to it.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import h5py
import numpy as np
import scipy.io

from tilespec.core.errors import UserError
from tilespec.ingest.readers import apart, arrays, hdf5, hdf5_process, matlab, matlab_process, netcdf, zarr_arrays
from tilespec.ingest.readers.reader_table import open_source
from tilespec.ingest.readers.source import Options

SECONDS, PATIENCE = 20, 300
"""The time for one file, of the processor and by the clock."""
BYTES = 6 << 30
"""The address space of a process that reads."""
VALUES = np.random.default_rng(0).integers(0, 60000, (6, 5, 4)).astype(np.uint16)
WAVES = np.linspace(450, 850, 4)


PRELOADED = (arrays, netcdf, zarr_arrays)
"""The readers that a fork need not import again."""


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("cube", data=VALUES, chunks=(4, 5, 4), compression="gzip")
        file["wavelength"], file["fwhm"] = WAVES, np.full(4, 5.0)
        file["wavelength"].attrs["units"] = "nm"
        file["cube"].attrs["scale_factor"] = 1e-4


def write_netcdf(path):
    with h5py.File(path, "w") as file:
        for name, values in (("y", 10.0 - np.arange(6)), ("x", np.arange(5.0)), ("wavelength", WAVES)):
            file[name] = values
            file[name].make_scale(name)
            file[name].attrs["units"] = np.bytes_("nm" if name == "wavelength" else "m")
        file["refl"] = VALUES.astype("i2")
        for axis, name in enumerate(("y", "x", "wavelength")):
            file["refl"].dims[axis].attach_scale(file[name])
        file["refl"].attrs.update({"_FillValue": np.int16(-1), "add_offset": 0.5, "scale_factor": 1e-4})
        file["crs"] = np.int32(0)
        file["crs"].attrs["spatial_ref"], file["refl"].attrs["grid_mapping"] = "EPSG:32633", "crs"


def write_mat(path):
    scipy.io.savemat(path, {"cube": VALUES, "wavelength_nm": WAVES, "names": ["a", "b"]}, do_compression=False)


def write_npy(path):
    np.save(path, VALUES)


def write_npz(path):
    np.savez_compressed(path, cube=VALUES, wavelength_nm=WAVES)


def write_zarr(path):
    import zarr

    group = zarr.create_group(path)
    group.create_array("refl", data=VALUES, chunks=(4, 5, 4), dimension_names=("y", "x", "band"))
    group["refl"].attrs.update({"scale_factor": 1e-4, "_FillValue": 65535, "grid_mapping": "spatial_ref"})
    for name, values, dim in (
        ("y", 10.0 - np.arange(6), "y"),
        ("x", np.arange(5.0), "x"),
        ("wavelength", WAVES, "band"),
    ):
        group.create_array(name, data=values, dimension_names=(dim,)).attrs["units"] = "nm" if dim == "band" else "m"
    group.create_array("spatial_ref", data=np.int64(0)).attrs["crs_wkt"] = "EPSG:32633"


KINDS = {
    "hdf5": (write_hdf5, "x.h5"),
    "netcdf": (write_netcdf, "x.nc"),
    "mat": (write_mat, "x.mat"),
    "npy": (write_npy, "x.npy"),
    "npz": (write_npz, "x.npz"),
    "zarr": (write_zarr, "x.zarr"),
}


def damaged(data, rng):
    """Return bytes with one kind of damage: changed bits, bytes or words, a cut, a piece left out or doubled."""
    data = bytearray(data)
    kind, at = rng.integers(6), int(rng.integers(len(data)))
    if kind == 0:
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        data[at : at + 4] = [b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x80"][int(rng.integers(4))]
    elif kind == 2:
        data[at : at + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(1, 9)))
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        del data[at : at + int(rng.integers(1, 64))]
    else:
        data[at:at] = data[at : at + int(rng.integers(1, 64))]
    return bytes(data)


WORDS = [None, -1, 0, 1, "", [], {}, 1e400, "NaN", True, 2**64, "AAAAAAAA+H8=", "nm", [1, 2], 0.5, [-5, 1, 1]]


def leaves(node, path=()):
    """Yield the paths of all values of a JSON text, lists and objects among them."""
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from leaves(value, (*path, key))


def damaged_json(data, rng):
    """Return JSON text with a value exchanged, or with damage as of any file."""
    if rng.integers(4) == 0:
        return damaged(data, rng)
    root = {"": json.loads(data)}
    paths = list(leaves(root[""]))
    path = ("", *paths[int(rng.integers(len(paths)))])
    node = root
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = WORDS[int(rng.integers(len(WORDS)))]
    return json.dumps(root[""]).encode()


@contextmanager
def forked(script, path, *names, seconds):
    """Run a parser in a fork, where `apart.run_apart` starts a process: the same, and 50 times faster."""
    with TemporaryFile() as out:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            try:
                {"matlab_process": matlab_process, "hdf5_process": hdf5_process}[script.stem].main(str(path), *names)
                sys.stdout.flush()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - whatever a parser raises
                os._exit(1)
        code = waited(child, seconds)
        if code:
            raise apart._unreadable(path, apart._why(code, b""))
        out.seek(0)
        yield out


def waited(child, seconds):
    """Return the exit code of a child, negative for a signal; a child that hangs is killed."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGALRM
        time.sleep(0.002)


def judge(path):
    """Return "refused", "cube", or what is wrong with a file as it is read."""
    try:
        source = open_source(str(path), Options())
        facts = source.facts
        rows = np.asarray(source.read_rows(0, facts.shape[0]))
        for layer in facts.layers:
            layer.read(0, facts.shape[0])
    except UserError as error:
        return "refused" if str(path) in str(error) or path.name in str(error) else f"no file is named: {error}"
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__}: {error}"[:200]
    axis = facts.spectral
    sane = rows.shape == facts.shape and min(facts.shape) > 0 and facts.dtype.kind in "iuf" and np.isfinite(facts.scale)
    sane = sane and (axis is None or (len(axis.values) == facts.shape[2] and np.isfinite(axis.values).all()))
    return "cube" if sane else f"not sane: {facts.shape} {facts.dtype} {facts.scale}"


def spoil(kind, whole, folder, rng):
    """Write a damaged copy and return its path."""
    if kind == "zarr":
        files, copy = sorted(whole.rglob("zarr.json")), folder / "bad.zarr"
        shutil.copytree(whole, copy, dirs_exist_ok=True)
        spoiled = files[int(rng.integers(len(files)))]
        (copy / spoiled.relative_to(whole)).write_bytes(damaged_json(spoiled.read_bytes(), rng))
        return copy
    copy = folder / f"bad{whole.suffix}"
    copy.write_bytes(damaged(whole.read_bytes(), rng))
    return copy


def batch(kind, whole, folder, seed, first, last):
    """Judge files ``first`` to ``last`` in a fork; return their verdicts, which end at one that crashes or hangs."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        for number in range(first, last):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor: the machine may be busy
            signal.alarm(PATIENCE)
            path = spoil(kind, whole, folder, np.random.default_rng([seed, number]))
            os.write(write, (json.dumps(judge(path)) + "\n").encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        verdicts = [json.loads(line) for line in lines]
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return verdicts if not code else [*verdicts, f"crashed or hung: exit {code}"]


def main(kind, folder, count, seed):
    matlab.run_apart = hdf5.run_apart = forked
    hdf5.SECONDS = matlab.SECONDS = SECONDS / 4
    folder, (write, name) = Path(folder), KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / name
    if kind == "zarr":  # in another process: a fork must not inherit the threads that Zarr starts
        code = "import sys; sys.path[:0] = sys.argv[1:2]; import fuzz_process as f; f.write_zarr(sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(whole)], check=True)
    else:
        write(whole)
    verdicts = []
    while len(verdicts) < int(count):
        step = min(len(verdicts) + 100, int(count))
        verdicts += batch(kind, whole, folder, int(seed), len(verdicts), step)
    faults = {f"{kind} {seed} {n}": v for n, v in enumerate(verdicts) if v not in ("refused", "cube")}
    counts = {key: verdicts.count(key) for key in ("refused", "cube")}
    sys.stdout.write(json.dumps({"files": len(verdicts), **counts, "faults": faults}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
