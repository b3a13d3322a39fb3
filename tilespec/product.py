"""Writing stores: a product is written row of objects by row of objects, every object once, resumably.

Everything that tilespec writes in bulk goes through here: ingest, simulate, transform, predict.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from tilespec.errors import UserError
from tilespec.ledger import Ledger, fingerprint

COMPLETE, WRITING, INCOMPLETE = "complete", "writing", "incomplete"


@final
@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """An array of a product, before it exists. Arrays whose first dimension is ``y`` are written by rows."""

    name: str
    """Name at the store's root."""
    shape: tuple[int, ...]
    """Full shape."""
    dtype: str
    """NumPy data type."""
    dims: tuple[str, ...]
    """Dimension names, ``y, x`` first."""
    chunks: tuple[int, ...]
    """Shape of a stored object; arrays of one product share the height of an object."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Attributes as xarray and CF read them."""
    fill: Any = 0
    """Zarr's fill value: what was never written reads as this."""


@final
@dataclass(frozen=True, kw_only=True)
class Product:
    """A store in the making, with its ledger."""

    url: str
    """Where the store is."""
    height: int
    """Rows of the plane."""
    edge: int
    """Rows of one stored object."""
    ledger: Ledger
    """What is done."""

    @classmethod
    def open(
        cls,
        url: str,
        specs: list[ArraySpec],
        *,
        settings: dict[str, Any],
        attrs: Mapping[str, Any],
        constants: Mapping[str, tuple[tuple[str, ...], Any, dict[str, Any]]],
    ) -> "Product":
        """Create the store, or resume the one that was begun with the same ``settings``.

        Args:
            url: Where the store goes.
            specs: Arrays written by rows.
            settings: Everything that decides the bytes; hashed, and compared on resume.
            attrs: Root attributes; nothing here may vary between runs.
            constants: Small arrays written at once (coordinates): name to dims, values, attributes.
        """
        edges = {spec.chunks[0] for spec in specs}
        assert len(edges) == 1, "arrays of one product share the height of an object"
        path = Path(url)
        begun = _begun(path, Path(f"{url.rstrip('/')}.tilespec"))
        ledger = Ledger.open(url, settings)
        if not begun:
            ledger.forget()  # records without a store speak of objects that are gone
            _create(url, specs, {**attrs, "tilespec_status": WRITING}, constants)
        return cls(url=url, height=specs[0].shape[0], edge=edges.pop(), ledger=ledger)

    @property
    def rows(self) -> int:
        """How many rows of objects there are."""
        return -(-self.height // self.edge)

    def span(self, row: int) -> tuple[int, int]:
        """Return first and last pixel row (exclusive) of a row of objects."""
        return row * self.edge, min((row + 1) * self.edge, self.height)

    def missing(self) -> list[int]:
        """Return the rows of objects that are not recorded, or whose objects are gone, ascending."""
        done = self.ledger.done()
        return [row for row in range(self.rows) if row not in done or not self._whole(row, done[row]["digests"])]

    def _whole(self, row: int, names: Iterable[str]) -> bool:
        """Return whether every object of a recorded row is there; no object is ever left out for being empty."""
        group = zarr.open_group(self.url, mode="r", use_consolidated=False)
        for name in names:
            array = group[name]
            there = sum(path.is_file() for path in (Path(self.url) / name / "c" / str(row)).rglob("*"))
            if there < math.prod(-(-n // c) for n, c in zip(array.shape[1:], array.chunks[1:], strict=True)):
                return False
        return True

    def write(self, row: int, blocks: Mapping[str, np.ndarray], counts: Mapping[str, int] | None = None) -> None:
        """Write one whole row of objects of every array, then record it with digests and ``counts``."""
        y0, y1 = self.span(row)
        self.ledger.begin(row)
        group = zarr.open_group(self.url, mode="r+")
        digests = {}
        for name, block in blocks.items():
            array = group[name].with_config({"write_empty_chunks": True})
            assert block.shape == (y1 - y0, *array.shape[1:]), f"{name}: {block.shape} is no whole row of objects"
            stored = np.ascontiguousarray(block, dtype=array.dtype)
            with ThreadPoolExecutor(1) as beside:  # hashing takes as long as writing, and needs no lock
                digest = beside.submit(_digest, stored)
                array[y0:y1] = stored
            digests[name] = digest.result()
        self.ledger.record(row, {"digests": digests, "counts": dict(counts or {})})

    def finish(self) -> str:
        """Publish completeness, last of all, and return the product's digest; refuse while rows are missing."""
        missing = self.missing()
        assert not missing, f"rows of objects {missing[:5]} are missing"
        done = self.ledger.done()
        digest = fingerprint([done[row]["digests"] for row in range(self.rows)])
        cube = [done[row]["digests"].get("cube") for row in range(self.rows)]
        parts = {"tilespec_cube": fingerprint(cube)} if all(cube) else {}
        publish(self.url, {"tilespec_status": COMPLETE, "tilespec_digest": digest, **parts})
        return digest

    def counts(self) -> dict[str, int]:
        """Return the counts of all recorded rows, added up."""
        total: dict[str, int] = {}
        for record in self.ledger.done().values():
            for key, value in record["counts"].items():
                total[key] = total.get(key, 0) + value
        return total


def _begun(path: Path, ledger: Path) -> bool:
    """Return whether a store was created whole; refuse what is not ours."""
    if not path.exists():
        return False
    root = _metadata(path / "zarr.json")
    if not ledger.exists() or "tilespec_status" not in root.get("attributes", {}):
        raise UserError(
            path,
            found="something that is there already and was not begun by tilespec",
            expected="a free place, or a product to resume",
            do="Give another OUT, or remove it first.",
        )
    return "consolidated_metadata" in root


def _metadata(root: Path) -> dict[str, Any]:
    """Return the root's metadata, empty where there is none; refuse it when it is damaged."""
    try:
        found: dict[str, Any] = json.loads(root.read_text()) if root.exists() else {}
    except ValueError as error:
        raise UserError(
            root,
            found=f"JSON that ends early or is damaged ({error})",
            expected="whole metadata",
            do="Remove the store and its .tilespec folder, and run the same command again.",
        ) from error
    return found


def _digest(block: np.ndarray) -> str:
    """Return the hash of an array's bytes."""
    return hashlib.blake2b(block.data, digest_size=16).hexdigest()


def compressors(dtype: str) -> list[Any]:
    """Return the codecs of a data type; a checksum always, so that a flipped bit is an error, not a value."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return [Crc32cCodec()]  # measured noise does not compress: 4 % for 5 times the time
    if kind.itemsize == 1:
        return [ZstdCodec(level=3, checksum=True)]
    return [BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=kind.itemsize), Crc32cCodec()]


def publish(url: str, attrs: Mapping[str, Any]) -> None:
    """Set root attributes and consolidate the metadata, so that plain `xarray.open_zarr` opens without a warning."""
    zarr.open_group(url, mode="r+", use_consolidated=False).attrs.update(json.loads(json.dumps(dict(attrs))))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(url)


def _create(
    url: str,
    specs: list[ArraySpec],
    attrs: Mapping[str, Any],
    constants: Mapping[str, tuple[tuple[str, ...], Any, dict[str, Any]]],
) -> None:
    """Create the arrays; a store counts as begun once `publish` has consolidated its metadata, last of all."""
    group = zarr.create_group(url, overwrite=True, attributes={"tilespec_status": WRITING})
    for spec in specs:
        group.create_array(
            name=spec.name,
            shape=spec.shape,
            dtype=spec.dtype,
            chunks=spec.chunks,
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
    publish(url, attrs)
