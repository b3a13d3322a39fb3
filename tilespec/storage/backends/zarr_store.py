"""Zarr's view of a prefix of a bucket: `zarr.storage.ObjectStore`, with errors that users understand."""

import asyncio
from typing import Any, final

import numpy as np
import xxhash
from zarr.storage import LocalStore, ObjectStore, WrapperStore

from tilespec.storage.backends.paths import Place, S3Path, at
from tilespec.storage.backends.s3 import client, told


@final
class Cloud(WrapperStore):
    """A Zarr store on S3; a missing object reads as the fill value, but a missing bucket is an error."""

    def __init__(self, store: "ObjectStore[Any]") -> None:
        self._store = store
        self._where = S3Path(bucket=store.store.config["bucket"], key=store.store.prefix)

    @classmethod
    def at(cls, place: S3Path) -> "Cloud":
        """Return the store at a prefix."""
        return cls(ObjectStore(client(place.bucket, place.key)))

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return an object, or a range of its bytes; None when it does not exist."""
        with told(self._where / key):
            found = await self._store.get(key, prototype, byte_range)
        if found is None:
            await asyncio.to_thread(self._where.is_dir)  # raises for a missing bucket
        return found

    async def set(self, key: str, value: Any) -> None:
        """Put an object; it appears complete or not at all."""
        with told(self._where / key):
            await self._store.set(key, value)


def zarr_store(place: Place) -> LocalStore | Cloud:
    """Return the Zarr store at a path."""
    return Cloud.at(place) if isinstance(place, S3Path) else LocalStore(place)


@final
class Recording(WrapperStore):
    """A store that records the size and the hash of every object that is put into it."""

    def __init__(self, store: LocalStore | Cloud) -> None:
        self._store = store
        self.entries: dict[str, list[Any]] = {}

    @classmethod
    def at(cls, url: str) -> "Recording":
        """Return the store at ``url`` with an empty record."""
        return cls(zarr_store(at(url)))

    async def set(self, key: str, value: Any) -> None:
        """Put an object, complete or not at all: one thread hashes it while another writes it."""
        _, entry = await asyncio.gather(self._store.set(key, value), asyncio.to_thread(_entry, value))
        self.entries[key] = entry


def _entry(value: Any) -> list[Any]:
    """Return the size and the hash of a buffer; hashing releases the interpreter's lock."""
    stored: np.ndarray = value.as_numpy_array()
    return [stored.nbytes, xxhash.xxh3_128_hexdigest(stored.data)]
