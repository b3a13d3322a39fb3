"""The simulated scene as a line camera stores it: ENVI BIL counts with white and dark references, and its truth.

A folder of ``raw``, ``white``, ``dark`` (uint16) and ``labels``, ``plant``, ``material``, each ``.hdr`` + ``.bil``.
Data are appended to ``.partial`` files, line block by line block, each recorded in the ledger; names become final at
the end, headers last, so a file under its final name is complete.
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.simulate import sensor as camera
from tilespec.simulate.block import CLASSES, MATERIALS, pixel_counts, render
from tilespec.simulate.header import Image, header
from tilespec.simulate.layout import EDGE
from tilespec.simulate.plant_layout import PlantLayout
from tilespec.simulate.sensor import Sensor, sensor
from tilespec.simulate.stripes import Arrays, painter
from tilespec.storage.files import write_atomic
from tilespec.storage.ledger import Ledger

REFERENCE_LINES = 100
SCENE_FILES = ("labels", "plant", "material", "raw")
"""The files that are written line block by line block; the references are made at the end."""


def images(layout: PlantLayout) -> tuple[Image, ...]:
    """Return the files of a scene; ``raw`` is last, so its header shows that all exist."""
    lines, counts = layout.rows, {"bands": layout.bands, "dtype": "<u2"}
    return (
        Image(name="labels", lines=lines, bands=1, dtype="u1", classes=CLASSES),
        Image(name="plant", lines=lines, bands=1, dtype="<u2"),
        Image(name="material", lines=lines, bands=1, dtype="u1", classes=MATERIALS),
        Image(name="dark", lines=REFERENCE_LINES, **counts, milliseconds=camera.RAW_MS),  # type: ignore[arg-type]
        Image(
            name="white",
            lines=REFERENCE_LINES,
            **counts,  # type: ignore[arg-type]
            milliseconds=camera.WHITE_MS,
            panel=camera.PANEL,
        ),
        Image(name="raw", lines=lines, **counts, milliseconds=camera.RAW_MS),  # type: ignore[arg-type]
    )


def write_raw(
    layout: PlantLayout, settings: dict[str, Any], out: str, workers: int, progress: Progress
) -> dict[str, Any]:
    """Write the folder at ``out``, or finish writing it, and return its counts of pixels."""
    folder = Path(out)
    if folder.exists() and Ledger.find(out) is None:
        raise UserError(
            out,
            found="something that is there already and was not begun by tilespec",
            expected="a free place, or a folder to resume",
            do="Give another OUT, or remove it first.",
        )
    ledger = Ledger.open(out, settings)
    if not folder.exists():
        ledger.forget()  # records without files are of lost lines
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "raw.hdr").exists():
        _grow(layout, folder, ledger, (workers, progress))
        _publish(layout, folder)
    return _totals(ledger)


def _grow(layout: PlantLayout, folder: Path, ledger: Ledger, how: tuple[int, Progress]) -> None:
    """Append the missing lines to the ``.partial`` files."""
    workers, progress = how
    total = -(-layout.rows // EDGE)
    done = ledger.done()
    first = next((row for row in range(total) if row not in done), total)
    if first == total:
        return
    grown = [image for image in images(layout) if image.name in SCENE_FILES]
    for image in grown:
        _cut(folder / f"{image.name}.bil.partial", first * EDGE * image.line_bytes(layout.cols))
    device = sensor(layout.seed, layout.bands)
    forms = {each.name: (each.dtype, (each.bands,) * (each.name == "raw")) for each in grown}
    progress.start("simulate", (total - first) * EDGE * layout.cols / 1e6, "Mpixel")
    with painter(layout, partial(_paint, layout, device), forms, workers) as stripe_of:
        for row in range(first, total):
            ledger.begin(row)
            stripe = stripe_of(row)
            _append(folder, stripe | {"raw": stripe["raw"].transpose(0, 2, 1)})
            ledger.record(row, {"counts": pixel_counts(stripe)})
            progress.advance(stripe["plant"].size / 1e6)
    progress.finish()


def _paint(layout: PlantLayout, device: Sensor, row: int, col: int) -> Arrays:
    """Return the counts of a block and its truth."""
    block = render(layout, row, col)
    shot = (camera.RAW, (row, col), col * EDGE)
    return block.truth | {"raw": device.counts(block.reflectance, camera.RAW_MS, shot)}


def _append(folder: Path, blocks: Mapping[str, np.ndarray]) -> None:
    """Append lines to the files, durably."""
    for name, block in blocks.items():
        with (folder / f"{name}.bil.partial").open("ab") as file:
            for line in block:
                file.write(np.ascontiguousarray(line).astype(line.dtype.newbyteorder("<"), copy=False).data)
            file.flush()
            os.fsync(file.fileno())


def _cut(path: Path, size: int) -> None:
    """Cut the file to ``size`` bytes, without the data that an interrupted run appended after its last record."""
    with path.open("ab") as file:
        if file.tell() < size:
            raise UserError(
                path,
                found=f"{file.tell()} bytes",
                expected=f"{size} bytes, which the ledger says were written",
                do="The file was changed: remove the folder and its .tilespec folder, and start again.",
            )
        file.truncate(size)


def _publish(layout: PlantLayout, folder: Path) -> None:
    """Write the references, then give all files their final names, headers last."""
    for name, lines in _references(layout):
        path = folder / f"{name}.bil.partial"
        _cut(path, 0)
        for block in lines:
            _append(folder, {name: block})
    for image in images(layout):
        grown = folder / f"{image.name}.bil.partial"
        if grown.exists():
            grown.replace(folder / f"{image.name}.bil")
        write_atomic(folder / f"{image.name}.hdr", header(image, layout))


def _references(layout: PlantLayout) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """Return the line blocks of the dark and the white reference."""
    device = sensor(layout.seed, layout.bands)
    yield "dark", _panel(device, layout, 0.0, (camera.DARK, camera.RAW_MS))
    yield "white", _panel(device, layout, camera.PANEL, (camera.WHITE, camera.WHITE_MS))


def _panel(device: Sensor, layout: PlantLayout, reflectance: float, how: tuple[int, float]) -> Iterator[np.ndarray]:
    """Return the stored lines of a uniform panel, a few at a time."""
    purpose, milliseconds = how
    step = 20
    for first in range(0, REFERENCE_LINES, step):
        spectra = np.full((step, layout.cols, layout.bands), reflectance, np.float32)
        yield device.counts(spectra, milliseconds, (purpose, (first, 0), 0)).transpose(0, 2, 1)


def _totals(ledger: Ledger) -> dict[str, int]:
    """Return the sum of the counts of all stripes."""
    records = [record["counts"] for record in ledger.done().values()]
    return {key: sum(record[key] for record in records) for key in records[0]}
