"""Cache: values that are computed once and shared by threads, within a budget in bytes."""

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
    """A value, or the memory that is reserved for it while it is computed."""

    size: int
    """The size of the value in bytes."""
    users: int = 1
    """The number of threads that compute or use the value; it is not removed while this is above 0."""
    ready: bool = False
    """Whether the value has been computed."""
    value: Any = None
    """The value itself, None until it is ready."""


@final
class Cache(Generic[Value]):
    """Values by key; the least recently used value is removed first.

    No two threads compute the same value: the second thread waits for the first. A value that is being computed or used
    counts towards the budget, even when it has been removed from the table. The total never exceeds ``budget`` bytes,
    unless a single value alone is larger.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._changed = threading.Condition()
        self.held = 0
        """The bytes of all values, including those that are being computed."""
        self.peak = 0
        """The largest value of `held` so far, in bytes."""

    @contextmanager
    def lent(self, key: Hashable, size: int, make: Callable[[], Value]) -> Iterator[Value]:
        """Lend the value of ``key``, which takes ``size`` bytes; ``make`` computes it when it is absent.

        Calls must not be nested: a thread that holds one value while it waits for another may wait for itself. An
        exception in ``make`` is raised again here, and no value is stored.
        """
        entry = self._claimed(key, size)
        try:
            if not entry.ready:
                self._make(entry, make())
            yield entry.value
        finally:
            self._release(key, entry)

    def _claimed(self, key: Hashable, size: int) -> _Entry:
        """Return the entry of ``key``: it is ready, or this thread has to compute it."""
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
                self._changed.wait()  # until a value is computed, or no longer used

    def _fits(self, size: int) -> bool:
        """Remove unused values until ``size`` more bytes fit; return whether they fit."""
        while self.held + size > self._budget:
            idle = next((key for key, entry in self._entries.items() if not entry.users), None)
            if idle is None:
                return not self.held
            self.held -= self._entries.pop(idle).size
        return True

    def _make(self, entry: _Entry, value: Value) -> None:
        """Publish a computed value to the threads that wait for it."""
        with self._changed:
            entry.value, entry.ready = value, True
            self._changed.notify_all()

    def _release(self, key: Hashable, entry: _Entry) -> None:
        """End the use of a value; remove it when it could not be computed."""
        with self._changed:
            entry.users -= 1
            if not entry.ready:
                self.held -= self._entries.pop(key).size
            self._changed.notify_all()
