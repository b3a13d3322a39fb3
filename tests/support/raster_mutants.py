"""Damaged ENVI headers and TIFF files, read in processes of their own, each of which a crash or a hang may end.

Run by itself it prints what became of them as JSON: ``python raster_mutants.py envi 100000 FIRST``.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

HANG = int(os.environ.get("MUTANT_SECONDS", "10"))
"""The seconds after which a file counts as one that is never read."""
BATCH = 250
HEADER = """ENVI
description = {
  A line of a camera; tint = 3}
samples = 5
lines   = 4
bands   = 3
header offset = 0
file type = ENVI Standard
data type = 12
interleave = bil
byte order = 0
map info = {UTM, 1.500, 1.500, 676960.169, 4254967.460, 2.0, 2.0, 10, North, WGS-84, units=Meters, rotation=103.0}
coordinate system string = {PROJCS["UTM",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,
298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],
PARAMETER["False_Easting",500000.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-123.0],
PARAMETER["Scale_Factor",0.9996],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]}
wavelength units = Micrometers
wavelength = {0.4, 0.55, 0.7}
fwhm = {.01, .01, .02}
bbl = {1, 0, 1}
band names = {blue, green, red}
default bands = {3,2,1}
data ignore value = 65535
data gain values = {0.1, 0.2, 0.1}
data offset values = {0, 1, 0}
classes = 3
class names = {soil, leaf, stem}
tint = 10 ms
"""
WORDS = (
    *(
        b"=",
        b"{",
        b"}",
        b",",
        b";",
        b"\n",
        b"\0",
        b"-1",
        b"0",
        b"1e400",
        b"nan",
        b"inf",
        b"99999999999999999999",
        b"\xff",
    ),
    *(
        b"samples = 3\n",
        b"bands = 1000000000\n",
        b"lines = 0\n",
        b"wavelengths = {1 2 3}\n",
        b"bbl = {}\n",
        b"rotation=180",
    ),
    *(
        b"Geographic Lat/Lon",
        b"units=Feet",
        b"reflectance scale factor = 0\n",
        b"interleave = bsq\n",
        b"data type = 6\n",
    ),
)


def changed(base, rng):
    """Return bytes with one to four changes: bits, words, and parts that are lost, doubled or exchanged."""
    data = bytearray(base)
    for _ in range(int(rng.integers(1, 5))):
        at, kind = int(rng.integers(len(data) + 1)), int(rng.integers(6))
        size = int(rng.integers(1, 40))
        other = int(rng.integers(len(data) + 1))
        if kind == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and at < len(data):
            data[at] = int(rng.integers(256))
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = data[other : other + size]
        elif kind == 4:
            data[at : at + size] = data[other : other + size]
        else:
            data[at:at] = WORDS[int(rng.integers(len(WORDS)))]
    return bytes(data)


def tiffs():
    """Return small whole TIFF files of several layouts."""
    import rasterio

    warnings.simplefilter("ignore")
    values = np.random.default_rng(0).integers(0, 4000, (3, 20, 18)).astype(np.uint16)
    layouts = (
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate", "interleave": "pixel"},
        {"compress": "lzw", "predictor": 2, "nodata": 7},
        {"BIGTIFF": "YES"},
    )
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 1000, 0, -2, 2000)}
    out = []
    for number, layout in enumerate(layouts):
        with rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", width=18, height=20, count=3, dtype="uint16", **place, **layout) as raster:
                raster.write(values)
                raster.update_tags(1, wavelength="450", wavelength_units="nm")
                if number == 0:
                    raster.scales = (0.1, 0.2, 0.1)
            out.append(memory.read())
    return out


def envi_case(folder, seed):
    """Write the files of one damaged header and return the path."""
    rng = np.random.default_rng((1, seed))
    (folder / "x.hdr").write_bytes(changed(HEADER.encode(), rng))
    data = folder / "x.img"
    if not data.exists():
        data.write_bytes(np.arange(60, dtype="<u2").tobytes())
    return folder / "x.hdr"


def tiff_case(folder, seed, bases=[]):  # noqa: B006 - made once for each process
    """Write one damaged TIFF and return the path."""
    if not bases:
        bases.extend(tiffs())
    rng = np.random.default_rng((2, seed))
    path = folder / "x.tif"
    path.write_bytes(changed(bases[seed % len(bases)], rng))
    return path


CASES = {"envi": envi_case, "tiff": tiff_case}


def read(kind, path):
    """Return what becomes of a file: refused, or read as a cube whose facts belong together."""
    from tilespec.core.errors import UserError
    from tilespec.ingest.readers.envi import read_envi
    from tilespec.ingest.readers.image import read_image
    from tilespec.ingest.readers.source import Options

    reader = {"envi": read_envi, "tiff": read_image}[kind]
    try:
        source = reader(path, Options())
        facts = source.facts
        rows = [source.read_rows(y, y + 1) for y in {0, facts.shape[0] - 1}]
    except UserError:
        return "refused"
    height, width, bands = facts.shape
    assert min(facts.shape) > 0, facts.shape
    assert all(block.shape == (1, width, bands) and block.dtype == facts.dtype for block in rows), facts.shape
    axis = facts.spectral
    if axis is not None:
        lists = [axis.values, *(values for values in (axis.fwhm, axis.good) if values is not None)]
        assert all(len(values) == bands for values in lists)
        assert np.isfinite(axis.values).all()
    if facts.georef is not None:
        numbers = [float(word) for word in facts.georef["GeoTransform"].split()]
        assert len(numbers) == 6
        assert np.isfinite(numbers).all()
    assert np.isfinite(facts.scale)
    assert all(isinstance(text, str) for pair in facts.header.items() for text in pair)
    if kind == "envi":
        assert height * width * bands * rows[0].dtype.itemsize >= 1
    return "read"


def work(kind, first, last, folder, write):
    """Read the files of some seeds and write what became of each; the alarm ends a process that hangs."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    warnings.simplefilter("ignore")
    for seed in range(first, last):
        path = CASES[kind](folder, seed)
        signal.alarm(HANG)
        try:
            fate = read(kind, path)
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            at = traceback.extract_tb(error.__traceback__)[-1]
            fate = f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})"[:300]
        signal.alarm(0)
        os.write(write, (json.dumps(fate) + "\n").encode())


def batch(kind, first, last, folder):
    """Return the fates of some files, read in a fork; the last one is that of a crash or a hang."""
    source, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(source)
        try:
            work(kind, first, last, folder, write)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(source) as lines:
        verdicts = [json.loads(line) for line in lines]
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [*verdicts, f"ended by signal {-code}"] if code else verdicts


def fates(kind, count, first=0):
    """Return how many files were read and refused, and the fates of all others by their seeds."""
    verdicts = []
    tiffs()  # what a fork would have to import
    with tempfile.TemporaryDirectory() as folder:
        while len(verdicts) < count:
            start = first + len(verdicts)
            verdicts += batch(kind, start, min(start + BATCH, first + count), Path(folder))
    faults = {first + i: fate for i, fate in enumerate(verdicts) if fate not in ("read", "refused")}
    return Counter(fate for fate in verdicts if fate in ("read", "refused")), faults


if __name__ == "__main__":
    kind, count, first = sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or ["0"])[0])
    total, faults = fates(kind, count, first)
    print(  # noqa: T201
        json.dumps({"kind": kind, "files": count, "read": total["read"], "refused": total["refused"], "faults": faults})
    )
