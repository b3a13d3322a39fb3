"""The lock of a product: one run at a time writes it, or several that joined, and a run that was killed blocks nobody.

``OUT.tilespec/lock`` is created exclusively and names its holder (`tilespec.storage.heartbeat`), or says that runs are
joined (`tilespec.storage.joined`). A lock whose holder has ended is broken by one of the waiting processes.

A product that is reached through a link has the lock of what the link points to, so it has one name and one lock.

Creating, breaking and touching the lock are conditional puts (`claim` and `swap` of a place), of which one wins,
wherever the store lies; the clock is that of the file system, or the server's.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import Any, Final, NoReturn, final
from uuid import uuid4

from tilespec.core.errors import UserError
from tilespec.core.signals import last_act
from tilespec.storage import joined
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import read_json
from tilespec.storage.heartbeat import beating, describe, identity, read
from tilespec.storage.joined import JOINED
from tilespec.storage.lease import Lease
from tilespec.storage.ledger import sidecar

PATIENCE: Final = 60.0
"""The seconds in which a run must manage to join others that come and go."""


@final
@dataclass(frozen=True, kw_only=True)
class Hold:
    """What a run holds of a product: all of it, or what it claims of it among others that joined."""

    lock: StorePath
    """The lock of the product."""
    token: str
    """The text that names the run."""
    joined: bool = False
    """Whether others may write the product too."""
    patient: bool = True
    """Whether the run waits while others write all that is missing."""

    @property
    def lease(self) -> Lease:
        """The lease that ends when another run takes over."""
        return Lease(path=joined.member(self.lock, self.token) if self.joined else self.lock, token=self.token)

    @property
    def flag(self) -> StorePath:
        """The file with which this run, and no other, tells its workers to stop."""
        return joined.flag(self.lock, self.token) if self.joined else self.lock.parent / "stop"

    def claim(self, name: str) -> Lease | None:
        """Return the lease of a part of the product; None while another run has it, or this one already."""
        return joined.claim(self.lock, self.token, name) if self.joined else self.lease

    def release(self, lease: Lease) -> None:
        """Give a claimed part back."""
        if self.joined:
            joined.release(lease)

    def others(self) -> bool:
        """Return whether other runs that live have joined."""
        return self.joined and any(each["alive"] for each in joined.members(self.lock, but=self.token))

    def abandoned(self, name: str) -> bool:
        """Return whether a part ended so many processes that no run tries it any more."""
        return self.joined and joined.abandoned(self.lock, name)

    def alone(self, name: str) -> AbstractContextManager[None]:
        """Open a block in which no other run is at the same time."""
        return joined.alone(self.lock, self.token, name) if self.joined else nullcontext()


_held: ContextVar[Mapping[StorePath, Hold]] = ContextVar("held", default={})  # noqa: B039 - it is never changed


@contextmanager
def locked(url: str, *, join: bool = False, patient: bool = True) -> Iterator[Hold]:
    """Hold the lock of the product at ``url``; a nested call for the same product takes no second lock.

    Files that killed runs left under temporary names are deleted first, by a run that is alone.

    Args:
        url: The URL of the product.
        join: Whether the run shares the product with others that join.
        patient: Whether it waits while these write all that is missing.

    Raises:
        UserError: another run that is alive holds it.
    """
    lock = _lock(url)
    folder = lock.parent
    if folder in _held.get():
        yield _held.get()[folder]
        return
    folder.mkdir(parents=True, exist_ok=True)
    mine = replace((_join if join else _take)(lock, url), patient=patient)
    before = _held.set({**_held.get(), folder: mine})
    with ExitStack() as stack:
        stack.callback(_release, mine)
        stack.enter_context(beating(mine.lease.path, mine.token))
        stack.callback(_held.reset, before)
        if not join:
            records = sidecar(url)
            records.sweep()
            if (records / "settings.json").exists():  # else nothing there is known to be ours
                store_path(url).sweep()
        stack.enter_context(last_act(lambda: _release(mine)))
        yield mine


def holder(url: str) -> dict[str, Any] | None:
    """Return the holder of the product's lock: host, pid, seconds since the heartbeat, alive or stale; or None.

    Of joined runs it is the one that was heard last, with the number of ``processes`` that are alive.
    """
    lock = _lock(url)
    return _describe(lock) if lock.exists() else None


def holder_token(url: str) -> str:
    """Return the token of the run that holds the product's lock, or an empty text; workers of other runs stop."""
    return str((read_json(_lock(url)) or {}).get("token", ""))


def _lock(url: str) -> StorePath:
    """Return the lock of the product at ``url``, or of what a link there points to."""
    return sidecar(str(store_path(url).absolute().target())) / "lock"


def _take(lock: StorePath, url: str) -> Hold:
    """Create the lock, or replace one whose holder has ended if it has not changed."""
    mine = {**identity(), "token": uuid4().hex}
    tag = lock.tag()  # looked at first: a touch since then changes it
    owner = _describe(lock)
    if owner is not None and owner["alive"]:
        _refuse(url, lock, owner)
    text = json.dumps(mine).encode()
    won = lock.claim(text) if tag is None else lock.swap(text, tag)
    if not won and (read(lock) or {}).get("token") != mine["token"]:  # ours, where only the answer was lost
        _refuse(url, lock, _describe(lock) or {})
    joined.clean(lock)
    return Hold(lock=lock, token=mine["token"])


def _join(lock: StorePath, url: str) -> Hold:
    """Join the runs that share the product, or be the first of them, if no run holds it alone."""
    mine, until = Hold(lock=lock, token=joined.enter(lock), joined=True), time.monotonic() + PATIENCE
    try:
        while not _entered(mine, url):  # others come and go meanwhile
            if time.monotonic() > until:
                _refuse(url, lock, _describe(lock) or {})
            time.sleep(SystemRandom().uniform(0.005, 0.05))
    except BaseException:
        joined.leave(lock, mine.token)
        raise
    return mine


def _entered(mine: Hold, url: str) -> bool:
    """Change the lock, so that nobody who looked at it before takes it; return whether this succeeded."""
    lock = mine.lock
    tag, content = lock.tag(), read(lock)
    shared = content is not None and JOINED in content
    owner = None if shared else describe(lock)
    if owner is not None and owner["alive"]:
        if content:
            _refuse(url, lock, owner)
        return False  # it is just being written
    text = json.dumps({JOINED: (content or {}).get(JOINED, 0) + 1}).encode()
    try:
        won = lock.claim(text) if tag is None else lock.swap(text, tag)
    except FileNotFoundError:  # the last of the others cleaned up
        won = False
    if not won:
        return False  # another was faster
    if not (shared and mine.others()):
        joined.clean(lock)
    return True


def _refuse(url: str, lock: StorePath, owner: Mapping[str, Any]) -> NoReturn:
    who = f"process {owner.get('pid')} on {owner.get('host')}, last seen {max(owner.get('age', 0), 0):.0f} s ago"
    several = owner.get("processes", 0)
    raise UserError(
        url,
        found=f"joined runs that write it, {several} alive: {who}" if several else f"another run that writes it: {who}",
        expected="one run at a time, or runs that are all started with --join",
        do=f"Wait for it, or end it. If it is gone for good (its machine is), remove {lock}.",
    )


def _release(mine: Hold) -> None:
    """Remove the lock if it is still ours, and the folder beside the product if it is empty."""
    lock = mine.lock
    if mine.joined:
        joined.leave(lock, mine.token)
    else:
        tag = lock.tag()
        if tag is not None and (read(lock) or {}).get("token") == mine.token:
            lock.withdraw(tag)
    with suppress(OSError):
        lock.parent.rmdir()


def _describe(lock: StorePath) -> dict[str, Any] | None:
    """Return the holder, the age of the heartbeat, and whether the holder is alive; None without a lock."""
    content = read(lock)
    if content is None or JOINED not in content:
        return describe(lock)
    found = sorted(joined.members(lock), key=lambda each: (not each["alive"], each["age"]))
    last = found[0] if found else {"host": None, "pid": None, "age": 0.0, "alive": False}
    return {**last, "processes": sum(each["alive"] for each in found)}
