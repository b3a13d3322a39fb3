"""The physical limit of a null network: what must be done at the least, each term measured by itself.

    limit = read + check + cut + network + blend + encode + write

All of it is work for the same cores and the same memory (page cache warm, so nothing waits for a disk): nothing hides
behind anything else, and the terms add up. Each is measured as well as it can be done here: buffers reused, all
threads at work, and what holds Python's lock measured on one thread and divided by the threads.

=======  ===========================================================================================================
read     every stored object of the input once, into one reused buffer for each thread
check    its checksum (crc32c), over the threads
cut      tiles x t^2 x channels_in x 4 bytes, at the rate M at which memory is copied
network  the network on tiles that are in memory, at the better of two batch sizes
blend    (tiles x t^2 + H x W) x channels_out x 4 bytes moved once: half of what copying them would move, so / 2 M
encode   the checksum of the output, over the threads
write    H x W x channels_out x 4 bytes into files of one object each, renamed into place, no fsync
=======  ===========================================================================================================
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import google_crc32c
import numpy as np
import torch
from job import Clock, Job
from net import EDGE, Network, corners

from tilespec.models.model import Model
from tilespec.storage.scene import Scene

COPIED = 1 << 28
"""Bytes that each thread copies at a time."""
SAMPLE = 1 << 30
"""Bytes that checksums and writing are measured on."""
TRIES = 5


def limit(job: Job, clock: Clock) -> dict[str, object]:
    """Measure every term; the clock shows their sum."""
    scene, (_, out) = Scene.open(job.scene), Model.load(job.model).channels
    tiled = len(corners(job)) * job.tile**2 * 4
    plane = scene.shape[0] * scene.shape[1] * 4
    rate, check = copying(job.threads), checking() / job.threads
    files = sorted(path for path in (Path(job.scene) / "cube" / "c").rglob("*") if path.is_file())
    stored = sum(path.stat().st_size for path in files)
    terms = {
        "read": reading(files, job.threads),
        "check": stored * check,
        "cut": tiled * scene.shape[2] / rate,
        "network": computing(job),
        "blend": (tiled + plane) * out / (2 * rate),
        "encode": plane * out * check,
        "write": writing(Path(job.out), plane * out, EDGE * EDGE * out * 4, job.threads),
    }
    clock.seconds = sum(terms.values())
    return {"tiles": len(corners(job)), "terms": terms, "copy_rate": rate, "check_rate": 1 / check}


def quickest(work: Callable[[], object], tries: int = TRIES) -> float:
    """Return the least seconds of a few tries."""
    spent = []
    for _ in range(tries):
        began = time.monotonic()
        work()
        spent.append(time.monotonic() - began)
    return min(spent)


def reading(files: list[Path], threads: int) -> float:
    """Return the seconds it takes to read files into reused buffers."""
    largest = max(path.stat().st_size for path in files)
    buffers = [memoryview(bytearray(largest)) for _ in range(threads)]

    def some(thread: int) -> None:
        for path in islice(files, thread, None, threads):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffers[thread]):
                    pass

    with ThreadPoolExecutor(threads) as pool:
        return quickest(lambda: list(pool.map(some, range(threads))))


def copying(threads: int) -> float:
    """Return the bytes per second that all threads together copy from memory to memory."""
    pairs = [(np.ones(COPIED // 4, np.float32), np.ones(COPIED // 4, np.float32)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = quickest(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)))
    return threads * COPIED / seconds


def checking() -> float:
    """Return the seconds that the checksum of one byte takes on one thread."""
    data = np.ones(COPIED, np.uint8)
    return quickest(lambda: google_crc32c.value(data)) / COPIED


def computing(job: Job) -> float:
    """Return the seconds of the network on all tiles, from a few calls on tiles in memory."""
    network = Network(job, job.threads)
    total = len(corners(job))
    each = []
    for size in sorted({1, job.batch}):
        tiles = torch.rand(size, job.tile, job.tile, network.channels[0]).permute(0, 3, 1, 2)
        each.append(quickest(lambda tiles=tiles: network(tiles)) / size)
    return min(each) * total


def writing(out: Path, total: int, size: int, threads: int) -> float:
    """Return the seconds that writing ``total`` bytes in files of ``size`` takes, measured on a part of them."""
    data = np.ones(size, np.uint8)
    count = max(threads, min(total, SAMPLE) // size)
    out.mkdir(parents=True)

    def one(number: int) -> None:
        partial = out / f"{number}.partial"
        with partial.open("wb", buffering=0) as file:
            file.write(data)
        partial.replace(out / str(number))

    with ThreadPoolExecutor(threads) as pool:
        seconds = quickest(lambda: list(pool.map(one, range(count))))
    for path in cleared(out):
        path.unlink()
    return seconds * total / (count * size)


def cleared(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder."""
    yield from list(folder.iterdir())
