"""Where a store is: one URL string everywhere, and the table of what URLs may begin with.

Without a scheme it is a folder of this machine. A scheme is a name of the table or, for a class of the user's own, its
dotted path: ``package.module:Name://...``; `tilespec.core.registry` says whose modules are imported.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.storage.backends.base import Place, unknown
from tilespec.storage.backends.folder import FolderPath

SCHEMES = {"s3": "tilespec.storage.backends.s3_path:S3Path"}
"""Kinds of places by the scheme of their URLs."""
AT_ONCE = 16
"""Small objects that are read at once where each costs a round trip."""
T = TypeVar("T")
U = TypeVar("U")


def at(url: str | Path | Place) -> Place:
    """Return the place that a URL names; a place is itself.

    Raises:
        UserError: the table has no such scheme; or it names no place of its kind.
    """
    if isinstance(url, Place):
        return url
    scheme, colon, _ = str(url).partition("://")
    if not colon:
        return FolderPath.of(str(url))
    if scheme not in SCHEMES and ":" not in scheme:
        raise unknown(url, f"the scheme {scheme}://")
    kind: type[Place] = load(SCHEMES, scheme, "store")
    return kind.of(str(url))


def absolute(url: str | Path) -> str:
    """Return a URL that means the same in every folder."""
    return str(at(url).absolute())


def local(url: str | Path, what: str) -> Path:
    """Return a path of this machine; refuse a URL where ``what`` can only be a file or a folder."""
    path = at(url).on_disk
    if path is None:
        raise UserError(url, found="an object store", expected=f"a path of this machine for {what}", do="Copy it over.")
    return path


def free_bytes(url: str | Path) -> int:
    """Return the bytes that are free where a store goes."""
    return at(url).free_bytes()


def several(function: Callable[[T], U], items: list[T]) -> list[U]:
    """Return what a function that waits for a server says of each item, a few at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))
