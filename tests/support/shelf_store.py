"""A third kind of store, as a user would add one: objects by name, puts and conditional puts, and no folders to see.

Its objects are files below the folder that the environment variable ``SHELF`` names, so that other processes see them
too. What names a content is a hash of it, as in a bucket.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from zarr.storage import LocalStore

from tilespec.storage.backends.base import StorePath

TILESPEC = {"store": {"shelf": "shelf_store:ShelfPath"}}


@dataclass(frozen=True)
class ShelfPath(StorePath):
    """An object ``shelf://name``, or the prefix of many."""

    url: str

    @classmethod
    def of(cls, url: str) -> "ShelfPath":
        return cls(url.rstrip("/"))

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "ShelfPath":
        return ShelfPath(f"{self.url}/{name}")

    @property
    def parent(self) -> "ShelfPath":
        return ShelfPath(self.url.rpartition("/")[0])

    @property
    def file(self) -> Path:
        return Path(os.environ["SHELF"], self.url.partition("://")[2])

    def tag(self) -> str | None:
        return hashlib.sha256(self.file.read_bytes()).hexdigest() if self.file.is_file() else None

    def modified(self) -> float:
        return self.file.stat().st_mtime

    def read_bytes(self) -> bytes:
        return self.file.read_bytes()

    def write_bytes(self, data: bytes) -> int:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(os.environ["SHELF"], uuid4().hex)
        partial.write_bytes(data)
        partial.replace(self.file)
        return len(data)

    def claim(self, data: bytes) -> bool:
        return self._put_if(None, data)

    def swap(self, data: bytes, tag: str) -> bool:
        return self._put_if(tag, data)

    def unlink(self, missing_ok: bool = False) -> None:
        self.file.unlink(missing_ok)

    def sizes(self) -> dict[str, int]:
        files = (path for path in self.file.rglob("*") if path.is_file())
        return {path.relative_to(self.file).as_posix(): path.stat().st_size for path in files}

    def zarr_store(self) -> LocalStore:
        return LocalStore(self.file)

    def _put_if(self, tag: str | None, data: bytes) -> bool:
        with _one_at_a_time():
            same = self.tag() == tag
            if same:
                self.write_bytes(data)
        return same


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with Path(os.environ["SHELF"], "turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
