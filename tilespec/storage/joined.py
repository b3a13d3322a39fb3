"""Joined runs: processes that write one product together. Each has a heartbeat, and claims what it writes.

In ``OUT.tilespec/joined`` lie ``member-TOKEN.json``, which its process touches, and ``claim-NAME.json``, which names
the member that writes a part. A claim is put only if there is none; that of a member which has ended, or gave no sign
of life for `tilespec.storage.heartbeat.TTL` seconds, is swapped for another, of which one of many succeeds. The lock of
the product says that the runs are joined, and every member that enters changes it, so nobody else takes it meanwhile.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import SystemRandom
from typing import Any, Final
from uuid import uuid4

from tilespec.core.errors import IncompleteError
from tilespec.storage.backends.base import StorePath
from tilespec.storage.heartbeat import TTL, describe, identity, now, read
from tilespec.storage.lease import Lease

JOINED: Final = "joined"
"""The key of a lock that joined runs share: the number of runs that entered."""
TRIES: Final = 5
"""The number of processes that a part may end or silence before it is left alone."""
POLL: Final = 0.5
"""About the seconds between two looks at what others write."""


def members(lock: StorePath, but: str = "") -> list[dict[str, Any]]:
    """Return host, process, age of the heartbeat, and alive or not, of each run that joined, ``but`` the named one."""
    paths = [path for path in _files(lock, "member-*.json") if path != member(lock, but)]
    at = now(lock.parent) if paths else None
    found = (describe(path, expires=True, at=at) for path in paths)
    return [each for each in found if each is not None]


def enter(lock: StorePath) -> str:
    """Begin the heartbeat's file of a run that joins, and return its token."""
    token = uuid4().hex
    member(lock, token).claim(json.dumps({**identity(), "token": token}).encode())
    return token


def leave(lock: StorePath, token: str) -> None:
    """Give back what a run has claimed, and end its membership.

    The last one removes the lock, and what those that were killed have left.
    """
    for path in _files(lock, "claim-*.json"):
        release(Lease(path=path, token=token))
    member(lock, token).unlink(missing_ok=True)
    tag = lock.tag()
    last = JOINED in (read(lock) or {}) and not any(each["alive"] for each in members(lock))
    if last:
        clean(lock)
        lock.parent.sweep()
    if last and tag is not None:
        lock.withdraw(tag)
    _remove_empty(lock)  # also by one that wakes when the others have cleaned up


def clean(lock: StorePath) -> None:
    """Remove the claims and the heartbeats of runs that live no more."""
    for path in sorted(_files(lock, "*-*"), key=lambda path: path.name):  # claims before the members that they name
        tag, token = path.tag(), path.name.partition("-")[2] if path.name.startswith("stop") else _token(path)
        if tag is not None and not _lives(path, token):
            path.withdraw(tag)
    _remove_empty(lock)


def claim(lock: StorePath, token: str, name: str) -> Lease | None:
    """Return the lease of a part, if no other run that lives has it, nor this one already."""
    path, mine = _claim(lock, name), {"token": token, "attempt": uuid4().hex}
    lease = Lease(path=path, token=token)
    if path.claim(json.dumps({**mine, "tries": 1}).encode()):
        return lease
    tag, content = path.tag(), read(path)
    if tag is None or content is None:
        return None  # it was just released
    if content.get("attempt") == mine["attempt"]:
        return lease  # only the answer was lost
    tries = content.get("tries", 0)
    if tries >= TRIES or _lives(path, content.get("token")):
        return None
    won = path.swap(json.dumps({**mine, "tries": tries + 1}).encode(), tag)
    return lease if won or (read(path) or {}).get("attempt") == mine["attempt"] else None


def release(lease: Lease) -> None:
    """Give a claim back."""
    tag = lease.path.tag()
    if tag is not None and lease.held:
        lease.path.withdraw(tag)


def abandoned(lock: StorePath, name: str) -> bool:
    """Return whether a part ended as many processes as it may, and nobody tries it any more."""
    path = _claim(lock, name)
    content = read(path) or {}
    return content.get("tries", 0) >= TRIES and not _lives(path, content.get("token"))


@contextmanager
def alone(lock: StorePath, token: str, name: str) -> Iterator[None]:
    """Open a block in which no other of the joined runs is: each waits for its turn.

    Raises:
        IncompleteError: process after process ended in it.
    """
    while (lease := claim(lock, token, name)) is None:
        if abandoned(lock, name):
            raise IncompleteError(f"{TRIES} processes ended while they did {name!r} of {lock.parent}")
        pause()
    try:
        yield
    finally:
        release(lease)


def pause() -> None:
    """Wait a little, each process a little differently, until it looks again at what others write."""
    time.sleep(POLL * SystemRandom().uniform(0.5, 1.5))


def _lives(path: StorePath, token: str | None) -> bool:
    """Return whether the run lives that an object names; an object that is being written decides by its age."""
    if token is not None:
        found = describe(member(path.parent.parent / "lock", token), expires=True)
        return found is not None and bool(found["alive"])
    try:
        return now(path.parent) - path.modified() < TTL
    except FileNotFoundError:
        return False


def _files(lock: StorePath, pattern: str) -> list[StorePath]:
    """Return the files of joined runs whose names match a pattern; none if the last run has just removed the folder."""
    try:
        return list(_folder(lock).glob(pattern))
    except FileNotFoundError:
        return []


def _remove_empty(lock: StorePath) -> None:
    """Remove the folder of joined runs, unless there are some."""
    with suppress(OSError):
        _folder(lock).rmdir()


def _token(path: StorePath) -> str | None:
    return (read(path) or {}).get("token")


def _folder(lock: StorePath) -> StorePath:
    return lock.parent / "joined"


def member(lock: StorePath, token: str) -> StorePath:
    """Return the path of the heartbeat of a run that joined."""
    return _folder(lock) / f"member-{token}.json"


def flag(lock: StorePath, token: str) -> StorePath:
    """Return the path of the file with which a run tells its workers to stop."""
    return _folder(lock) / f"stop-{token}"


def _claim(lock: StorePath, name: str) -> StorePath:
    return _folder(lock) / f"claim-{name}.json"
