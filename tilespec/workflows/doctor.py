"""Doctor: the verb ``doctor`` measures this machine, and says what will limit the work on a scene."""

import os
import platform
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from tilespec.core.buffers import thread_buffers
from tilespec.core.cpu import cores
from tilespec.core.errors import UserError
from tilespec.core.limits import usable
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.results import in_bytes
from tilespec.storage.backends.paths import store_path
from tilespec.storage.blocks import blocks
from tilespec.storage.scene import Scene
from tilespec.workflows.options import DoctorOptions

SHOWN: Final = ("tilespec", "numpy", "scipy", "torch", "zarr", "numcodecs", "dask", "distributed", "xarray", "rasterio")
"""The packages of which a report of a fault needs the versions."""
FOR_DEVELOPERS: Final = ("test", "lint", "docs", "browser")
"""The extras that no user needs."""
SIZE: Final = 1 << 28
"""The bytes that are written, read and copied to measure a rate."""
SAMPLE: Final = 1 << 29
"""The bytes of a scene that are read at most to measure its rate."""
SIDE: Final = 2048
"""The side of the matrices that are multiplied."""
ROUNDS: Final = 3
"""How often a rate is measured; the best one counts, because other work can only lower it."""
NETWORK: Final = re.compile(r"nfs|cifs|smb|fuse|lustre|gpfs|beegfs|ceph|9p|afs")
"""The types of file systems that lie on other machines."""
SMALL: Final = 1 << 18
"""Objects of fewer bytes cost more to open than to decode."""
FILES: Final = 1024
"""The number of open files that a cluster of a few workers needs."""


@with_options(DoctorOptions)
def doctor(scene: str | None = None, *, options: DoctorOptions, progress: Progress) -> dict[str, Any]:
    """Measure what this machine has, and say what will limit the work on ``scene``.

    It takes a few seconds, writes 256 MB into ``options.folder`` and removes them. Rates are those of now: what else
    runs on the machine lowers them.

    Returns:
        Versions, missing extras, cores, memory, GPUs, and the rates of memory, arithmetic and storage in bytes and
        operations per second; of a scene its rate of reading, and the seconds of one pass; notes with advice.

    Raises:
        UserError: there is no such scene, or the folder cannot be written.
    """
    opened = None if scene is None else Scene.open(scene)
    progress.say("doctor: versions, memory, arithmetic, storage: a few seconds")
    machine = {"processor": _processor(), "cores": cores(), "usable_memory": usable(), "gpus": _gpus()}
    copied, operations = _copy_rate(), _arithmetic_rate()
    disk = _storage(Path(options.folder))
    found: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in SHOWN}},
        "missing_extras": _missing_extras(),
        "machine": machine,
        "per_second": {"copied_bytes": int(copied), "float32_gigaflop": operations / 1e9},
        "storage": disk,
    }
    notes = [*_notes_of_machine(machine), *_notes_of_storage(disk)]
    if opened is not None:
        found["scene"] = work = _work(opened, operations, disk)
        notes += _notes_of_scene(opened, work, machine, disk)
    return found | {"notes": notes}


def _processor() -> str:
    """Return the name of the processor."""
    with suppress(OSError):
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if named:
            return named[1]
    return platform.processor() or platform.machine()


def _gpus() -> list[dict[str, Any]]:
    """Return the names and the memory of the GPUs that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    known = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [{"name": each.name, "memory": each.total_memory} for each in known]


def _missing_extras() -> dict[str, str]:
    """Return the extras of which packages are missing: their names, and what installs them."""
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires("tilespec") or []:
        named = re.search(r"extra == ['\"](.+?)['\"]", line)
        if named and named[1] not in FOR_DEVELOPERS:
            wanted.setdefault(named[1], []).append(re.split(r"[^\w.-]", line, maxsplit=1)[0])
    missing = [extra for extra, packages in wanted.items() if not all(map(_is_installed, packages))]
    return {extra: f"pip install 'tilespec[{extra}]'" for extra in missing}


def _is_installed(package: str) -> bool:
    with suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(package))
    return False


def _best(amount: float, work: Callable[[], object]) -> float:
    """Return the best rate of some rounds, in ``amount`` per second."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return amount / min(seconds)


def _copy_rate() -> float:
    """Return the bytes that one thread copies in memory per second."""
    source, target = np.ones(SIZE // 8), np.empty(SIZE // 8)
    return _best(source.nbytes, lambda: np.copyto(target, source))


def _arithmetic_rate() -> float:
    """Return the float32 operations of a product of matrices per second, on all cores: what nets and PCA consist of."""
    a = np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    out = a @ a
    return _best(2.0 * SIDE**3, lambda: np.matmul(a, a, out=out))


def _storage(folder: Path) -> dict[str, Any]:
    """Return what a folder lies on, its free bytes, and the bytes that are written and read per second."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".tilespec-doctor-") as file:
            written, read = _file_rates(file.fileno())
    except OSError as error:
        raise UserError(
            folder,
            found=error.strerror or str(error),
            expected=f"a folder with {in_bytes(SIZE)} to spare, in which files can be written",
            do="Name another one with --folder.",
        ) from error
    return {
        "folder": str(folder.absolute()),
        "file_system": _file_system(folder),
        "free_bytes": store_path(folder).free_bytes(),
        "written_bytes_per_second": int(written),
        "read_bytes_per_second": int(read),
    }


def _file_rates(file: int) -> tuple[float, float]:
    """Return the bytes that are written to the disk, and read again from it, per second."""
    data = memoryview(np.random.default_rng(0).bytes(SIZE))  # a compressing file system gains nothing
    began = time.perf_counter()
    done = 0
    while done < SIZE:
        done += os.write(file, data[done:])
    os.fsync(file)
    written = SIZE / (time.perf_counter() - began)
    _forget(file)
    began, room = time.perf_counter(), bytearray(1 << 22)
    for start in range(0, SIZE, len(room)):
        os.preadv(file, [room], start)
    return written, SIZE / (time.perf_counter() - began)


def _forget(file: int) -> None:
    """Let the kernel forget what it holds of a file, so that it is read from the disk; not every system can."""
    with suppress(AttributeError, OSError):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def _file_system(folder: Path) -> str:
    """Return the type of the file system of a folder, such as ``ext4`` or ``nfs4``."""
    place = folder.resolve()
    above = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    return max(above, key=lambda part: len(part.mountpoint)).fstype if above else "unknown"


def _work(scene: Scene, arithmetic: float, disk: dict[str, Any]) -> dict[str, Any]:
    """Return how long the work on a scene takes at least, and what limits it.

    One pass reads and decodes each object once, which is measured on some of them. A PCA needs two times the square of
    the bands in operations for each pixel besides, a transform of k components two times k times the bands.
    """
    height, width, bands = scene.shape
    size = height * width * bands * scene.dtype.itemsize
    rate, stored = _reading(scene)
    cold = size * stored / disk["read_bytes_per_second"]
    one_pass, moments = max(size / rate, cold), 2.0 * height * width * bands**2 / arithmetic
    return {
        "shape": list(scene.shape),
        "dtype": str(scene.dtype),
        "decoded_bytes": size,
        "stored_share": stored,
        "object_bytes": int(np.prod(scene.chunks)) * scene.dtype.itemsize,
        "decoded_bytes_per_second": int(rate),
        "at_least": [
            {"work": "one pass, read before", "seconds": size / rate, "limit": "decoding"},
            {"work": "one pass, from the disk", "seconds": one_pass, "limit": _larger(cold, size / rate)},
            {
                "work": "fit of a PCA",
                "seconds": one_pass + moments,
                "limit": _larger(one_pass, moments, "reading", "PCA"),
            },
        ],
    }


def _larger(a: float, b: float, first: str = "disk", second: str = "decoding") -> str:
    return first if a > b else second


def _reading(scene: Scene) -> tuple[float, float]:
    """Return the decoded bytes of a scene that all cores read per second, and stored over decoded bytes of the sample.

    The sample is spread over the scene, and read twice: the second time it is in the page cache.
    """
    each = int(np.prod(scene.chunks)) * scene.dtype.itemsize
    every = blocks(scene, scene.roi)
    step = max(1, len(every) * each // SAMPLE)
    chosen = [block.roi for block in islice(every, 0, None, step)]

    def read(roi: Any) -> int:
        return scene.cube.read(roi, thread_buffers()).nbytes

    with ThreadPoolExecutor(cores()) as pool:
        total = sum(pool.map(read, chosen))
        return _best(total, lambda: sum(pool.map(read, chosen))), _stored_share(scene)


def _stored_share(scene: Scene) -> float:
    """Return the bytes of the stored objects over those that they decode to, 1 where nobody can say."""
    sizes = _object_sizes(scene)
    whole = len(sizes) * int(np.prod(scene.chunks)) * scene.dtype.itemsize
    return sum(sizes) / whole if whole else 1.0


def _object_sizes(scene: Scene) -> list[int]:
    """Return the sizes of some stored objects of a scene on this machine."""
    place = store_path(scene.url).on_disk
    files: Iterator[Path] = iter(()) if place is None else (place / scene.cube.name / "c").rglob("*")
    return [file.stat().st_size for file in islice((file for file in files if file.is_file()), 64)]


def _notes_of_machine(machine: dict[str, Any]) -> list[str]:
    """Return advice about a machine."""
    threads, files = os.environ.get("OMP_NUM_THREADS"), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    notes = {
        "torch sees no GPU: training and prediction run on the processor, with the same results": not machine["gpus"],
        "give --device auto: the default is the processor": bool(machine["gpus"]),
        f"OMP_NUM_THREADS is {threads}: fewer threads than the {machine['cores']} cores work": bool(
            threads and threads.isdecimal() and int(threads) < machine["cores"]
        ),
        f"a process may open {files} files: `ulimit -n {FILES}` lets more workers start": files < FILES,
    }
    return [note for note, true in notes.items() if true]


def _notes_of_storage(disk: dict[str, Any]) -> list[str]:
    """Return advice about a folder."""
    kind = disk["file_system"]
    notes = {
        f"{disk['folder']} lies on another machine ({kind}): a disk of this one is faster for many small reads": bool(
            NETWORK.search(kind)
        ),
        f"{disk['folder']} is memory ({kind}): what is written there takes memory from the work": kind == "tmpfs",
    }
    return [note for note, true in notes.items() if true]


def _notes_of_scene(scene: Scene, work: dict[str, Any], machine: dict[str, Any], disk: dict[str, Any]) -> list[str]:
    """Return advice about the work on a scene."""
    size, memory = work["decoded_bytes"], machine["usable_memory"]
    notes = {
        f"{in_bytes(size)} of values are more than the {in_bytes(memory)} of memory: every verb streams them": (
            size > memory
        ),
        f"a transform of all bands writes up to {in_bytes(4 * size // scene.dtype.itemsize)}, and "
        f"{in_bytes(disk['free_bytes'])} are free in {disk['folder']}": (
            4 * size // scene.dtype.itemsize > disk["free_bytes"]
        ),
        f"objects of {in_bytes(work['object_bytes'])} are small: `tilespec ingest` writes larger ones, which are read "
        "faster": work["object_bytes"] < SMALL < size,
        "`tilespec predict MODEL SCENE OUT --dry-run` says what a prediction will take": True,
    }
    return [note for note, true in notes.items() if true]
