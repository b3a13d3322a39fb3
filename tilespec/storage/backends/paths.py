"""Where a store is: one URL string everywhere, and the table of what URLs may begin with.

Without a scheme it is a folder of this machine. A scheme is a name of the table, one that a module of the user's lists
under ``store``, or the dotted path of a class: ``package.module:Name://...``; `tilespec.core.registry` says whose
modules are imported.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS, load, plugins
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
    kind = _kind(scheme, os.environ.get(PLUGINS))
    if kind is None:
        raise unknown(url, f"the scheme {scheme}://")
    return kind.of(str(url))


@lru_cache
def _kind(scheme: str, _named: str | None) -> type[Place] | None:
    """Return the class of a scheme, None where none has it; looked up once for the modules that the user has named."""
    known = ":" in scheme or scheme in SCHEMES or scheme in plugins("store")
    return load(SCHEMES, scheme, "store") if known else None


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
