"""The floor of each stage: what must be done at the least, each term measured by itself, as well as it can be here.

    floor = reading + arithmetic on data in memory + writing

It is work for the same cores and the same memory (the page cache is warm), so the terms add up. ``beside`` holds what
was measured as well and is no part of the sum.

===========  =======================================================================================================
ingest       read: the counts into reused buffers; write: the same chunks through zarr with the same codec.
             Beside: the calibration in pieces that stay in the cache; the same bytes into plain files, with crc32c
fit          read, decoding included; check: crc32c; gram: BLAS on pieces in memory. Beside: VSN on the same pieces
transform    read, check; project: BLAS on pieces in memory; write: the scores into plain files; encode: crc32c
preprocess   read, check, twice; moments: BLAS; scale: subtract and multiply in memory; write: as above
patches      read, check: every object that holds a pixel of a patch, once; copy: the patches' bytes, once
===========  =======================================================================================================
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import numpy as np
import zarr
from envi_files import Counts, references
from job import Clock
from limit import checking, copying, quickest, writing
from plain import corners, vsn
from stage_job import Stage
from stored_bytes import Objects

from tilespec.core.cpu import one_blas_thread
from tilespec.storage.layout import CHUNK, compressors
from tilespec.storage.scene import Scene

PIECE = 2048
"""Pixels that stay in the cache."""
SAMPLE = 1 << 30
"""Bytes in memory that arithmetic is measured on."""
READ = 1 << 20
"""Bytes of a file that are read at once."""
KEPT = 166
"""Bands that the work `preprocess` keeps."""

Terms = dict[str, float]


def ingest(job: Stage, clock: Clock) -> dict[str, object]:
    counts = Counts.open(job.source)
    pixels = counts.lines * counts.samples
    stored = pixels * counts.bands * 4
    terms = {"read": _file(counts.data, job.threads), "write": _through_zarr(job, counts)}
    beside = {
        "calibrate": _calibrating(job, counts) * pixels,
        "crc32c": stored * checking() / job.threads,
        "files": writing(Path(f"{job.out}.files"), stored, CHUNK * CHUNK * counts.bands * 4, job.threads),
    }
    return _told(clock, terms, beside, counts.data.stat().st_size)


def fit(job: Stage, clock: Clock) -> dict[str, object]:
    scene, objects = Scene.open(job.source), Objects.of(job.source)
    pixels, bands = scene.shape[0] * scene.shape[1], scene.shape[2]
    terms = objects.terms(job.threads) | {"gram": pixels * _quickest(_gram, bands, job.threads)}
    return _told(clock, terms, {"vsn": pixels * _normalising(job, bands)}, objects.bytes)


def transform(job: Stage, clock: Clock) -> dict[str, object]:
    scene, objects = Scene.open(job.source), Objects.of(job.source)
    pixels, bands = scene.shape[0] * scene.shape[1], scene.shape[2]
    project = pixels * _quickest(_projection, bands, job.threads)
    terms = objects.terms(job.threads) | {"project": project} | _files(job, pixels * 4 * 4, 4)
    return _told(clock, terms, {"vsn": pixels * _normalising(job, bands)}, objects.bytes)


def preprocess(job: Stage, clock: Clock) -> dict[str, object]:
    scene, objects = Scene.open(job.source), Objects.of(job.source)
    pixels = scene.shape[0] * scene.shape[1]
    terms = {name: 2 * seconds for name, seconds in objects.terms(job.threads).items()}
    terms |= {"moments": pixels * _quickest(_moments, KEPT, job.threads)}
    terms |= {"scale": pixels * _quickest(_affine, KEPT, job.threads)} | _files(job, pixels * KEPT * 4, KEPT)
    return _told(clock, terms, {}, 2 * objects.bytes)


def patches(job: Stage, clock: Clock) -> dict[str, object]:
    scene, objects = Scene.open(job.source), Objects.of(job.source)
    touched = _touched(job, scene)
    files = [Path(job.source) / "cube" / "c" / str(y) / str(x) / "0" for y, x in sorted(touched)]
    wanted = job.patches * job.side**2 * scene.shape[2] * 4
    some = Objects(files=files, codecs=objects.codecs, decoded=objects.decoded)
    terms = some.terms(job.threads) | {"copy": wanted / copying(job.threads)}
    return _told(clock, terms, {}, wanted) | {"patches": job.patches}


def _told(clock: Clock, terms: Terms, beside: Terms, moved: int) -> dict[str, object]:
    """Return the facts; the clock shows the sum."""
    clock.seconds = sum(terms.values())
    return {"terms": terms, "beside": beside, "bytes": moved}


def _files(job: Stage, total: int, bands: int) -> Terms:
    """Return the seconds of writing ``total`` bytes as plain files of one object each, and of their checksums."""
    return {
        "encode": total * checking() / job.threads,
        "write": writing(Path(f"{job.out}.files"), total, CHUNK * CHUNK * bands * 4, job.threads),
    }


def _touched(job: Stage, scene: Scene) -> set[tuple[int, int]]:
    """Return the objects that hold a pixel of a patch."""
    edges = scene.chunks[:2]
    spans = [
        [range(at // edge, -(-(at + job.side) // edge)) for at, edge in zip(corner, edges, strict=True)]
        for corner in corners(job, scene.shape)
    ]
    return {index for rows, cols in spans for index in product(rows, cols)}


def _file(path: Path, threads: int) -> float:
    """Return the seconds of reading one file into reused buffers, each thread a part of it."""
    size = path.stat().st_size
    rooms = [memoryview(bytearray(READ)) for _ in range(threads)]

    def part(thread: int) -> None:
        left = size // threads + 1
        with path.open("rb", buffering=0) as file:
            file.seek(thread * left)
            while left > 0 and (found := file.readinto(rooms[thread][:left])):
                left -= found

    with ThreadPoolExecutor(threads) as pool:
        return quickest(lambda: list(pool.map(part, range(threads))))


def _through_zarr(job: Stage, counts: Counts) -> float:
    """Return the seconds of writing the calibrated scene through zarr: rows of objects that are in memory already."""
    block = _reflectance(job, counts, CHUNK)
    shape = (counts.lines, *block.shape[1:])
    chunks = (CHUNK, CHUNK, counts.bands)
    array = zarr.create_array(
        f"{job.out}.zarr", shape=shape, chunks=chunks, dtype="float32", compressors=compressors("float32")
    )
    began = time.monotonic()
    for y in range(0, counts.lines, CHUNK):
        array[y : y + CHUNK] = block[: counts.lines - y]
    return time.monotonic() - began


def _reflectance(job: Stage, counts: Counts, lines: int) -> np.ndarray:
    """Return the first lines, calibrated: ``y, x, band``."""
    dark, gain = references(job.source, job.white, job.dark)
    values = counts.memmap()[:lines].transpose(0, 2, 1).astype(np.float32)
    values -= dark
    values *= gain
    return values


def _calibrating(job: Stage, counts: Counts) -> float:
    """Return the seconds for one pixel: counts in memory, as BIL has them, to reflectance in the order of an object."""
    dark, gain = (np.ascontiguousarray(values.T) for values in references(job.source, job.white, job.dark))
    lines = max(1, SAMPLE // 4 // (counts.samples * counts.bands * 2))
    raw = np.array(counts.memmap()[:lines])
    pieces = [(y, slice(x, x + CHUNK)) for y in range(len(raw)) for x in range(0, counts.samples, CHUNK)]

    def some(thread: int) -> None:
        work = np.empty((counts.bands, CHUNK), np.float32)
        out = np.empty((CHUNK, counts.bands), np.float32)
        for y, cols in pieces[thread :: job.threads]:
            piece = work[:, : dark[:, cols].shape[1]]
            np.subtract(raw[y, :, cols], dark[:, cols], out=piece)
            np.multiply(piece, gain[:, cols], out=piece)
            np.copyto(out[: piece.shape[1]], piece.T)

    with ThreadPoolExecutor(job.threads) as pool:
        return quickest(lambda: list(pool.map(some, range(job.threads)))) / (len(raw) * counts.samples)


def _quickest(work: Callable[[np.ndarray, dict[str, np.ndarray]], None], bands: int, threads: int) -> float:
    """Return the seconds for one pixel of ``work`` on pieces of data in memory.

    The better of two ways: pieces that stay in the cache on threads of their own, with BLAS on one thread; and large
    ones, with BLAS on all.
    """
    data = np.random.default_rng(0).random((SAMPLE // (4 * bands) // PIECE * PIECE, bands), np.float32)
    found = []
    for size, pool_size, blas in ((PIECE, threads, one_blas_thread()), (PIECE * 32, 1, nullcontext())):

        def some(thread: int, size: int = size, step: int = pool_size) -> None:
            room = {"": np.empty(0)}
            for start in range(thread * size, len(data), step * size):
                work(data[start : start + size], room)

        with blas, ThreadPoolExecutor(pool_size) as pool:
            found.append(quickest(lambda n=pool_size, f=some: list(pool.map(f, range(n)))))
    return min(found) / len(data)


def _room(room: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return memory of a thread, the same for every piece."""
    if name not in room or room[name].shape != shape:
        room[name] = np.empty(shape, np.float32)
    return room[name]


def _gram(piece: np.ndarray, room: dict[str, np.ndarray]) -> None:
    np.matmul(piece.T, piece, out=_room(room, "gram", (piece.shape[1],) * 2))


def _projection(piece: np.ndarray, room: dict[str, np.ndarray]) -> None:
    loadings = _room(room, "loadings", (piece.shape[1], 4))
    np.matmul(piece, loadings, out=_room(room, "scores", (len(piece), 4)))


def _moments(piece: np.ndarray, room: dict[str, np.ndarray]) -> None:
    ones = _room(room, "ones", (len(piece),))
    np.matmul(ones, piece, out=_room(room, "sums", (piece.shape[1],)))
    np.matmul(ones, np.multiply(piece, piece, out=_room(room, "square", piece.shape)))


def _affine(piece: np.ndarray, room: dict[str, np.ndarray]) -> None:
    vector, out = _room(room, "vector", (piece.shape[1],)), _room(room, "out", piece.shape)
    np.multiply(np.subtract(piece, vector, out=out), vector, out=out)


def _normalising(job: Stage, bands: int) -> float:
    """Return the seconds for one pixel of VSN in memory that is reused."""
    weights, scale = vsn(job)
    square = scale * scale

    def work(piece: np.ndarray, room: dict[str, np.ndarray]) -> None:
        n = len(piece)
        mean, norm = _room(room, "mean", (n,)), _room(room, "norm", (n,))
        out, squares = _room(room, "out", piece.shape), _room(room, "squares", piece.shape)
        np.matmul(piece, weights, out=mean)
        np.subtract(piece, mean[:, None], out=out)
        np.multiply(out, out, out=squares)
        np.matmul(squares, square, out=norm)
        np.divide(out, np.sqrt(norm, out=norm)[:, None], out=out)

    return _quickest(work, bands, job.threads)
