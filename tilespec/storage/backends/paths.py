"""Places of objects: a folder of this machine, or a prefix of an S3 bucket that speaks the same part of `pathlib`.

A store is named by a URL string everywhere. Without a scheme it is a folder, and `pathlib` is used as it is;
``s3://bucket/key`` is an `S3Path`. A put of an object is atomic; a conditional put (``If-None-Match``, ``If-Match``)
lets one of many win.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, final

from tilespec.core.errors import UserError
from tilespec.storage.backends.s3 import again, client, told

AT_ONCE = 16
"""The number of small objects that are read at the same time, because each costs a round trip."""
T = TypeVar("T")
U = TypeVar("U")


@final
@dataclass(frozen=True, kw_only=True)
class S3Path:
    """A path in an S3 bucket: one object, or the prefix of many."""

    bucket: str
    """The name of the bucket."""
    key: str
    """The key in the bucket, without a slash at either end."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> "S3Path":
        return S3Path(bucket=self.bucket, key=f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part of the key without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> "S3Path":
        """The prefix that contains this path."""
        return S3Path(bucket=self.bucket, key=self.key.rpartition("/")[0])

    def absolute(self) -> "S3Path":
        """Return the path itself, because every URL is absolute."""
        return self

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing, because a prefix exists as soon as an object below it does."""

    def exists(self) -> bool:
        """Return whether the object, or any object below the prefix, exists."""
        return self.tag() is not None or self.is_dir()

    def is_dir(self) -> bool:
        """Return whether any object below the prefix exists."""
        return again(self, lambda: next(self._listed(), None) is not None)

    def tag(self) -> str | None:
        """Return the server's tag of the object's content (ETag), or None when there is no object."""
        found = self._head()
        return None if found is None else str(found["e_tag"])

    def modified(self) -> float:
        """Return the time when the object was put, in seconds, by the server's clock."""
        found = self._head()
        if found is None:
            raise FileNotFoundError(str(self))
        return float(found["last_modified"].timestamp())

    def read_bytes(self) -> bytes:
        """Return the bytes of the object."""
        import obstore

        return again(self, lambda: bytes(obstore.get(client(self.bucket), self.key).bytes()))

    def read_text(self) -> str:
        """Return the object as text."""
        return self.read_bytes().decode()

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yield the object in pieces of about ``size`` bytes."""
        import obstore

        with told(self):
            for block in obstore.get(client(self.bucket), self.key).stream(min_chunk_size=size):
                yield bytes(block)

    def write_bytes(self, data: bytes) -> None:
        """Put the object; it appears complete or not at all."""
        import obstore

        with told(self):
            obstore.put(client(self.bucket), self.key, data)

    def claim(self, data: bytes) -> bool:
        """Put the object if there is none, and return whether this call did; of many concurrent calls one succeeds."""
        return self._conditional(data, "create")

    def swap(self, data: bytes, tag: str) -> bool:
        """Put the object if its content is still that of ``tag``, and return whether this call did."""
        return self._conditional(data, {"e_tag": tag})

    def touch(self, *, exist_ok: bool = True) -> None:
        """Put an empty object if none exists."""
        if not self.claim(b"") and not exist_ok:
            raise FileExistsError(str(self))

    def unlink(self, *, missing_ok: bool = False) -> None:  # noqa: ARG002 - the server does not say what was there
        """Delete the object if it exists."""
        self.parent.discard([self.name])

    def discard(self, keys: list[str]) -> None:
        """Delete the named objects below the prefix, a thousand with each request."""
        import obstore

        if keys:
            with told(self):
                obstore.delete(client(self.bucket), [f"{self.key}/{key}".strip("/") for key in keys])

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each object below, by its name below this prefix."""
        cut = len(self.key) + 1
        return again(self, lambda: {found["path"][cut:]: int(found["size"]) for found in self._listed()})

    def glob(self, pattern: str) -> Iterator["S3Path"]:
        """Yield the objects directly below the prefix whose names match the pattern."""
        yield from (self / name for name in sorted(self.sizes()) if "/" not in name and fnmatchcase(name, pattern))

    def clear(self) -> None:
        """Delete all objects below the prefix."""
        self.discard(list(self.sizes()))

    def _head(self) -> Any:
        import obstore

        try:
            with told(self):
                return obstore.head(client(self.bucket), self.key)
        except FileNotFoundError:
            return None

    def _listed(self) -> Iterator[Any]:
        import obstore

        for batch in obstore.list(client(self.bucket), f"{self.key}/"):
            yield from batch

    def _conditional(self, data: bytes, mode: Any) -> bool:
        """Put the object under a condition. If an answer was lost, the condition fails although the put succeeded."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def put() -> bool:
            try:
                obstore.put(client(self.bucket), self.key, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        return again(self, put)


Place = Path | S3Path
"""A location of objects: a local path or a prefix in a bucket."""


def at(url: str | Path) -> Place:
    """Return the path that a URL names: a folder of this machine without a scheme, else a prefix of a bucket.

    Raises:
        UserError: another scheme than ``s3``, no bucket, no key, or a key with ``..``.
    """
    scheme, colon, rest = str(url).partition("://")
    if not colon:
        return Path(url)
    bucket, _, key = rest.partition("/")
    key = key.strip("/")
    if scheme != "s3" or not bucket or not key or {"", ".", ".."} & set(key.split("/")):
        raise UserError(
            url,
            found=f"the scheme {scheme}://" if scheme != "s3" else "no bucket and key",
            expected="a path of this machine, or s3://bucket/key",
            do="Other object stores that speak S3 are reached by AWS_ENDPOINT_URL; mount what does not.",
        )
    return S3Path(bucket=bucket, key=key)


def absolute(url: str | Path) -> str:
    """Return a URL that does not depend on the current folder."""
    return str(at(url).absolute())


def local(url: str | Path, what: str) -> Path:
    """Return a path of this machine; refuse the URL of a bucket where ``what`` must be a file or a folder."""
    place = at(url)
    if isinstance(place, S3Path):
        raise UserError(url, found="an object store", expected=f"a path of this machine for {what}", do="Copy it over.")
    return place


def free_bytes(url: str | Path) -> int:
    """Return the free bytes at the location of a store; a bucket has no limit."""
    place = at(url).absolute()
    if isinstance(place, S3Path):
        return sys.maxsize
    return shutil.disk_usage(next(folder for folder in place.parents if folder.exists())).free


def several(function: Callable[[T], U], items: list[T]) -> list[U]:
    """Return the results of a function that waits for a server, for all items; a few calls run at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))
