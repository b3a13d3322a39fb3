"""Product: a store that is written one row of objects at a time, every object once, and resumably.

Every verb that writes many pixels uses this module: ingest, simulate, transform, predict. A row of objects is the unit
of work, of resuming and of repair; a plane that is too wide for that is divided into panels, each with its own rows.
"""

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import zarr

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import absolute, store_path
from tilespec.storage.backends.zarr_store import HashingStore
from tilespec.storage.chunk_writer import checked_only, compressed, put
from tilespec.storage.columns import as_plane, column_spec, layer_of
from tilespec.storage.files import scratch_folder, write_atomic
from tilespec.storage.inventory import LAYOUT, PUBLISHED, ROOT, layout_hash
from tilespec.storage.layout import COMPLETE, INCOMPLETE, WRITING, ArraySpec, Constants, compressors, encoding
from tilespec.storage.lease import Lease
from tilespec.storage.ledger import Ledger, sidecar
from tilespec.storage.stored_objects import keys, remove

FORMAT = 3
"""The version of records: 3 hashes objects with XXH3, 2 did with BLAKE2, 1 held a hash of each array's rows."""
WRITERS = 2
"""The number of objects that are written at once without Zarr."""
MEND = "mend.json"
"""The name of a marker beside a product whose metadata must be created again; only `repair` writes it."""


@final
@dataclass(frozen=True, kw_only=True)
class OpenRow:
    """A row of objects that is being written."""

    store: HashingStore
    """The store of the objects, which records their sizes and hashes."""
    arrays: Mapping[str, "zarr.Array[Any]"]
    """The arrays by their names."""
    keys: Mapping[str, list[str]]
    """The keys of the objects of each array, from left to right."""
    facts: dict[str, Any] = field(default_factory=lambda: {"counts": {}, "poison": []})
    """The facts that are recorded beside the objects."""


@final
@dataclass(frozen=True, kw_only=True)
class Product:
    """A store that is being written, and its ledger: a small value that is sent to workers."""

    url: str
    """The URL of the store, which does not depend on the current folder."""
    height: int
    """The height of the plane in pixels."""
    edge: int
    """The height of one stored object in pixels."""
    ledger: Ledger
    """The ledger of the finished rows."""
    width: int = 0
    """The width of the plane in pixels; needed only for panels."""
    panel: int | None = None
    """The width of a panel in pixels, a multiple of an object's width; None: one panel as wide as the plane."""
    lease: Lease | None = None
    """The right to write rows, looked at before each; None: nobody else can have it."""

    @classmethod
    def open(  # noqa: PLR0913 - what is written, and how
        cls,
        url: str,
        specs: list[ArraySpec],
        *,
        settings: dict[str, Any],
        attrs: Mapping[str, Any],
        constants: Constants,
        panel: int | None = None,
        table: bool = False,
    ) -> "Product":
        """Create the store, or resume the one that was begun with the same ``settings``.

        Args:
            url: The URL of the store.
            specs: The arrays that are written by rows.
            settings: All settings that decide the bytes; they are hashed, and compared when a run resumes.
            attrs: The root attributes, which must not differ between runs.
            constants: Small arrays that are written at once (coordinates): name to dims, values, attributes.
            panel: The width of a panel in pixels; if it differs from the width at the first run, all rows start again.
            table: Whether the plane, one pixel wide, is stored as a table of spectra.

        Raises:
            UserError: the place holds something else, or a product of other settings, or of an older version.
        """
        url = absolute(url)
        shape, stored = specs[0].shape, [column_spec(spec) for spec in specs] if table else specs
        edges = {spec.objects[0] for spec in specs}
        assert len(edges) == 1, "arrays of one product share the height of an object"
        assert panel is None or all(panel % spec.objects[1] == 0 for spec in specs), "a panel holds whole objects"
        mended = sidecar(url) / MEND
        begun = mended.exists() or _has_begun(store_path(url), sidecar(url))
        ledger = Ledger.open(url, settings)
        product = cls(url=url, height=shape[0], edge=edges.pop(), ledger=ledger, width=shape[1], panel=panel)
        if not begun:
            ledger.forget()  # records without a store speak of objects that are gone
            product._create(stored, attrs, constants, fresh=True)
        elif mended.exists() or (not ledger.read_layout() and not ledger.is_older()):
            _strip(url, [*(spec.name for spec in stored), *constants])
            product._create(stored, attrs, constants, fresh=False)
            mended.unlink(missing_ok=True)
        product._resume()
        return product

    @property
    def rows(self) -> int:
        """The number of rows of objects."""
        return -(-self.height // self.edge)

    @property
    def panels(self) -> int:
        """The number of panels."""
        return 1 if self.panel is None else -(-self.width // self.panel)

    @property
    def scratch(self) -> Path:
        """The folder in which tasks of a run exchange data; it is deleted when the product is finished.

        It lies beside the product, or in this user's cache folder when the product is in a bucket. A task computes what
        it does not find there, so machines need not share the folder.
        """
        return scratch_folder(self.ledger.rows) / "strips"

    def span(self, row: int) -> tuple[int, int]:
        """Return the first and the last pixel row (exclusive) of a row of objects."""
        return row * self.edge, min((row + 1) * self.edge, self.height)

    def columns(self, panel: int = 0) -> tuple[int, int]:
        """Return the first and the last pixel column (exclusive) of a panel."""
        if self.panel is None:
            return 0, self.width
        return panel * self.panel, min((panel + 1) * self.panel, self.width)

    def missing(self, panel: int = 0) -> list[int]:
        """Return the rows of a panel that must be written, in ascending order.

        A row is missing if it has no record; if an object of it is gone or differs in size from its record, as after a
        power cut (its bytes are not read here: `verify` reads them); or if it has poison tiles, which are tried again.
        """
        return self.missing_by_panel()[panel]

    def missing_by_panel(self) -> list[list[int]]:
        """Return the missing rows of each panel; the records of all panels are read once."""
        missing = self._without(lambda record: not record.get("poison"))
        return [[row for row in range(self.rows) if (row, panel) in missing] for panel in range(self.panels)]

    def unwritten(self) -> set[tuple[int, int]]:
        """Return the rows and their panels that are not recorded whole, whatever they hold."""
        return self._without(lambda _: True)

    def _without(self, counts: Callable[[dict[str, Any]], bool]) -> set[tuple[int, int]]:
        """Return the rows and their panels without a record that ``counts`` and whose objects are all there."""
        there = store_path(self.url).presence()
        every = {(row, panel) for panel in range(self.panels) for row in range(self.rows)}
        return every - {where for where, record in self.ledger.each() if counts(record) and _whole(record, there)}

    def lacks(self, row: int, panel: int = 0) -> bool:
        """Return whether a row has no record; one without its objects has lost it when the product was opened."""
        return self.ledger.read(row, panel) is None

    def retry(self) -> None:
        """Forget rows with poison tiles, which are tried again."""
        for (row, panel), record in self.ledger.each():
            if record.get("poison"):
                self.ledger.drop(row, panel)

    def write(
        self,
        row: int,
        blocks: Mapping[str, np.ndarray],
        counts: Mapping[str, int] | None = None,
        *,
        panel: int = 0,
        poison: Sequence[int] = (),
    ) -> None:
        """Write one whole row of objects of every array, then record it: objects, ``counts``, poison tiles.

        Objects that exist already, from a killed run or because they are damaged, are deleted first: objects are never
        merged.
        """
        (y0, y1), (x0, x1) = self.span(row), self.columns(panel)
        with self.open_row(row, blocks, panel=panel) as begun:
            for name, block in blocks.items():
                array = begun.arrays[name]
                whole = (y1 - y0, (x1 or array.shape[1]) - x0, *array.shape[2:])
                assert block.shape == whole, f"{name}: {block.shape} is no whole row of objects, {whole}"
            for name, block in blocks.items():
                self.put(begun, name, block, (y0, x0))
            begun.facts.update(counts=dict(counts or {}), poison=sorted(poison))

    @contextmanager
    def open_row(self, row: int, names: Iterable[str], *, panel: int = 0) -> Iterator["OpenRow"]:
        """Open a row of objects of some arrays for writing: old objects are deleted first, the record is written last.

        After an error the row is begun and not recorded, so it counts as missing.

        Raises:
            LeaseLostError: another run has taken over.
        """
        if self.lease is not None:
            self.lease.check()
        (y0, y1), (x0, x1) = self.span(row), self.columns(panel)
        store = HashingStore.at(self.url)
        group = zarr.open_group(store, mode="r+")
        arrays = {name: _writable(group, name) for name in names}
        named = {name: keys(a, name, (y0, x0), (y1, x1 or a.shape[1])) for name, a in arrays.items()}
        self.ledger.begin(row, panel)
        remove(store_path(self.url), [key for of in named.values() for key in of])
        begun = OpenRow(store=store, arrays=arrays, keys=named)
        yield begun
        objects = {name: {key: store.entries[key] for key in of} for name, of in named.items()}
        if self.lease is not None:
            self.lease.check()
        self.ledger.record(row, {"objects": objects, **begun.facts}, panel)

    def put(self, row: "OpenRow", name: str, block: np.ndarray, start: tuple[int, int]) -> None:
        """Write all objects of an array in a row that was begun, without Zarr where its format is known."""
        array, named, store = row.arrays[name], row.keys[name], row.store
        root, (y0, x0) = store_path(self.url).on_disk, start
        plain = checked_only(array) or compressed(array)
        if root is not None and plain and array.chunks[2:] == array.shape[2:]:
            edge = array.chunks[1]
            parts = [block[:, left : left + edge] for left in range(0, block.shape[1], edge)]
            with ThreadPoolExecutor(WRITERS, "tilespec-put") as pool:
                jobs = [pool.submit(put, root / key, array, part) for key, part in zip(named, parts, strict=True)]
                store.entries |= {key: job.result() for key, job in zip(named, jobs, strict=True)}
            return
        size = math.prod(array.shards or array.chunks) * array.dtype.itemsize
        with zarr.config.set({"async.concurrency": encoding(size)}):
            array[y0 : y0 + len(block), x0 : x0 + block.shape[1]] = np.ascontiguousarray(block, dtype=array.dtype)

    def finish(self) -> str:
        """Publish completeness as the last step and return the product's digest; refuse while rows are missing.

        A product with poison tiles is `INCOMPLETE`: all rows exist, and some pixels are nodata.
        """
        missing = self.unwritten()
        assert not missing, f"rows of objects {[row for row, _ in sorted(missing)][:5]} are missing"
        held, names = self.ledger.hashes()
        parts = {"tilespec_digest": fingerprint(held)}
        if "cube" in names:
            cube = {key: digest for key, digest in held.items() if key.startswith("cube/")}
            parts["tilespec_cube"] = fingerprint(cube)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.ledger.settle()
        publish(self.url, {"tilespec_status": INCOMPLETE if self.poison() else COMPLETE, **parts})
        return parts["tilespec_digest"]

    def sweep(self) -> None:
        """Delete what killed writers of rows left under temporary names; nobody writes rows any more."""
        for place in (store_path(self.url), self.ledger.rows):
            place.sweep()

    def poison(self) -> list[int]:
        """Return the tiles that no attempt could predict, in ascending order."""
        return sorted({tile for _, record in self.ledger.each() for tile in record.get("poison", ())})

    def counts(self) -> dict[str, int]:
        """Return the sum of the counts of all recorded rows."""
        return self.ledger.counts()

    def _create(self, specs: list[ArraySpec], attrs: Mapping[str, Any], constants: Constants, *, fresh: bool) -> None:
        """Create the store, or its metadata again; it counts as begun after `publish` has consolidated them."""
        entries = _create(self.url, specs, constants, fresh=fresh)
        layout = {key: getattr(self, key) for key in ("height", "width", "edge", "panel")}
        self.ledger.note("layout", {"format": FORMAT, **layout, "metadata": entries})
        mapped = {"coordinates": "spatial_ref"} if "spatial_ref" in constants else {}  # rioxarray looks for it there
        publish(self.url, {**attrs, **mapped, "tilespec_status": WRITING})

    def _resume(self) -> None:
        """Compare the layout with that of the records, and mark the product as being written if rows are missing."""
        layout = self.ledger.read_note("layout") or {}
        if layout.get("format") != FORMAT:
            raise UserError(
                self.url,
                found=f"a product with records of format {layout.get('format', 1)}",
                expected=f"format {FORMAT}",
                do="It can be read as it is. To write it again, remove it and its .tilespec folder first.",
            )
        if layout["panel"] != self.panel:
            self.ledger.forget()
            self.ledger.note("layout", {**layout, "panel": self.panel})
        there = store_path(self.url).presence()
        for (row, panel), record in self.ledger.each():
            if not _whole(record, there):
                self.ledger.drop(row, panel)  # its objects are gone
        status = metadata(store_path(self.url) / "zarr.json")["attributes"]["tilespec_status"]
        if status != WRITING and any(self.missing_by_panel()):
            publish(self.url, {"tilespec_status": WRITING})


def _writable(group: zarr.Group, name: str) -> "zarr.Array[Any]":
    """Return an array of a product for writing."""
    array = layer_of(group, name)
    assert array is not None, "it was created with the product"
    return as_plane(array.with_config({"write_empty_chunks": True}))


def _whole(record: dict[str, Any], there: Callable[[str, int], bool]) -> bool:
    """Return whether a record names objects, of which every one has its recorded size."""
    if "objects" not in record:
        return False
    named = (entry for objects in record["objects"].values() for entry in objects.items())
    return all(there(key, size) for key, (size, _) in named)


def _has_begun(path: StorePath, folder: StorePath) -> bool:
    """Return whether a store was created completely; refuse a store that tilespec did not write."""
    if not path.exists():
        return False
    root = metadata(path / "zarr.json")
    if not (folder / "settings.json").exists() or "tilespec_status" not in root.get("attributes", {}):
        raise UserError(
            path,
            found="something that is there already and was not begun by tilespec",
            expected="a free place, or a product to resume",
            do="Give another OUT, or remove it first.",
        )
    return "consolidated_metadata" in root


def metadata(root: StorePath) -> dict[str, Any]:
    """Return the root's metadata, empty when there are none; refuse damaged metadata."""
    try:
        content: dict[str, Any] = json.loads(root.read_text()) if root.exists() else {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            root,
            found=f"JSON that ends early or is damaged ({error})",
            expected="whole metadata",
            do="`tilespec repair` writes it again; or remove the store and its .tilespec folder, and run its command.",
        ) from error
    return content


def publish(url: str, attrs: Mapping[str, Any]) -> None:
    """Set root attributes, in one atomic step that reaches the disk.

    Metadata are consolidated too if they are not yet, so that plain `xarray.open_zarr` opens without a warning.
    """
    path = store_path(url) / ROOT
    root = metadata(path)
    root["attributes"] = {**root.get("attributes", {}), **json.loads(json.dumps(dict(attrs)))}
    if "consolidated_metadata" not in root or root["attributes"].get(LAYOUT) == "":
        root["attributes"][LAYOUT] = ""  # so a run that is killed before the hash is there leaves a trace of it
        write_atomic(path, json.dumps(root, indent=2))
        consolidate(url)
        root = metadata(path)
    text = json.dumps(root, indent=2)
    write_atomic(sidecar(url) / PUBLISHED, text)  # first: a run that is killed here publishes again
    write_atomic(path, text)


def consolidate(url: str) -> None:
    """Copy the metadata of all arrays into the root's, and note their hash there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")  # somebody's notes
        zarr.consolidate_metadata(store_path(url).zarr_store())
    path = store_path(url) / ROOT
    root = metadata(path)
    root["attributes"][LAYOUT] = layout_hash(root)
    write_atomic(path, json.dumps(root, indent=2))


def _strip(url: str, names: list[str]) -> None:
    """Delete the metadata of a store and no other object."""
    remove(store_path(url), ["zarr.json", *(f"{name}/zarr.json" for name in names)])


def _create(url: str, specs: list[ArraySpec], constants: Constants, *, fresh: bool) -> dict[str, list[Any]]:
    """Create the arrays; return sizes and hashes of metadata and constants. ``fresh`` deletes everything first."""
    store = HashingStore.at(url)
    group = zarr.create_group(store, overwrite=fresh, attributes={"tilespec_status": WRITING})
    for spec in specs:
        group.create_array(
            name=spec.name,
            shape=spec.shape,
            dtype=spec.dtype,
            chunks=spec.chunks,
            shards=spec.shards,
            dimension_names=spec.dims,
            fill_value=spec.fill,
            compressors=compressors(spec.dtype),
            attributes=dict(spec.attrs),
        )
    for name, (dims, values, attributes) in constants.items():
        data = np.asarray(values)
        array = group.create_array(
            name=name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=data.shape or "auto",
            dimension_names=dims,
            attributes=attributes,
            compressors=compressors(str(data.dtype)),
        )
        array[...] = data
    return {key: entry for key, entry in store.entries.items() if key != "zarr.json"}
