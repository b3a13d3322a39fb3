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
"""Small objects that are read at once: each costs a round trip."""
T = TypeVar("T")
U = TypeVar("U")


@final
@dataclass(frozen=True, kw_only=True)
class S3Path:
    """An object, or the prefix of many."""

    bucket: str
    """Name of the bucket."""
    key: str
    """Name in the bucket, no slash at its ends."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> "S3Path":
        return S3Path(bucket=self.bucket, key=f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> "S3Path":
        """The prefix that holds this."""
        return S3Path(bucket=self.bucket, key=self.key.rpartition("/")[0])

    def absolute(self) -> "S3Path":
        """Return this: every URL is absolute."""
        return self

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a prefix is there as soon as an object is."""

    def exists(self) -> bool:
        """Return whether there is such an object, or any below."""
        return self.tag() is not None or self.is_dir()

    def is_dir(self) -> bool:
        """Return whether there is an object below."""
        return again(self, lambda: next(self._listed(), None) is not None)

    def tag(self) -> str | None:
        """Return what names the content of the object, None where there is none."""
        found = self._head()
        return None if found is None else str(found["e_tag"])

    def modified(self) -> float:
        """Return when the object was put, in seconds, by the server's clock."""
        found = self._head()
        if found is None:
            raise FileNotFoundError(str(self))
        return float(found["last_modified"].timestamp())

    def read_bytes(self) -> bytes:
        """Return the object."""
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
        """Put the object, whole or not at all."""
        import obstore

        with told(self):
            obstore.put(client(self.bucket), self.key, data)

    def claim(self, data: bytes) -> bool:
        """Put the object if there is none; of many who try at once, one does. Return whether this one did."""
        return self._conditional(data, "create")

    def swap(self, data: bytes, tag: str) -> bool:
        """Put the object if it still is what ``tag`` names. Return whether it was."""
        return self._conditional(data, {"e_tag": tag})

    def touch(self, *, exist_ok: bool = True) -> None:
        """Put an empty object where there is none."""
        if not self.claim(b"") and not exist_ok:
            raise FileExistsError(str(self))

    def unlink(self, *, missing_ok: bool = False) -> None:  # noqa: ARG002 - the server does not say what was there
        """Delete the object."""
        self.parent.discard([self.name])

    def discard(self, keys: list[str]) -> None:
        """Delete objects below, a thousand a request."""
        import obstore

        if keys:
            with told(self):
                obstore.delete(client(self.bucket), [f"{self.key}/{key}".strip("/") for key in keys])

    def sizes(self) -> dict[str, int]:
        """Return the bytes of all objects below, by their names below this prefix."""
        cut = len(self.key) + 1
        return again(self, lambda: {found["path"][cut:]: int(found["size"]) for found in self._listed()})

    def glob(self, pattern: str) -> Iterator["S3Path"]:
        """Yield the objects right below whose name matches."""
        yield from (self / name for name in sorted(self.sizes()) if "/" not in name and fnmatchcase(name, pattern))

    def clear(self) -> None:
        """Delete all objects below."""
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
        """Put under a condition. After an answer that was lost the condition fails though the put was ours."""
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
"""Where objects are."""


def at(url: str | Path) -> Place:
    """Return the place that a URL names: a folder of this machine without a scheme, else a prefix of a bucket.

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
    """Return a URL that means the same in every folder."""
    return str(at(url).absolute())


def local(url: str | Path, what: str) -> Path:
    """Return a path of this machine; refuse a URL where ``what`` can only be a file or a folder."""
    place = at(url)
    if isinstance(place, S3Path):
        raise UserError(url, found="an object store", expected=f"a path of this machine for {what}", do="Copy it over.")
    return place


def free_bytes(url: str | Path) -> int:
    """Return the bytes that are free where a store goes; a bucket has no end."""
    place = at(url).absolute()
    if isinstance(place, S3Path):
        return sys.maxsize
    return shutil.disk_usage(next(folder for folder in place.parents if folder.exists())).free


def several(function: Callable[[T], U], items: list[T]) -> list[U]:
    """Return what a function that waits for a server says of each item, a few at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))
