"""Heartbeat: small files that name a process, are touched by it every few seconds, and tell others whether it lives.

On the same machine the process itself is looked for; from elsewhere the age of the last touch decides, by the clock of
the file system alone (or of the server), on which both sides agree however their own clocks jump.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from tilespec.core.errors import UserError
from tilespec.storage.backends.base import StorePath
from tilespec.storage.files import parse_json

BEAT, TTL = 15.0, 120.0
"""The seconds between two heartbeats, and the age of a heartbeat after which a process elsewhere counts as dead."""


@contextmanager
def beating(path: StorePath, token: str) -> Iterator[None]:
    """Open a block in which a thread touches the file ``path``, while it names ``token``."""
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(path, token, stop), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(path: StorePath, mine: str, stop: threading.Event) -> None:
    """Write the heartbeat until the run ends, or until the file is gone or names another process."""
    while not stop.wait(BEAT):
        with suppress(OSError, UserError):  # storage that is away for a while is no reason to end
            tag = path.tag()
            content = read(path) or {}
            if tag is None or content.get("token") != mine:
                return
            # other bytes, another tag: who would break it sees that it was touched
            path.swap(json.dumps({**content, "beats": content.get("beats", 0) + 1}).encode(), tag)


def describe(path: StorePath, *, expires: bool = False, at: float | None = None) -> dict[str, Any] | None:
    """Return the process that a file names, the age of the heartbeat, and whether it is alive; None without a file.

    A process of this machine that is stopped for a while is alive; with ``expires`` its heartbeat decides as well.

    Args:
        path: The file.
        expires: Whether a process of this machine must touch the file, too.
        at: The time by the clock of the files (`now`), which is looked up if it is not given.
    """
    content = read(path)
    if content is None:
        return None
    try:
        age = (now(path.parent) if at is None else at) - path.modified()
    except FileNotFoundError:
        return None
    fresh, alive = age < TTL, True
    if content.get("realm") == identity()["realm"]:
        alive = content.get("started") is not None and _started(content.get("pid")) == content["started"]
        fresh = fresh or not expires
    return {"host": content.get("host"), "pid": content.get("pid"), "age": age, "alive": alive and fresh}


def read(path: StorePath) -> dict[str, Any] | None:
    """Return the contents of a file; empty while it is being written, so that its age alone decides."""
    try:
        return parse_json(path.read_text()) or {}
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return {}


def now(folder: StorePath) -> float:
    """Return the time by the clock of the file system, or of the server, of ``folder``."""
    probe = folder / f"clock.{uuid4().hex}"
    try:
        probe.write_bytes(b"")
        return probe.modified()
    except (OSError, UserError):
        return time.time()  # a read-only place: its files can only be looked at
    finally:
        with suppress(OSError, UserError):
            probe.unlink(missing_ok=True)


def identity() -> dict[str, Any]:
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
