"""Shared memory: memory that all ranks of one machine see."""

import hashlib
import json
import mmap
import os
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from tilespec.training.ranks.group import Ranks

ALIGNED = 64
"""The alignment in bytes, a cache line, of arrays in such memory."""


def common(ranks: Ranks, size: int) -> mmap.mmap | None:
    """Return ``size`` zero bytes that all ranks see; None in all ranks if one of them cannot see them.

    The memory has no name, so it disappears with the last rank, however that ends. All ranks must call this at the same
    point.
    """
    if not ranks.together:
        return None
    with ExitStack() as stack:
        own = _create(size) if ranks.rank == 0 else None
        if own is not None:
            stack.callback(os.close, own)  # when all have opened it, or could not
        shared_facts = (os.getpid(), -1 if own is None else own, _identity(own))
        pid, number, identity = (ranks.agree(one) for one in shared_facts)
        fd = own if ranks.rank == 0 else _open(Path(f"/proc/{pid}/fd/{number}"), identity)
        if fd is not None and fd != own:
            stack.callback(os.close, fd)
        memory = _mapped(fd, size)
        everyone = float(ranks.mean(torch.tensor([float(memory is not None)], device=ranks.device))) == 1
    return memory if everyone else None


def _create(size: int) -> int | None:
    """Return a file in memory with its pages allocated; None if the system has none, or too little memory."""
    if not hasattr(os, "memfd_create"):
        return None
    fd = None
    try:
        fd = os.memfd_create("tilespec-common", os.MFD_CLOEXEC)
        os.posix_fallocate(fd, 0, size)
    except OSError:  # forbidden by a sandbox or a limit
        if fd is not None:
            os.close(fd)
        return None
    return fd


def _open(path: Path, identity: int) -> int | None:
    """Return rank 0's file, if this process can open it and it is the file that rank 0 means."""
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
    """Return the memory of a file, or None if it cannot be mapped."""
    if fd is not None:
        with suppress(OSError, ValueError):
            return mmap.mmap(fd, size)
    return None


def _identity(fd: int | None) -> int:
    """Return a number that identifies a file in memory among all files of all machines and networks; 0: unknown."""
    if fd is None:
        return 0
    try:
        state = os.fstat(fd)
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = str(Path("/proc/self/ns/net").readlink())
    except OSError:  # without /proc other ranks cannot open it
        return 0
    text = json.dumps([machine, network, state.st_dev, state.st_ino, state.st_size])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
