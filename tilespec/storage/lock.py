"""The lock of a product: one run at a time writes it, and a run that was killed blocks nobody.

``OUT.tilespec/lock`` is created exclusively and names its holder: host, process, start of the process. A thread
touches it every few seconds. A process that finds the lock decides whether the holder is alive: on the same machine by
the process itself; from elsewhere by the age of the heartbeat, measured by the clock of the file system alone, on which
both sides agree however their own clocks jump. A lock whose holder has ended is broken by one of the waiting processes.

A product that is reached through a link has the lock of what the link points to, so it has one name and one lock.

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
from tilespec.core.signals import last_act
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import parse_json, read_json
from tilespec.storage.ledger import sidecar

BEAT, TTL = 15.0, 120.0
"""The seconds between two heartbeats, and the age of a heartbeat after which a remote holder counts as dead."""

_held: ContextVar[frozenset[StorePath]] = ContextVar("held", default=frozenset())


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold the lock of the product at ``url``; a nested call for the same product takes no second lock.

    Files that killed runs left under temporary names are deleted first.

    Raises:
        UserError: another run that is alive holds it.
    """
    lock = _lock(url)
    folder = lock.parent
    if folder in _held.get():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    mine = _take(lock, url)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(lock, mine, stop), name="heartbeat", daemon=True)
    beat.start()
    before = _held.set(_held.get() | {folder})
    try:
        records = sidecar(url)
        records.sweep()
        if (records / "settings.json").exists():  # else nothing there is known to be ours
            store_path(url).sweep()
        with last_act(lambda: _release(lock, mine)):
            yield
    finally:
        _held.reset(before)
        stop.set()
        beat.join()
        _release(lock, mine)


def holder(url: str) -> dict[str, Any] | None:
    """Return the holder of the product's lock: host, pid, seconds since the heartbeat, alive or stale; or None."""
    lock = _lock(url)
    return _describe(lock) if lock.exists() else None


def holder_token(url: str) -> str:
    """Return the token of the run that holds the product's lock, or an empty text; workers of other runs stop."""
    return str((read_json(_lock(url)) or {}).get("token", ""))


def _lock(url: str) -> StorePath:
    """Return the lock of the product at ``url``, or of what a link there points to."""
    return sidecar(str(store_path(url).absolute().target())) / "lock"


def _take(lock: StorePath, url: str) -> str:
    """Create the lock, or replace one whose holder has ended if it has not changed; return its token."""
    mine = {**_self(), "token": uuid4().hex}
    tag = lock.tag()  # looked at first: a touch since then changes it
    owner = _describe(lock)
    if owner is not None and owner["alive"]:
        raise _refusal(url, lock, owner)
    text = json.dumps(mine).encode()
    won = lock.claim(text) if tag is None else lock.swap(text, tag)
    if not won and (_read(lock) or {}).get("token") != mine["token"]:  # ours, where only the answer was lost
        raise _refusal(url, lock, _describe(lock) or {})
    return mine["token"]


def _refusal(url: str, lock: StorePath, owner: dict[str, Any]) -> UserError:
    who = f"process {owner.get('pid')} on {owner.get('host')}, last seen {max(owner.get('age', 0), 0):.0f} s ago"
    return UserError(
        url,
        found=f"another run that writes it: {who}",
        expected="one run at a time",
        do=f"Wait for it, or end it. If it is gone for good (its machine is), remove {lock}.",
    )


def _release(lock: StorePath, mine: str) -> None:
    """Remove the lock if it is still ours, and the folder beside the product if it is empty."""
    tag = lock.tag()
    if tag is not None and (_read(lock) or {}).get("token") == mine:
        lock.withdraw(tag)
    with suppress(OSError):
        lock.parent.rmdir()


def _beat(lock: StorePath, mine: str, stop: threading.Event) -> None:
    """Write the heartbeat until the run ends, or until another run has taken the lock of this process."""
    while not stop.wait(BEAT):
        with suppress(OSError, UserError):  # storage that is away for a while is no reason to end
            tag = lock.tag()
            content = _read(lock) or {}
            if tag is None or content.get("token") != mine:
                return
            # other bytes, another tag: who would break it sees that it was touched
            lock.swap(json.dumps({**content, "beats": content.get("beats", 0) + 1}).encode(), tag)


def _describe(lock: StorePath) -> dict[str, Any] | None:
    """Return the holder, the age of the heartbeat, and whether the holder is alive; None without a lock."""
    content = _read(lock)
    if content is None:
        return None
    try:
        age = _now(lock.parent) - lock.modified()
    except FileNotFoundError:
        return None
    owner = {key: content.get(key) for key in ("host", "pid")}
    if content.get("realm") == _self()["realm"]:
        alive = content.get("started") is not None and _started(content.get("pid")) == content["started"]
    else:
        alive = age < TTL
    return {**owner, "age": age, "alive": alive}


def _read(lock: StorePath) -> dict[str, Any] | None:
    """Return the contents of a lock; empty while it is being written, so that its age alone decides."""
    try:
        return parse_json(lock.read_text()) or {}
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return {}


def _now(folder: StorePath) -> float:
    """Return the time by the clock of the file system, or of the server, of ``folder``."""
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
    """Return the identity of this process; a process number is unique only within one boot and one namespace."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return {"host": parts[0], "realm": " ".join(parts), "pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: Any) -> str | None:
    """Return the start of a process, in a form that no other process of the same number shares; None if it has ended.

    With ``/proc`` these are ticks since the boot, which no change of the clock affects.
    """
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()
    except (TypeError, ValueError):
        return None
    except OSError:
        return None if Path("/proc/self/stat").exists() else _began(pid)
    return None if fields[0] in "ZX" else fields[19]  # a zombie writes nothing


def _began(pid: int) -> str | None:
    """Return the start of a process, on a machine without ``/proc``."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(round(process.create_time()))
    except psutil.Error:
        return None
