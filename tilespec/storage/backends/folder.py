"""Folder: a folder of this machine by `pathlib`, with the further operations of a store."""

import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath
from typing import Any, final
from uuid import uuid4

from zarr.storage import LocalStore

from tilespec.core.errors import UserError
from tilespec.storage.backends.base import StorePath

PATIENCE = 10.0
"""The seconds that another process may take to compare and replace a file."""
TEMPORARY = re.compile(r".*\.(?:[0-9a-f]{32}|\d+)\.partial")
"""The pattern of temporary names of objects (zarr's) and of records (ours; before, with a process's number), without
the names under ``.partial``."""


@final
class FolderPath(PosixPath, StorePath):
    """A file or a folder. Puts are renames; conditional puts use exclusive creation and a lock of the kernel."""

    @classmethod
    def of(cls, url: str) -> "FolderPath":
        """Return the path ``url``."""
        return cls(url)

    @property
    def on_disk(self) -> Path:
        """The path itself."""
        return Path(self)

    def target(self) -> "FolderPath":
        """Return the path without symbolic links."""
        return self.resolve()

    def tag(self) -> str | None:
        """Return the number, the size and the last change of the file, or None without a file."""
        try:
            status = self.stat()
        except FileNotFoundError:
            return None
        return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"

    def modified(self) -> float:
        """Return the time when the file was last written or touched, in seconds, by the clock of the file system."""
        return self.stat().st_mtime

    def open(self, mode: str = "r", *how: Any, **named: Any) -> Any:
        """Open the file; in the place of one that is read, a pipe or a device is refused, which would be waited for.

        Raises:
            OSError: it cannot be opened, or is no file.
        """
        if mode.startswith("r") and self.exists() and not self.is_file():
            raise OSError(errno.EINVAL, "it is no file", str(self))
        return super().open(mode, *how, **named)

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yield the file in pieces of ``size`` bytes."""
        with self.open("rb") as file:
            while block := file.read(size):
                yield block

    def size(self) -> int:
        """Return the bytes of the file."""
        return self.stat().st_size

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """Yield the file itself."""
        yield self.on_disk

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Yield the path of a file beside this one, which replaces it when the block ends; on an error it goes."""
        partial = Path(self).with_name(f"{self.name}.{uuid4().hex}.partial")
        try:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(self)
        except BaseException:
            partial.unlink(missing_ok=True)  # a full disk keeps no half of it
            raise

    def put_file(self, file: Path) -> None:
        """Replace the file by a copy of another one, completely or not at all."""
        with self.staged() as partial:
            shutil.copyfile(file, partial)

    def write_bytes(self, data: bytes) -> int:  # type: ignore[override]
        """Replace the file completely or not at all; return its bytes."""
        with self.staged() as partial:
            partial.write_bytes(data)
        return len(data)

    def claim(self, data: bytes) -> bool:
        """Create the file exclusively; return whether there was none."""
        try:
            file = self.open("xb")
        except FileExistsError:
            return False
        except FileNotFoundError:  # who held a lock there removed the empty folder
            with suppress(FileExistsError):  # who removes it meanwhile
                self.parent.mkdir(parents=True, exist_ok=True)
            return self.claim(data)
        try:
            with file:
                file.write(data)
        except BaseException:
            self.unlink(missing_ok=True)  # a full disk: an empty lock would block everybody
            raise
        return True

    def swap(self, data: bytes, tag: str) -> bool:
        """Replace the file if its content is still that of ``tag``; return whether this call did."""
        with self._alone():
            same = self.tag() == tag
            if same:
                self.write_bytes(data)
        return same

    def withdraw(self, tag: str) -> None:
        """Remove the file if its content is still that of ``tag``."""
        with self._alone():
            super().withdraw(tag)

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each file below, by its name below this folder; links are not followed."""
        paths, sizes = (Path(folder) / name for folder, _, names in os.walk(self) for name in names), {}
        for path in paths:
            with suppress(FileNotFoundError):  # a run that writes has just given it its name
                sizes[path.relative_to(self).as_posix()] = path.lstat().st_size
        return sizes

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the file as text, UTF-8 whatever the locale."""
        return super().read_text(encoding or "utf-8", errors)

    def presence(self) -> Callable[[str, int], bool]:
        """Return a function that returns whether a file below exists with its size; each call looks at the file."""
        root = f"{self}/"  # a path of a million objects is a string: an object of `pathlib` takes ten times as long
        return lambda key, size: _has_size(root + key, size)

    def outside(self, keys: Iterable[str]) -> list[str]:
        """Return those of ``keys`` that lead out of this folder, by ``..`` or by a symbolic link in the path."""
        root = self.resolve()
        return [key for key in keys if not (self / key).parent.resolve().is_relative_to(root)]

    def is_empty(self) -> bool:
        """Return whether nothing exists here, or an empty folder."""
        return not self.exists() or (self.is_dir() and next(self.iterdir(), None) is None)

    def flush(self) -> None:
        """Write the list of names in this folder to the disk."""
        handle = os.open(self, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def clear(self) -> None:
        """Remove everything in this folder."""
        for path in self.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def sweep(self) -> None:
        """Remove files that killed writers left under temporary names, here and below; links are not followed."""
        for folder, _, names in os.walk(self):
            for name in filter(TEMPORARY.fullmatch, names):
                (Path(folder) / name).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return the free bytes on the file system of this folder."""
        return shutil.disk_usage(next(folder for folder in self.absolute().parents if folder.exists())).free

    def zarr_store(self) -> LocalStore:
        """Return Zarr's store of this folder."""
        return LocalStore(self.on_disk)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time inspect and change the file; the kernel releases the guard of a killed process."""
        guard, until = self.with_name(f"{self.name}.guard"), time.monotonic() + PATIENCE
        while (file := _guarded(guard)) is None and time.monotonic() < until:
            time.sleep(0.01)
        if file is None:
            raise UserError(
                guard,
                found=f"another process that has been changing the {self.name} for {PATIENCE:.0f} s",
                expected="less than a moment",
                do="Run the same command again; if this remains, end the process that hangs.",
            )
        try:
            yield
        finally:
            guard.unlink(missing_ok=True)
            os.close(file)


def _guarded(guard: Path) -> int | None:
    """Return the guard, locked, or None if another process has it; a file that was removed meanwhile is no guard."""
    try:
        file = os.open(guard, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # who held the lock removed the empty folder
        guard.parent.mkdir(parents=True, exist_ok=True)
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_ino == guard.stat().st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        return file  # no such locks on this file system: the exclusive creation alone has to do
    os.close(file)
    return None


def _has_size(path: str, size: int) -> bool:
    """Return whether a file of ``size`` bytes exists; a symbolic link to a place outside does not count."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size
