"""Limits: the memory that this process may take, by the machine, by the cgroups above it, and by its resource limits.

Containers and batch systems (Docker, Kubernetes, Slurm) limit memory by cgroups. Whoever takes more is killed without a
message, so the smallest limit counts, not what the machine has.
"""

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

import psutil

from tilespec.core.memory import resident

ROOT: Final = Path("/")
"""The folder below which ``proc`` and the mounted control groups lie."""
FILES: Final = {
    "cgroup2": (("memory.max", "memory.high"), "memory.current"),
    "cgroup": (("memory.limit_in_bytes",), "memory.usage_in_bytes"),
}
"""The files with limits and with the present use of a cgroup, by the type of its file system (versions 2 and 1)."""
RECLAIMED: Final = {"active_file", "inactive_file", "total_active_file", "total_inactive_file"}
"""The entries of ``memory.stat`` that are pages of files, which the kernel drops before it kills anybody."""
BLOCKS: Final = ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5))
"""The resource limits of memory, and the column of ``/proc/self/statm`` that each limits."""


def usable() -> int:
    """Return the bytes that this process and its children may hold at most, with those that they hold already.

    It is the smallest of what is free on the machine, of what `enforced` allows, and never less than what is held.
    """
    held = resident()
    return max(held, min([int(psutil.virtual_memory().available) + held, *enforced()]))


def enforced(root: Path = ROOT) -> list[int]:
    """Return the bytes that each limit of the system allows this process and its children to hold; empty: no limit."""
    held = resident()
    return [min(limit, held + max(0, limit - used)) for limit, used in (*_cgroups(root), *_resources(root))]


def _cgroups(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit and the used bytes of every cgroup above this process that has a limit."""
    for folder, (limits, use) in _folders(root):
        used = (_number(folder / use) or 0) - _reclaimable(folder)
        for limit in filter(None, (_number(folder / name) for name in limits)):
            yield limit, max(0, used)


def _folders(root: Path) -> Iterator[tuple[Path, tuple[tuple[str, ...], str]]]:
    """Yield the folders of the cgroups of this process that can limit memory, from the innermost to the outermost."""
    paths = _lines(root / "proc/self/cgroup")
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        kind = right.split(" ")[0]
        if kind not in FILES or (kind == "cgroup" and "memory" not in right.split(" ")[-1].split(",")):
            continue
        start, mount = left.split(" ")[3:5]
        for path in paths:
            _, controllers, inside = path.split(":", 2)
            if ("memory" in controllers.split(",")) if kind == "cgroup" else not controllers:
                yield from ((each, FILES[kind]) for each in _upwards(root / mount.lstrip("/"), start, inside))


def _upwards(mount: Path, start: str, inside: str) -> Iterator[Path]:
    """Yield the folder of a cgroup and all above it that are mounted; in a container the upper ones are not."""
    path = PurePosixPath(inside)
    below = path.relative_to(start) if path.is_relative_to(start) else PurePosixPath(inside.lstrip("/"))
    for folder in (below, *below.parents):
        if ".." not in folder.parts and (mount / folder).is_dir():
            yield mount / folder


def _resources(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit and the used bytes of each resource limit (``ulimit -v``, ``ulimit -d``)."""
    columns = next(iter(_lines(root / "proc/self/statm")), "").split()
    for kind, column in BLOCKS:
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and len(columns) > column:
            yield limit, int(columns[column]) * resource.getpagesize()


def _reclaimable(folder: Path) -> int:
    """Return the bytes of a cgroup that are pages of files."""
    pairs = (line.split() for line in _lines(folder / "memory.stat"))
    entries = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
    names = {name for name in entries if name in RECLAIMED}
    names = {name for name in names if name.startswith("total_")} or names  # version 1: with those of its children
    return sum(int(entries[name]) for name in names)


def _number(file: Path) -> int | None:
    """Return the number in a file, or None if there is none, as in ``max``."""
    with suppress(OSError, ValueError):
        return max(0, int(file.read_text()))
    return None


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, none if it cannot be read."""
    try:
        return file.read_text().splitlines()
    except (OSError, ValueError):
        return []
