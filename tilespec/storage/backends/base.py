"""What a store is asked for, wherever it lies: the contract of every kind of place.

A place speaks a part of `pathlib`, and what many machines need that write one store: objects that are put whole or not
at all, and conditional puts, of which one of many wins. One more kind of store is one subclass and one line in
`tilespec.storage.backends.paths.SCHEMES`.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from zarr.abc.store import Store

from tilespec.core.errors import UserError


class Place(ABC):
    """An object, or the prefix of many. ``str`` gives the URL, from which `of` makes an equal place in any process.

    An equal URL is an equal place with an equal hash, and a place can be pickled.
    """

    @classmethod
    @abstractmethod
    def of(cls, url: str) -> "Place":
        """Return the place that a URL of this scheme names; refuse one that names none."""

    @abstractmethod
    def __truediv__(self, name: str) -> "Place":
        """Return the object ``name``, which may hold slashes, below this."""

    @property
    @abstractmethod
    def parent(self) -> "Place":
        """The prefix that holds this."""

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return Path(self.name).stem

    @property
    def on_disk(self) -> Path | None:
        """The path of this machine; None where each request goes to a server and costs a round trip."""
        return None

    @property
    def server(self) -> str | None:
        """The server that is meant, where the environment and not the URL names it."""
        return None

    def absolute(self) -> "Place":
        """Return the place by a URL that means the same in every folder."""
        return self

    # --- one object ---------------------------------------------------------------------------------------------

    @abstractmethod
    def tag(self) -> str | None:
        """Return what names the present content of the object, None where there is none; each put makes a new one."""

    @abstractmethod
    def modified(self) -> float:
        """Return when the object was last put, in seconds, by the clock of the store.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Return the object.

        Raises:
            FileNotFoundError: there is none.
        """

    def read_text(self) -> str:
        """Return the object as text."""
        return self.read_bytes().decode()

    def blocks(self, size: int) -> Iterator[bytes]:  # noqa: ARG002 - a kind that can reads so much at once
        """Yield the object in pieces of about ``size`` bytes."""
        yield self.read_bytes()

    @abstractmethod
    def write_bytes(self, data: bytes) -> int:
        """Put the object, whole or not at all, so that it survives a power cut; return its bytes."""

    @abstractmethod
    def claim(self, data: bytes) -> bool:
        """Put the object if there is none; of many who try at once, one does. Return whether this one did."""

    @abstractmethod
    def swap(self, data: bytes, tag: str) -> bool:
        """Put the object if it still is what ``tag`` names; of many who try at once, one does. Say whether it was."""

    def touch(self) -> None:
        """Put an empty object where there is none."""
        self.claim(b"")

    def withdraw(self, tag: str) -> None:
        """Delete the object if it still is what ``tag`` names."""
        if self.tag() == tag:
            self.unlink(missing_ok=True)

    @abstractmethod
    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object; a kind whose server does not say what was there ignores ``missing_ok``."""

    def is_symlink(self) -> bool:
        """Return whether this leads to an object elsewhere."""
        return False

    # --- all objects below --------------------------------------------------------------------------------------

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the bytes of all objects below, by their names below this prefix; nothing that a link leads to."""

    def exists(self) -> bool:
        """Return whether there is such an object, or any below."""
        return self.tag() is not None or self.is_dir()

    def is_dir(self) -> bool:
        """Return whether there is an object below."""
        return bool(self.sizes())

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: B027 - few kinds have folders
        """Make the folder; where prefixes are no folders, one is there as soon as an object is."""

    def rmdir(self) -> None:  # noqa: B027
        """Remove the folder; refuse with an `OSError` if something is in it. Where there are no folders, do nothing."""

    def glob(self, pattern: str) -> "Iterator[Place]":
        """Yield the objects right below whose name matches."""
        yield from (self / name for name in sorted(self.sizes()) if "/" not in name and fnmatchcase(name, pattern))

    def presence(self) -> Callable[[str, int], bool]:
        """Return what says whether an object below is there in its size: ``(key, size)``.

        All are listed once, when first asked: a thousand sizes are one request.
        """
        sizes = cache(self.sizes)
        return lambda key, size: sizes().get(key) == size

    def outside(self, keys: Iterable[str]) -> list[str]:
        """Return those of ``keys`` that lead out of this prefix."""
        return [key for key in keys if {"", ".", ".."} & set(key.split("/"))]

    def discard(self, keys: Iterable[str]) -> None:
        """Delete objects below, there or not."""
        for key in keys:
            (self / key).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all objects below."""
        self.discard(list(self.sizes()))

    def sweep(self) -> None:  # noqa: B027
        """Delete what killed writers left under temporary names; where a put has none, there is nothing."""

    def free_bytes(self) -> int:
        """Return the bytes that are free where this goes; a bucket has no end."""
        return sys.maxsize

    @abstractmethod
    def zarr_store(self) -> Store:
        """Return the store in which Zarr sees the objects below."""


def unknown(url: object, found: str) -> UserError:
    """Return the refusal of a URL that names no place."""
    return UserError(
        url,
        found=found,
        expected="a path of this machine, or s3://bucket/key",
        do="Other object stores that speak S3 are reached by AWS_ENDPOINT_URL; mount what does not, or add a class of "
        "your own (docs/extending.md).",
    )
