"""Partial file: a file under another name until it is whole, which is removed if it never becomes so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tilespec.core.errors import OccupiedError
from tilespec.storage.backends.base import StorePath


def check_free(path: Path | StorePath) -> None:
    """Refuse the name of a file that is there already.

    Raises:
        OccupiedError: a file of this name is there.
    """
    if path.exists():
        raise OccupiedError(path, found="a file that is there already", expected="a free name", do="Remove it first.")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the name to write; when that is done, the file gets its own name.

    Raises:
        OccupiedError: a file of this name is there already.
    """
    check_free(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield a folder beside a file for what is made on the way to it; it is removed with all that is left in it."""
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        yield Path(folder)
