"""Paths: the place of a store from its URL, and the table of the schemes of URLs.

A URL without a scheme is a folder of this machine. A scheme is a name in the table, a name that a user's module lists
under ``store``, or the dotted path of a class: ``package.module:Name://...``; `tilespec.core.registry` defines which
modules are imported.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS, load, plugins
from tilespec.storage.backends.base import StorePath, unknown
from tilespec.storage.backends.folder import FolderPath

SCHEMES = dict.fromkeys(("s3", "gs", "az"), "tilespec.storage.backends.bucket_path:BucketPath")
"""The kinds of places by the scheme of their URLs."""
AT_ONCE = 16
"""The number of small objects that are read at the same time where each costs a round trip."""
T = TypeVar("T")
U = TypeVar("U")


def store_path(url: str | Path | StorePath) -> StorePath:
    """Return the place that a URL names; a place is returned unchanged.

    Raises:
        UserError: the table does not have the scheme, or the URL is invalid for it.
    """
    if isinstance(url, StorePath):
        return url
    scheme, colon, _ = str(url).partition("://")
    if not colon:
        return FolderPath.of(str(url))
    kind = _kind(scheme, os.environ.get(PLUGINS))
    if kind is None:
        raise unknown(url, f"the scheme {scheme}://")
    path: StorePath = kind.of(str(url))
    return path


@lru_cache
def _kind(scheme: str, _named: str | None) -> Any:
    """Return the class of a scheme, whose ``of`` gives a `StorePath`; None if there is none. It is looked up once."""
    registered = ":" in scheme or scheme in SCHEMES or scheme in plugins("store")
    return load(SCHEMES, scheme, "store") if registered else None


def absolute(url: str | Path) -> str:
    """Return a URL that does not depend on the current folder."""
    return str(store_path(url).absolute())


def local(url: str | Path | StorePath, what: str) -> Path:
    """Return a path of this machine; refuse the URL of a bucket where ``what`` must be a file or a folder."""
    path = store_path(url).on_disk
    if path is None:
        raise UserError(url, found="an object store", expected=f"a path of this machine for {what}", do="Copy it over.")
    return path


def free_bytes(url: str | Path) -> int:
    """Return the free bytes at the location of a store."""
    return store_path(url).free_bytes()


def map_concurrently(function: Callable[[T], U], items: list[T]) -> list[U]:
    """Return the results of a function that waits for a server, for all items; a few calls run at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))
