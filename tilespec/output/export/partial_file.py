"""Partial file: a file under another name until it is whole, which is removed if it never becomes so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilespec.core.errors import OccupiedError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the name to write; when that is done, the file gets its own name.

    Raises:
        OccupiedError: a file of this name is there already.
    """
    if path.exists():
        raise OccupiedError(path, found="a file that is there already", expected="a free name", do="Remove it first.")
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
