"""Inventory: the objects that a store must hold, so that a hole, or an object of another store, is never read as data.

Zarr reads a missing object as its fill value, and checks no object against its place. A store that tilespec wrote is
complete or says that it is not, so a missing object is damage there; and the records beside it (`Ledger`) hold the size
and the hash of each object, so an object that was cut, exchanged or edited is found as it is read. Everything that
reads a store passes `open_group`, and so this module.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import xxhash
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import difference, fingerprint
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import read_json
from tilespec.storage.layout import COMPLETE, WRITING
from tilespec.storage.ledger import Ledger
from tilespec.storage.stored_objects import place, size_and_hash

ROOT, PUBLISHED = "zarr.json", "root.json"
"""The names of the root's metadata, and of their copy beside the store, taken when they were published last."""
LAYOUT = "tilespec_layout"
"""The root attribute with the hash of the arrays' metadata: a copy that another program wrote has other metadata."""
PLANE = re.compile(r"[^/]+/c/\d+/\d+(/\d+)*")
"""The pattern of the key of an object of a ``y, x`` array."""
THREADS = 4
"""The number of objects that are read and hashed at the same time."""
REMEDY = (
    "Restore it from a copy, or let `tilespec repair` write it again; if you changed it yourself, `tilespec repair "
    "--accept` records what is there as right."
)


@final
@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What is known of the objects of one store, as it was when its root's metadata had the tag ``stamp``."""

    url: str
    """The URL of the store."""
    stamp: str | None
    """The tag of the root's metadata; it changes whenever the store is written again."""
    whole: frozenset[str]
    """The names of the arrays of which every object must be there, with or without a record."""
    recorded: bool
    """Whether records beside the store hold the size and the hash of its objects."""
    entries: Mapping[str, tuple[int, str]]
    """The size in bytes and the hash of the recorded objects by key; empty without records."""

    def missing(self, key: str) -> None:
        """Accept that an object is missing, as the fill value of a foreign store.

        Raises:
            UserError: it must be there.
        """
        self._check_here()
        plane = len(key.rpartition("/c/")[2].split("/")) > 1  # Zarr writes no coordinate of zeros
        if (plane and key.split("/", maxsplit=1)[0] in self.whole) or key in self.entries:
            raise self.damage(key, "no object", "every object of a complete store")

    def compare(self, key: str, data: np.ndarray) -> bool:
        """Compare the encoded bytes of an object with its record; return whether there is a record.

        Raises:
            UserError: they differ; or the store has changed since it was opened.
        """
        self._check_here()
        entry = self.entries.get(key)
        if entry is not None:
            self.check(key, data.nbytes, xxhash.xxh3_128_hexdigest(data.data))
        return entry is not None

    def check(self, key: str, size: int, digest: str) -> None:
        """Refuse an object whose size and hash are not the recorded ones."""
        if (size, digest) != self.entries[key]:
            size_then = self.entries[key][0]
            what = "other bytes" if size == size_then else f"{size} bytes instead of {size_then}"
            raise self.damage(key, f"a damaged object: {what} (or exchanged, or edited)", "what was written")

    def check_unchanged(self) -> None:
        """Refuse a store that was removed, moved or written again since it was opened.

        Raises:
            UserError: it was; what was read belongs to two stores.
        """
        if (store_path(self.url) / ROOT).tag() != self.stamp:
            raise UserError(
                self.url,
                found="a store that was moved, removed or written again while it was read",
                expected="one store from the first read to the last",
                do="Bring it back, or wait until it is written, and run the same command again.",
            )

    def _check_here(self) -> None:
        """Check a store on this machine, as often as an object is read; in a bucket this would be a round trip."""
        if store_path(self.url).on_disk is not None:
            self.check_unchanged()

    def damage(self, key: str, found: str, expected: str) -> UserError:
        """Return the error for an object."""
        return UserError(store_path(self.url) / key, found=found, expected=expected, do=REMEDY)


def inventory(url: str, stamp: str | None = None) -> Inventory:
    """Return the inventory of a store, as it was at ``stamp``; None for now.

    Raises:
        UserError: the metadata, or the root's attributes, are not those that were written.
    """
    root = store_path(url)
    if stamp is None:
        stamp = (root / ROOT).tag()
    return _inventory(url, root.server, stamp)


@lru_cache(maxsize=256)
def _inventory(url: str, server: str | None, stamp: str | None) -> Inventory:
    """Read the inventory of a store from its root and from the records beside it."""
    del server  # another server has another store at the same URL
    published = read_json(store_path(url) / ROOT) or {}
    attributes = published.get("attributes")
    status = attributes.get("tilespec_status") if isinstance(attributes, dict) else None
    bare = Inventory(url=url, stamp=stamp, whole=frozenset(), recorded=False, entries={})
    if status == WRITING:
        return bare
    ledger = Ledger.find(url)
    layout = {} if ledger is None else ledger.read_layout()
    if ledger is None or not layout:
        complete = status == COMPLETE and _is_ours(url, published)
        return replace(bare, whole=frozenset(_listed(published)) if complete else frozenset())
    _check_root(url, published, read_json(ledger.folder / PUBLISHED))
    _check_metadata(url, layout["metadata"])
    records = ledger.records().values()
    entries = {key: (size, digest) for key, size, digest in _entries(layout["metadata"], records)}
    return replace(bare, recorded=True, entries=entries)


def _entries(metadata: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int, str]]:
    """Yield the key, the size and the hash of the recorded objects."""
    for objects in [metadata, *(of for record in records for of in record["objects"].values())]:
        for key, (size, digest) in objects.items():
            yield key, size, digest


def _check_root(url: str, published: Mapping[str, Any], last: Mapping[str, Any] | None) -> None:
    """Refuse root metadata other than those that were published last; older products have no record of them."""
    if last is None or last == published:
        return
    before, now = last.get("attributes") or {}, published.get("attributes") or {}
    raise UserError(
        store_path(url) / ROOT,
        found=difference(before, now) or "other arrays",
        expected="the attributes with which the store was published",
        do=REMEDY,
    )


def _check_metadata(url: str, recorded: Mapping[str, Any]) -> None:
    """Refuse metadata of arrays, and coordinates, that are not as recorded; a bucket would take a round trip each."""
    root = store_path(url)
    if root.on_disk is None:
        return
    for key, entry in recorded.items():
        fault = fault_of(root, key, *entry)
        if fault is not None:
            raise UserError(root / key, found=fault, expected="the metadata with which it was written", do=REMEDY)


def fault_of(root: StorePath, key: str, size: int, digest: str) -> str | None:
    """Return how an object differs from its record, or None when it is the recorded one."""
    try:
        path = place(root, key)
        found = _no_file(path) or size_and_hash(path)
    except UserError:
        found = "a place outside the store"
    except (FileNotFoundError, NotADirectoryError):
        found = "missing"
    except OSError as error:
        found = f"unreadable ({error.strerror})"
    if isinstance(found, str) or found == [size, digest]:
        return found if isinstance(found, str) else None
    return "other bytes" if found[0] == size else f"{found[0]} bytes instead of {size}"


def _no_file(path: StorePath) -> str | None:
    """Return what lies in the place of a file of this machine: a link, or a folder or pipe; None for a file."""
    if path.is_symlink():
        return "a link"
    folder = path.on_disk
    return "something that is no file" if folder is not None and folder.exists() and not folder.is_file() else None


def layout_hash(root: Mapping[str, Any]) -> str:
    """Return the hash of the arrays' metadata that a root consolidates."""
    return fingerprint(_listed(root))


def _listed(root: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of the arrays by name that a root consolidates."""
    consolidated = root.get("consolidated_metadata")
    listed = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    return listed if isinstance(listed, dict) else {}


def _is_ours(url: str, published: Mapping[str, Any]) -> bool:
    """Return whether the arrays are still those that tilespec laid out.

    Root attributes travel along when another program edits a store and writes it elsewhere, and it may leave out
    objects that hold the fill value only. Its arrays have other metadata then.
    """
    stated, listed = published["attributes"].get(LAYOUT), _listed(published)
    own = {name: read_json(store_path(url) / name / ROOT) for name in listed}
    return stated is None or (own == listed and layout_hash(published) == stated)


@final
@dataclass(frozen=True, kw_only=True)
class Digests:
    """The hashes of what a store holds."""

    store: str
    """The hash of all planes: of the cube and its labels, of a prediction."""
    cube: str
    """The hash of the cube, if there is one; else that of the store."""


def digests(url: str) -> Digests:
    """Return the hashes of the contents of a store.

    Those in the root's attributes count if records beside the store vouch for them, since the objects are compared with
    the records as they are read. The attributes of a copy, or of a store that another program wrote, may be those of
    another store, so all its objects are read and hashed, once in a process.
    """
    known = inventory(url)
    attributes = (read_json(store_path(url) / ROOT) or {}).get("attributes") or {}
    if known.recorded and "tilespec_digest" in attributes:
        return _stated(attributes)
    return _computed(url, store_path(url).server, known.stamp)


def _stated(attributes: Mapping[str, Any]) -> Digests:
    """Return the hashes that root attributes state."""
    store = str(attributes.get("tilespec_digest"))
    return Digests(store=store, cube=str(attributes.get("tilespec_cube", store)))


@lru_cache(maxsize=256)
def _computed(url: str, server: str | None, stamp: str | None) -> Digests:
    """Return the hashes by reading all objects; they are the stated ones where a copy is the same to the byte."""
    del server, stamp
    root, published = store_path(url), read_json(store_path(url) / ROOT) or {}
    planes = sorted(key for key in root.sizes() if PLANE.fullmatch(key))
    with ThreadPoolExecutor(THREADS) as pool:
        hashes = dict(zip(planes, pool.map(lambda key: size_and_hash(root / key)[1], planes), strict=True))
    stated = _stated(published.get("attributes") or {})
    arrays = {key.split("/")[0] for key in planes}
    metadata = {name: read_json(root / name / ROOT) for name in sorted(arrays)}

    def digest(of: Callable[[str], bool], hash_stated: str) -> str:
        found = fingerprint({key: value for key, value in hashes.items() if of(key)})
        ours = found == hash_stated and _is_ours(url, published)
        return (
            hash_stated
            if ours
            else fingerprint([found, {name: meta for name, meta in metadata.items() if of(f"{name}/")}])
        )

    store = digest(lambda _: True, stated.store)
    cube = digest(lambda key: key.startswith("cube/"), stated.cube) if "cube" in arrays else store
    return Digests(store=store, cube=cube)


@final
class CheckedStore(WrapperStore[Store]):
    """A store for reading, of which each object that Zarr asks for is compared with the inventory."""

    def __init__(self, store: Store, known: Inventory) -> None:
        super().__init__(store)
        self.known = known

    @property
    def folder(self) -> Path | None:
        """The folder of the store; None where objects are read by Zarr."""
        return self._store.root if isinstance(self._store, LocalStore) else None

    def _with_store(self, store: Store) -> "CheckedStore":
        return CheckedStore(store, self.known)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object, or a part of it, which is not compared."""
        self._check_file(key)
        value = await self._store.get(key, prototype, byte_range)
        if value is None and is_object(key):
            self.known.missing(key)
        if value is not None and byte_range is None and is_object(key):
            await asyncio.to_thread(self.known.compare, key, value.as_numpy_array())
        return value

    def _check_file(self, key: str) -> None:
        """Refuse a folder, or a pipe, which would be waited for, in the place of a file."""
        path = store_path(self.known.url).on_disk
        if path is not None and (path / key).exists() and not (path / key).is_file():
            raise self.known.damage(key, "something that is no file", "a file")


def is_object(key: str) -> bool:
    """Return whether a key names an object with values, and not metadata."""
    return "/c/" in key or key.endswith("/c")
