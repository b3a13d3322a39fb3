"""Cache: values that are made once and shared by threads, within a budget that counts every byte that is held."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

Value = TypeVar("Value")


@final
@dataclass(eq=False, slots=True)
class _Entry:
    """A value, or the room that is kept for it while it is made."""

    size: int
    """Bytes."""
    users: int = 1
    """Threads that make it or look at it: it cannot go."""
    ready: bool = False
    """Whether it is made."""
    value: Any = None
    """What was made."""


@final
class Cache(Generic[Value]):
    """Values by key; the least recently used go first.

    No two threads make the same value: the second waits for the first. What is being made and what somebody looks at
    counts as held, though it may have been let go of. ``budget`` bytes are never exceeded, except by one value alone.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._changed = threading.Condition()
        self.held = 0
        """Bytes of all values, and of those that are being made."""
        self.peak = 0
        """Most bytes that were ever held."""

    @contextmanager
    def lent(self, key: Hashable, size: int, make: Callable[[], Value]) -> Iterator[Value]:
        """Lend the value of ``key``, made by ``make`` when it is not there; it takes ``size`` bytes.

        Not to be nested: a thread that keeps one value while it asks for another may wait for itself. What ``make``
        raises is raised, and nothing is kept.
        """
        entry = self._claimed(key, size)
        try:
            if not entry.ready:
                self._made(entry, make())
            yield entry.value
        finally:
            self._left(key, entry)

    def _claimed(self, key: Hashable, size: int) -> _Entry:
        """Return the entry of ``key``: ready, or this thread's to make."""
        with self._changed:
            while True:
                entry = self._entries.get(key)
                if entry is None and self._fits(size):
                    entry = self._entries[key] = _Entry(size)
                    self.held += size
                    self.peak = max(self.peak, self.held)
                    return entry
                if entry is not None and entry.ready:
                    entry.users += 1
                    self._entries.move_to_end(key)
                    return entry
                self._changed.wait()  # for the thread that makes it, or for one that lets go

    def _fits(self, size: int) -> bool:
        """Let go of what nobody uses until ``size`` bytes fit; say whether they do."""
        while self.held + size > self._budget:
            idle = next((key for key, entry in self._entries.items() if not entry.users), None)
            if idle is None:
                return not self.held
            self.held -= self._entries.pop(idle).size
        return True

    def _made(self, entry: _Entry, value: Value) -> None:
        """Show a value to the threads that wait for it."""
        with self._changed:
            entry.value, entry.ready = value, True
            self._changed.notify_all()

    def _left(self, key: Hashable, entry: _Entry) -> None:
        """Let go of a value; forget one that could not be made."""
        with self._changed:
            entry.users -= 1
            if not entry.ready:
                self.held -= self._entries.pop(key).size
            self._changed.notify_all()
