"""Bucket path: ``s3://bucket/key``, ``gs://bucket/key`` or ``az://container/key``, and its store for Zarr.

A put of an object is atomic; a conditional put (``If-None-Match``, ``If-Match``, or the generation) lets one of many
win.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, final

from zarr.storage import ObjectStore, WrapperStore

from tilespec.storage.backends.base import StorePath, unknown
from tilespec.storage.backends.buckets import AGAIN, SERVICES, again, client, passes, translate_errors


@final
@dataclass(frozen=True, kw_only=True)
class BucketPath(StorePath):
    """A path in a bucket: one object, or the prefix of many."""

    bucket: str
    """The name of the bucket."""
    key: str
    """The key in the bucket, without a slash at either end."""
    scheme: str = "s3"
    """The scheme of the URL, which names the service."""

    @classmethod
    def of(cls, url: str) -> "BucketPath":
        """Return the prefix ``s3://bucket/key``, ``gs://bucket/key`` or ``az://container/key``.

        Raises:
            UserError: no bucket, no key, or a key with ``..``.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        key = key.strip("/")
        if not bucket or not key or {"", ".", ".."} & set(key.split("/")):
            raise unknown(url, "no bucket and key")
        return cls(bucket=bucket, key=key, scheme=scheme)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> "BucketPath":
        return replace(self, key=f"{self.key}/{name}".strip("/"))

    @property
    def parent(self) -> "BucketPath":
        """The prefix that contains this path."""
        return replace(self, key=self.key.rpartition("/")[0])

    @property
    def server(self) -> str | None:
        """The endpoint, or None for that of the region."""
        return SERVICES[self.scheme].endpoint(os.environ)

    def is_dir(self) -> bool:
        """Return whether any object below the prefix exists."""
        return again(self, lambda: next(self._listed(), None) is not None)

    def tag(self) -> str | None:
        """Return the server's tag of the object (its ETag, or its generation), or None when there is no object."""
        head = self._head()
        return None if head is None else str(head[SERVICES[self.scheme].tag])

    def modified(self) -> float:
        """Return the time when the object was put, in seconds, by the server's clock."""
        head = self._head()
        if head is None:
            raise FileNotFoundError(str(self))
        return float(head["last_modified"].timestamp())

    def size(self) -> int:
        """Return the bytes of the object."""
        head = self._head()
        if head is None:
            raise FileNotFoundError(str(self))
        return int(head["size"])

    def read_bytes(self) -> bytes:
        """Return the bytes of the object."""
        import obstore

        return again(self, lambda: bytes(obstore.get(self._client, self.key).bytes()))

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yield the object in pieces of about ``size`` bytes."""
        import obstore

        with translate_errors(self):
            for block in obstore.get(self._client, self.key).stream(min_chunk_size=size):
                yield bytes(block)

    def write_bytes(self, data: bytes) -> int:
        """Put the object; it appears complete or not at all; return its bytes."""
        import obstore

        with translate_errors(self):
            obstore.put(self._client, self.key, data)
        return len(data)

    def put_file(self, file: Path) -> None:
        """Put the object in parts of a few megabytes; it appears complete or not at all."""
        import obstore

        with translate_errors(self):
            obstore.put(self._client, self.key, file)

    def claim(self, data: bytes) -> bool:
        """Put the object if there is none, and return whether this call did; of many concurrent calls one succeeds."""
        return self._conditional(data, "create")

    def swap(self, data: bytes, tag: str) -> bool:
        """Put the object if its content is still that of ``tag``, and return whether this call did."""
        try:
            return self._conditional(data, {SERVICES[self.scheme].tag: tag})
        except FileNotFoundError:
            return False

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: ARG002 - the server does not say what was there
        """Delete the object."""
        self.parent.discard([self.name])

    def discard(self, keys: Iterable[str]) -> None:
        """Delete the named objects below the prefix, many with each request where the service can."""
        import obstore

        named = [f"{self.key}/{key}".strip("/") for key in keys]
        try:
            with translate_errors(self):
                obstore.delete(self._client, named) if named else None
        except FileNotFoundError:  # a service that says so, and then may have left the others
            for key in named:
                with suppress(FileNotFoundError), translate_errors(self):
                    obstore.delete(self._client, key)

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each object below, by its name below this prefix."""
        cut = len(self.key) + 1
        return again(self, lambda: {entry["path"][cut:]: int(entry["size"]) for entry in self._listed()})

    def glob(self, pattern: str) -> "Iterator[BucketPath]":
        """Yield the objects directly below whose names match the pattern; those further below are not listed."""
        import obstore

        listed = again(self, lambda: obstore.list_with_delimiter(self._client, self.key or None)["objects"])
        names = (entry["path"].rpartition("/")[2] for entry in listed)
        yield from (self / name for name in sorted(names) if fnmatchcase(name, pattern))

    def zarr_store(self) -> "BucketZarrStore":
        """Return Zarr's store of the objects below."""
        return BucketZarrStore(ObjectStore(client(self.bucket, self.key, self.scheme)), self)

    @property
    def _client(self) -> Any:
        return client(self.bucket, scheme=self.scheme)

    def _head(self) -> Any:
        import obstore

        try:
            with translate_errors(self):
                return obstore.head(self._client, self.key)
        except FileNotFoundError:
            return None

    def _listed(self) -> Iterator[Any]:
        import obstore

        for batch in obstore.list(self._client, f"{self.key}/"):
            yield from batch

    def _conditional(self, data: bytes, mode: Any) -> bool:
        """Put under a condition. If an answer was lost, the condition fails although the put succeeded."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def put() -> bool:
            try:
                obstore.put(self._client, self.key, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        return again(self, put)


@final
class BucketZarrStore(WrapperStore):
    """A Zarr store in a bucket; a missing object reads as the fill value, but a missing bucket is an error."""

    def __init__(self, store: "ObjectStore[Any]", where: BucketPath) -> None:
        self._store = store
        self._where = where

    def _with_store(self, store: "ObjectStore[Any]") -> "BucketZarrStore":
        return BucketZarrStore(store, self._where)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return an object, or a range of its bytes; None when it does not exist."""
        with translate_errors(self._where / key):
            for left in reversed(range(AGAIN)):
                try:
                    found = await self._store.get(key, prototype, byte_range)
                    break
                except Exception as error:
                    if not left or not passes(error):
                        raise
        if found is None:
            await asyncio.to_thread(self._where.is_dir)  # refuses a bucket that is gone
        return found

    async def set(self, key: str, value: Any) -> None:
        """Put an object; it appears complete or not at all."""
        with translate_errors(self._where / key):
            await self._store.set(key, value)
