"""Writing stores: a product is written row of objects by row of objects, every object once, resumably.

Everything that tilespec writes in bulk goes through here: ingest, simulate, transform, predict. A row of objects is
the unit of work, of resuming and of repair; a plane too wide for that is cut into panels, each with rows of its own.
"""

import json
import math
import os
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
from tilespec.storage.backends.base import Place
from tilespec.storage.backends.paths import at
from tilespec.storage.backends.zarr_store import Recording
from tilespec.storage.chunk_writer import checked_only, compressed, put
from tilespec.storage.files import write_atomic
from tilespec.storage.layout import COMPLETE, INCOMPLETE, WRITING, ArraySpec, Constants, compressors, encoding
from tilespec.storage.ledger import Ledger, beside
from tilespec.storage.stored_objects import keys, remove

FORMAT = 3
"""Of records: 3 hashes objects with XXH3, 2 did with BLAKE2, 1 held a hash of each array's rows."""
WRITERS = 2
"""Objects that are written at once where Zarr does not write them."""
MEND = "mend.json"
"""Beside a product whose metadata are to be created again around its objects; only `repair` leaves it."""


@final
@dataclass(frozen=True, kw_only=True)
class Begun:
    """A row of objects that is being written."""

    store: Recording
    """Where objects go, and what keeps their entries."""
    arrays: Mapping[str, "zarr.Array[Any]"]
    """By name."""
    keys: Mapping[str, list[str]]
    """Of the objects of each array, from left to right."""
    facts: dict[str, Any] = field(default_factory=lambda: {"counts": {}, "poison": []})
    """What is recorded beside the objects."""


@final
@dataclass(frozen=True, kw_only=True)
class Product:
    """A store in the making, with its ledger: a small value that travels to workers."""

    url: str
    """Where the store is."""
    height: int
    """Rows of the plane."""
    edge: int
    """Rows of one stored object."""
    ledger: Ledger
    """What is done."""
    width: int = 0
    """Columns of the plane; needed where there are panels."""
    panel: int | None = None
    """Columns of a panel, a multiple of the objects' width; None: one panel as wide as the plane."""

    @classmethod
    def open(
        cls,
        url: str,
        specs: list[ArraySpec],
        *,
        settings: dict[str, Any],
        attrs: Mapping[str, Any],
        constants: Constants,
        panel: int | None = None,
    ) -> "Product":
        """Create the store, or resume the one that was begun with the same ``settings``.

        Args:
            url: Where the store goes.
            specs: Arrays written by rows.
            settings: Everything that decides the bytes; hashed, and compared on resume.
            attrs: Root attributes; nothing here may vary between runs.
            constants: Small arrays written at once (coordinates): name to dims, values, attributes.
            panel: Columns of a panel; another one than the product was begun with starts its rows again.

        Raises:
            UserError: something else is there, or a product of other settings, or of an older version.
        """
        shape = specs[0].shape
        edges = {spec.objects[0] for spec in specs}
        assert len(edges) == 1, "arrays of one product share the height of an object"
        assert panel is None or all(panel % spec.objects[1] == 0 for spec in specs), "a panel holds whole objects"
        mended = beside(url) / MEND
        begun = mended.exists() or _begun(at(url), beside(url))
        ledger = Ledger.open(url, settings)
        product = cls(url=url, height=shape[0], edge=edges.pop(), ledger=ledger, width=shape[1], panel=panel)
        if not begun:
            ledger.forget()  # records without a store speak of objects that are gone
            product._create(specs, attrs, constants, fresh=True)
        elif mended.exists():
            _strip(url, [*(spec.name for spec in specs), *constants])
            product._create(specs, attrs, constants, fresh=False)
            mended.unlink()
        product._resume()
        return product

    @property
    def rows(self) -> int:
        """How many rows of objects there are."""
        return -(-self.height // self.edge)

    @property
    def panels(self) -> int:
        """How many panels there are."""
        return 1 if self.panel is None else -(-self.width // self.panel)

    @property
    def scratch(self) -> Path:
        """Folder where the tasks of a run leave data for each other; gone when the product is finished.

        Beside the product; or, when that is in a bucket, where this user's caches are: what a task does not find
        there it computes, so machines need not share it.
        """
        rows = self.ledger.rows
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tilespec"
        return (rows.on_disk or caches / fingerprint([rows.server, str(rows)])) / "strips"

    def span(self, row: int) -> tuple[int, int]:
        """Return first and last pixel row (exclusive) of a row of objects."""
        return row * self.edge, min((row + 1) * self.edge, self.height)

    def columns(self, panel: int = 0) -> tuple[int, int]:
        """Return first and last pixel column (exclusive) of a panel."""
        if self.panel is None:
            return 0, self.width
        return panel * self.panel, min((panel + 1) * self.panel, self.width)

    def missing(self, panel: int = 0) -> list[int]:
        """Return the rows of a panel to be written, ascending.

        They are not recorded; or objects of theirs are gone or of another size than recorded, which is what a power
        cut leaves (their bytes are not read here: `verify` does); or tiles of theirs were poison, and get another try.
        """
        done, there = self.ledger.done(panel), at(self.url).presence()
        return [row for row in range(self.rows) if not _whole(done.get(row), there) or done[row].get("poison")]

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

        Whatever lies there already, from a run that was killed or because it is damaged, is deleted first: objects
        are overwritten whole, and never merged with.
        """
        (y0, y1), (x0, x1) = self.span(row), self.columns(panel)
        with self.begun(row, blocks, panel=panel) as begun:
            for name, block in blocks.items():
                array = begun.arrays[name]
                whole = (y1 - y0, (x1 or array.shape[1]) - x0, *array.shape[2:])
                assert block.shape == whole, f"{name}: {block.shape} is no whole row of objects, {whole}"
            for name, block in blocks.items():
                self.put(begun, name, block, (y0, x0))
            begun.facts.update(counts=dict(counts or {}), poison=sorted(poison))

    @contextmanager
    def begun(self, row: int, names: Iterable[str], *, panel: int = 0) -> Iterator["Begun"]:
        """Open a row of objects of some arrays for writing: what lies there is deleted first, and it is recorded last.

        An error on the way leaves the row begun and not recorded: it is missing.
        """
        (y0, y1), (x0, x1) = self.span(row), self.columns(panel)
        store = Recording.at(self.url)
        group = zarr.open_group(store, mode="r+")
        arrays = {name: group[name].with_config({"write_empty_chunks": True}) for name in names}
        named = {name: keys(a, name, (y0, x0), (y1, x1 or a.shape[1])) for name, a in arrays.items()}
        self.ledger.begin(row, panel)
        remove(at(self.url), [key for of in named.values() for key in of])
        begun = Begun(store=store, arrays=arrays, keys=named)
        yield begun
        objects = {name: {key: store.entries[key] for key in of} for name, of in named.items()}
        self.ledger.record(row, {"objects": objects, **begun.facts}, panel)

    def put(self, begun: "Begun", name: str, block: np.ndarray, start: tuple[int, int]) -> None:
        """Write all objects of an array in a row that was begun: without Zarr where their bytes are known."""
        array, named, store = begun.arrays[name], begun.keys[name], begun.store
        root, (y0, x0) = at(self.url).on_disk, start
        known = checked_only(array) or compressed(array)
        if root is not None and known and array.chunks[2:] == array.shape[2:]:
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
        """Publish completeness, last of all, and return the product's digest; refuse while rows are missing.

        With poison tiles in it the product is `INCOMPLETE`: all rows are there, and some hold nodata for data.
        """
        records, there = [self.ledger.done(panel) for panel in range(self.panels)], at(self.url).presence()
        missing = [row for done in records for row in range(self.rows) if not _whole(done.get(row), there)]
        assert not missing, f"rows of objects {missing[:5]} are missing"
        held = [done[row]["objects"] for done in records for row in range(self.rows)]
        parts = {"tilespec_digest": _digest(held)}
        if all("cube" in objects for objects in held):
            parts["tilespec_cube"] = _digest([{"cube": objects["cube"]} for objects in held])
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.ledger.settle()
        publish(self.url, {"tilespec_status": INCOMPLETE if self.poison() else COMPLETE, **parts})
        return parts["tilespec_digest"]

    def poison(self) -> list[int]:
        """Return the tiles that no attempt could predict, ascending."""
        return sorted({tile for record in self.ledger.records().values() for tile in record.get("poison", ())})

    def counts(self) -> dict[str, int]:
        """Return the counts of all recorded rows, added up."""
        total: dict[str, int] = {}
        for record in self.ledger.records().values():
            for key, value in record["counts"].items():
                total[key] = total.get(key, 0) + value
        return total

    def _create(self, specs: list[ArraySpec], attrs: Mapping[str, Any], constants: Constants, *, fresh: bool) -> None:
        """Create the store, or its metadata again; it counts as begun once `publish` consolidates them, last of all."""
        entries = _create(self.url, specs, constants, fresh=fresh)
        layout = {key: getattr(self, key) for key in ("height", "width", "edge", "panel")}
        self.ledger.note("layout", {"format": FORMAT, **layout, "metadata": entries})
        publish(self.url, {**attrs, "tilespec_status": WRITING})

    def _resume(self) -> None:
        """Compare the layout with that of the records, and say that the product is being written if it is."""
        layout = self.ledger.noted("layout") or {}
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
        status = metadata(at(self.url) / "zarr.json")["attributes"]["tilespec_status"]
        if status != WRITING and any(self.missing(panel) for panel in range(self.panels)):
            publish(self.url, {"tilespec_status": WRITING})


def _whole(record: dict[str, Any] | None, there: Callable[[str, int], bool]) -> bool:
    """Return whether a row is recorded and every object is there in its size."""
    if record is None or "objects" not in record:
        return False
    named = (entry for objects in record["objects"].values() for entry in objects.items())
    return all(there(key, size) for key, (size, _) in named)


def _digest(held: list[dict[str, dict[str, list[Any]]]]) -> str:
    """Return the hash of what all objects hold, whatever rows and panels they were written by, in any order."""
    return fingerprint({key: entry[1] for arrays in held for of in arrays.values() for key, entry in of.items()})


def _begun(path: Place, folder: Place) -> bool:
    """Return whether a store was created whole; refuse what is not ours."""
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


def metadata(root: Place) -> dict[str, Any]:
    """Return the root's metadata, empty where there is none; refuse it when it is damaged."""
    try:
        found: dict[str, Any] = json.loads(root.read_text()) if root.exists() else {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            root,
            found=f"JSON that ends early or is damaged ({error})",
            expected="whole metadata",
            do="`tilespec repair` writes it again; or remove the store and its .tilespec folder, and run its command.",
        ) from error
    return found


def publish(url: str, attrs: Mapping[str, Any]) -> None:
    """Set root attributes, in one atomic step that reaches the disk.

    Metadata that are not consolidated yet are, after that, so that plain `xarray.open_zarr` opens without a warning.
    """
    path = at(url) / "zarr.json"
    root = metadata(path)
    root["attributes"] = {**root.get("attributes", {}), **json.loads(json.dumps(dict(attrs)))}
    write_atomic(path, json.dumps(root, indent=2))
    if "consolidated_metadata" not in root:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            warnings.filterwarnings("ignore", message="Object at .* is not recognized")  # somebody's notes
            zarr.consolidate_metadata(at(url).zarr_store())


def _strip(url: str, names: list[str]) -> None:
    """Delete the metadata of a store, and nothing else."""
    remove(at(url), ["zarr.json", *(f"{name}/zarr.json" for name in names)])


def _create(url: str, specs: list[ArraySpec], constants: Constants, *, fresh: bool) -> dict[str, list[Any]]:
    """Create the arrays; return the entries of their metadata and of the constants. ``fresh`` clears the place."""
    store = Recording.at(url)
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
    for name, (dims, values, given) in constants.items():
        data = np.asarray(values)
        array = group.create_array(
            name=name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=data.shape or "auto",
            dimension_names=dims,
            attributes=given,
            compressors=compressors(str(data.dtype)),
        )
        array[...] = data
    return {key: entry for key, entry in store.entries.items() if key != "zarr.json"}
