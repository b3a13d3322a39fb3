"""Base: the contract of every kind of place for a store.

A place has a part of the interface of `pathlib`, and the operations for many machines that write one store: puts that
are complete or do not happen, and conditional puts, of which one of many succeeds. A new kind is a subclass and a line
in `tilespec.storage.backends.paths.SCHEMES`.
"""

import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from zarr.abc.store import Store

from tilespec.core.errors import UserError

BLOCK = 1 << 24
"""The bytes that a download holds in memory."""


class StorePath(ABC):
    """A path: one object, or the prefix of many. ``str`` gives the URL, from which `of` makes an equal path.

    An equal URL is an equal place with an equal hash, and a place can be pickled.
    """

    @classmethod
    @abstractmethod
    def of(cls, url: str) -> "StorePath":
        """Return the path that a URL of this scheme names; refuse an invalid URL."""

    @abstractmethod
    def __truediv__(self, name: str) -> "StorePath":
        """Return the path ``name`` below this one; it may contain slashes."""

    @property
    @abstractmethod
    def parent(self) -> "StorePath":
        """The prefix that contains this path."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return str(self).rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part of the path without its suffix."""
        return Path(self.name).stem

    @property
    def on_disk(self) -> Path | None:
        """The local path; None for a server, on which each request costs a round trip."""
        return None

    @property
    def server(self) -> str | None:
        """The server, if the environment and not the URL names it."""
        return None

    def absolute(self) -> "StorePath":
        """Return the path by a URL that does not depend on the current folder."""
        return self

    def target(self) -> "StorePath":
        """Return the path without links: two names of one place have the same."""
        return self

    # --- one object ---------------------------------------------------------------------------------------------

    @abstractmethod
    def tag(self) -> str | None:
        """Return a tag of the object's present content, or None without an object; each put makes a new tag."""

    @abstractmethod
    def modified(self) -> float:
        """Return the time when the object was last put, in seconds, by the clock of the store.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Return the bytes of the object.

        Raises:
            FileNotFoundError: there is none.
        """

    def size(self) -> int:
        """Return the bytes of the object.

        Raises:
            FileNotFoundError: there is none.
        """
        size = self.parent.sizes().get(self.name)
        if size is None:
            raise FileNotFoundError(str(self))
        return size

    def read_text(self) -> str:
        """Return the object as text."""
        return self.read_bytes().decode()

    def blocks(self, size: int) -> Iterator[bytes]:  # noqa: ARG002 - a kind that can reads so much at once
        """Yield the object in pieces of about ``size`` bytes."""
        yield self.read_bytes()

    @abstractmethod
    def write_bytes(self, data: bytes) -> int:
        """Put the object completely or not at all, so that it survives a power cut; return its bytes."""

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """Yield a file of this machine with the object's content: a download, which is deleted when the block ends.

        Raises:
            FileNotFoundError: there is no object.
            UserError: this machine has less room for temporary files than the object has bytes.
        """
        with TemporaryDirectory(prefix="tilespec-") as folder:
            file = Path(folder, self.name)
            download(self, file)
            yield file

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Yield the path of a file to write, which is put completely when the block ends, or not at all on an error."""
        with TemporaryDirectory(prefix="tilespec-") as folder:
            file = Path(folder, self.name)
            yield file
            self.put_file(file)

    def put_file(self, file: Path) -> None:
        """Put the object with the content of a file of this machine, completely or not at all."""
        self.write_bytes(file.read_bytes())

    @abstractmethod
    def claim(self, data: bytes) -> bool:
        """Put the object if there is none, and return whether this call did; of many concurrent calls one succeeds."""

    @abstractmethod
    def swap(self, data: bytes, tag: str) -> bool:
        """Put the object if its content is still that of ``tag``, and return whether this call did."""

    def touch(self) -> None:
        """Put an empty object if none exists."""
        self.claim(b"")

    def withdraw(self, tag: str) -> None:
        """Delete the object if its content is still that of ``tag``."""
        if self.tag() == tag:
            self.unlink(missing_ok=True)

    @abstractmethod
    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object; if the server does not report its absence, ``missing_ok`` is ignored."""

    def is_symlink(self) -> bool:
        """Return whether this path is a link to an object elsewhere."""
        return False

    # --- all objects below --------------------------------------------------------------------------------------

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each object below, by its name below this prefix; links are not followed."""

    def exists(self) -> bool:
        """Return whether the object, or any object below the prefix, exists."""
        return self.tag() is not None or self.is_dir()

    def is_empty(self) -> bool:
        """Return whether neither the object nor any object below the prefix exists."""
        return not self.exists()

    def is_dir(self) -> bool:
        """Return whether any object below the prefix exists."""
        return bool(self.sizes())

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: B027 - few kinds have folders
        """Create the folder; without folders do nothing, because a prefix exists as soon as an object below it does."""

    def rmdir(self) -> None:  # noqa: B027
        """Remove the folder, with an `OSError` if it is not empty; without folders do nothing."""

    def glob(self, pattern: str) -> "Iterator[StorePath]":
        """Yield the objects directly below whose names match the pattern."""
        yield from (self / name for name in sorted(self.sizes()) if "/" not in name and fnmatchcase(name, pattern))

    def presence(self) -> Callable[[str, int], bool]:
        """Return a function of ``(key, size)`` that returns whether an object below exists with its size.

        All objects are listed once, at the first call: one request gives a thousand sizes.
        """
        sizes = cache(self.sizes)
        return lambda key, size: sizes().get(key) == size

    def outside(self, keys: Iterable[str]) -> list[str]:
        """Return those of ``keys`` that lead out of this prefix."""
        return [key for key in keys if {"", ".", ".."} & set(key.split("/"))]

    def discard(self, keys: Iterable[str]) -> None:
        """Delete the named objects below that exist."""
        for key in keys:
            (self / key).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all objects below."""
        self.discard(list(self.sizes()))

    def flush(self) -> None:  # noqa: B027
        """Wait until the names of the objects directly below survive a power cut; where each put does, do nothing."""

    def sweep(self) -> None:  # noqa: B027
        """Delete files that killed writers left under temporary names; without temporary names do nothing."""

    def free_bytes(self) -> int:
        """Return the free bytes at this location; a bucket has no limit."""
        return sys.maxsize

    @abstractmethod
    def zarr_store(self) -> Store:
        """Return the Zarr store of the objects below."""


def download(path: StorePath, file: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Write an object into a file of this machine; ``advance`` is called with the bytes of each piece.

    Raises:
        FileNotFoundError: there is no object.
        UserError: the disk of the file has less room than the object has bytes.
    """
    size, free = path.size(), shutil.disk_usage(file.parent).free
    if size > free:
        raise UserError(
            path,
            found=f"{size / 1e9:.1f} GB, where {file.parent} has room for {free / 1e9:.1f} GB",
            expected="room for a temporary copy",
            do="Set TMPDIR to a folder of a larger disk.",
        )
    with file.open("wb") as copy:
        for block in path.blocks(BLOCK):
            copy.write(block)
            advance(len(block))


def unknown(url: object, found: str) -> UserError:
    """Return the error for an invalid URL."""
    return UserError(
        url,
        found=found,
        expected="a path of this machine, or s3://bucket/key, gs://bucket/key, az://container/key",
        do="Other object stores that speak S3 are reached by AWS_ENDPOINT_URL; mount what does not, or add a class of "
        "your own (docs/extending.md).",
    )
