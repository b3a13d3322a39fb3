"""The lock of a product: one run at a time writes it, and a run that was killed blocks nobody.

``OUT.tilespec/lock`` is created exclusively and names its holder: host, process, start of the process. A thread
touches it every few seconds. Whoever finds it judges whether the holder lives: on the same machine by the process
itself; from elsewhere by the age of the heartbeat, measured by the clock of the file system alone, on which both
sides agree however their own clocks jump. A lock whose holder is gone is broken by one of those who find it.

Creating, breaking and touching the lock are conditional puts (`claim` and `swap` of a place), of which one wins,
wherever the store lies; the clock is that of the file system, or the server's.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from tilespec.core.errors import UserError
from tilespec.storage.backends.base import Place
from tilespec.storage.backends.paths import at
from tilespec.storage.files import parse_json, read_json
from tilespec.storage.ledger import beside

BEAT, TTL = 15.0, 120.0
"""Seconds between two touches; age of a touch after which a holder elsewhere is taken for dead."""

_held: ContextVar[frozenset[Place]] = ContextVar("held", default=frozenset())


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold the lock of the product at ``url``; a verb that calls another on the same product holds it once.

    Taking it sweeps what killed runs left under temporary names.

    Raises:
        UserError: another run holds it, and lives.
    """
    folder = beside(url).absolute()
    if folder in _held.get():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    mine = _take(lock, url)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(lock, mine, stop), name="heartbeat", daemon=True)
    beat.start()
    before = _held.set(_held.get() | {folder})
    try:
        folder.sweep()
        if (folder / "settings.json").exists():  # else nothing there is known to be ours
            at(url).sweep()
        yield
    finally:
        _held.reset(before)
        stop.set()
        beat.join()
        _release(lock, mine)


def holder(url: str) -> dict[str, Any] | None:
    """Return who holds the product's lock: host, pid, seconds since the heartbeat, alive or stale; None if nobody."""
    lock = beside(url) / "lock"
    return _describe(lock) if lock.exists() else None


def holder_token(url: str) -> str:
    """Return the token of the run that holds the product's lock, empty if nobody does: workers of others stop."""
    return str((read_json(beside(url) / "lock") or {}).get("token", ""))


def _take(lock: Place, url: str) -> str:
    """Create the lock, or replace one whose holder is gone if it still is what was found; return its token."""
    mine = {**_self(), "token": uuid4().hex}
    tag = lock.tag()  # looked at first: a touch since then changes it
    found = _describe(lock)
    if found is not None and found["alive"]:
        raise _refusal(url, lock, found)
    text = json.dumps(mine).encode()
    won = lock.claim(text) if tag is None else lock.swap(text, tag)
    if not won and (_read(lock) or {}).get("token") != mine["token"]:  # ours, where only the answer was lost
        raise _refusal(url, lock, _describe(lock) or {})
    return mine["token"]


def _refusal(url: str, lock: Place, found: dict[str, Any]) -> UserError:
    who = f"process {found.get('pid')} on {found.get('host')}, last seen {max(found.get('age', 0), 0):.0f} s ago"
    return UserError(
        url,
        found=f"another run that writes it: {who}",
        expected="one run at a time",
        do=f"Wait for it, or end it. If it is gone for good (its machine is), remove {lock}.",
    )


def _release(lock: Place, mine: str) -> None:
    """Remove the lock if it is still ours, and the folder beside the product if nothing else was kept there."""
    tag = lock.tag()
    if tag is not None and (_read(lock) or {}).get("token") == mine:
        lock.withdraw(tag)
    with suppress(OSError):
        lock.parent.rmdir()


def _beat(lock: Place, mine: str, stop: threading.Event) -> None:
    """Touch the lock until told to stop, or until it is another's: this process was taken for dead."""
    while not stop.wait(BEAT):
        with suppress(OSError, UserError):  # storage that is away for a while is no reason to end
            tag = lock.tag()
            found = _read(lock) or {}
            if tag is None or found.get("token") != mine:
                return
            # other bytes, another tag: who would break it sees that it was touched
            lock.swap(json.dumps({**found, "beats": found.get("beats", 0) + 1}).encode(), tag)


def _describe(lock: Place) -> dict[str, Any] | None:
    """Return holder, age of the heartbeat, and whether the holder lives; None where there is no lock."""
    found = _read(lock)
    if found is None:
        return None
    try:
        age = _now(lock.parent) - lock.modified()
    except FileNotFoundError:
        return None
    known = {key: found.get(key) for key in ("host", "pid")}
    if found.get("realm") == _self()["realm"]:
        alive = found.get("started") is not None and _started(found.get("pid")) == found["started"]
    else:
        alive = age < TTL
    return {**known, "age": age, "alive": alive}


def _read(lock: Place) -> dict[str, Any] | None:
    """Return what a lock says: nothing, while it is being written, so that its age alone decides."""
    try:
        return parse_json(lock.read_text()) or {}
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return {}


def _now(folder: Place) -> float:
    """Return the time by the clock of the file system, or the server, that holds ``folder``."""
    probe = folder / f"clock.{os.getpid()}-{threading.get_ident()}"
    try:
        probe.write_bytes(b"")
        return probe.modified()
    except (OSError, UserError):
        return time.time()  # a read-only place: its lock can only be looked at
    finally:
        with suppress(OSError, UserError):
            probe.unlink(missing_ok=True)


def _self() -> dict[str, Any]:
    """Return what names this process: a process number means something inside one boot and one namespace only."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return {"host": parts[0], "realm": " ".join(parts), "pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: Any) -> str | None:
    """Return when a process began, in a form that no other process of the same number has; None if it is gone.

    Where there is ``/proc`` these are ticks since the boot, which no change of the clock moves.
    """
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()
    except (TypeError, ValueError):
        return None
    except OSError:
        return None if Path("/proc/self/stat").exists() else _began(pid)
    return None if fields[0] in "ZX" else fields[19]  # a zombie writes nothing


def _began(pid: int) -> str | None:
    """Return when a process began, where there is no ``/proc``."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(round(process.create_time()))
    except psutil.Error:
        return None
