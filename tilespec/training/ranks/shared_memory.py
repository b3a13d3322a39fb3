"""Shared memory: memory that the ranks of one machine see, each of them as its own."""

import hashlib
import json
import mmap
import os
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from tilespec.training.ranks.group import Ranks

ALIGNED = 64
"""Bytes: what lies in such memory begins at a multiple of a cache line."""


def common(ranks: Ranks, size: int) -> mmap.mmap | None:
    """Return ``size`` bytes, all zero, that all ranks see; None, in all of them, where one cannot or is elsewhere.

    They lie in memory without a name: nothing is left of them when the last rank ends, however it ends. All ranks call
    this at the same point of what they do.
    """
    if not ranks.together:
        return None
    with ExitStack() as stack:
        made = _made(size) if ranks.rank == 0 else None
        if made is not None:
            stack.callback(os.close, made)  # when all have opened it, or could not
        told = (os.getpid(), -1 if made is None else made, _identity(made))
        pid, number, identity = (ranks.agree(one) for one in told)
        fd = made if ranks.rank == 0 else _opened(Path(f"/proc/{pid}/fd/{number}"), identity)
        if fd is not None and fd != made:
            stack.callback(os.close, fd)
        memory = _mapped(fd, size)
        everyone = float(ranks.mean(torch.tensor([float(memory is not None)], device=ranks.device))) == 1
    return memory if everyone else None


def _made(size: int) -> int | None:
    """Return a file in memory, all of which is there; None where there is no such thing, or too little."""
    if not hasattr(os, "memfd_create"):
        return None
    fd = None
    try:
        fd = os.memfd_create("tilespec-common", os.MFD_CLOEXEC)
        os.posix_fallocate(fd, 0, size)
    except OSError:  # a sandbox, a limit
        if fd is not None:
            os.close(fd)
        return None
    return fd


def _opened(path: Path, identity: int) -> int | None:
    """Return rank 0's file, if it can be seen from here and is the one that rank 0 means."""
    if not identity:
        return None
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    if _identity(fd) != identity:
        os.close(fd)
        return None
    return fd


def _mapped(fd: int | None, size: int) -> mmap.mmap | None:
    """Return the memory behind a file, None where it cannot be had."""
    if fd is not None:
        with suppress(OSError, ValueError):
            return mmap.mmap(fd, size)
    return None


def _identity(fd: int | None) -> int:
    """Return what tells a file in memory from all others, of other machines and of other networks too; 0: nothing."""
    if fd is None:
        return 0
    try:
        state = os.fstat(fd)
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = str(Path("/proc/self/ns/net").readlink())
    except OSError:  # without /proc nobody would find it
        return 0
    text = json.dumps([machine, network, state.st_dev, state.st_ino, state.st_size])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
