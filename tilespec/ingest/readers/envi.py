"""ENVI: a strict reader, which first of all checks that the file has exactly the size from its header.

Lines are read by ``readinto`` one reused buffer, because a memory map would count as resident memory, and GDAL reads a
truncated cube as zeros without an error.
"""

import os
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.readers.envi_fields import AXES, EnviLayout, describe
from tilespec.ingest.readers.hyspex import detector
from tilespec.ingest.readers.linear import linear
from tilespec.ingest.readers.source import Facts, Options, Source, refuse_array_options

SUFFIXES: Final = (".img", ".dat", ".raw", ".bil", ".bip", ".bsq", ".hyspex", ".sli", ".bin", ".cube", ".hsi")
"""The suffixes of data files; a data file may also have none."""


@final
@dataclass(frozen=True, kw_only=True)
class EnviSource:
    """An ENVI cube, open for reading."""

    facts: Facts
    """The facts from the header."""
    layout: EnviLayout
    """The layout of the elements in the file."""
    whole: int
    """The number of complete lines from the first one; later lines have no data."""
    _buffer: list[np.ndarray] = field(default_factory=list)

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as a view ``y, x, band`` of the buffer, valid until the next call."""
        there = max(0, min(y1, self.whole) - y0)
        height, width, bands = self.facts.shape
        size = {"y": y1 - y0, "x": width, "band": bands}
        axes = AXES[self.layout.interleave]
        block = self._buffer_of(tuple(size[axis] for axis in axes))
        line = width * self.facts.dtype.itemsize
        with self.layout.data.open("rb", buffering=0) as file:
            if self.layout.interleave == "bsq":
                for band in range(bands):
                    self._fill(file, block[band, :there], self.layout.offset + (band * height + y0) * line)
            else:
                self._fill(file, block[:there], self.layout.offset + y0 * line * bands)
                _begin(file, block.nbytes)
        if there < y1 - y0:
            block[(slice(None), slice(there, None)) if axes[0] == "band" else slice(there, None)] = self.facts.nodata
        return block.transpose([axes.index(axis) for axis in ("y", "x", "band")])

    def _buffer_of(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return a part of the buffer as an array."""
        count = int(np.prod(shape))
        if not self._buffer or self._buffer[0].size < count:
            self._buffer[:] = [np.empty(count, self.facts.dtype)]
        return self._buffer[0][:count].reshape(shape)

    def _fill(self, file: FileIO, block: np.ndarray, position: int) -> None:
        """Read a contiguous part of the file."""
        file.seek(position)
        view = block.reshape(-1).view(np.uint8).data
        while view:
            count = file.readinto(view)
            if not count:
                raise UserError(
                    self.layout.data,
                    found=f"the end of the file at byte {file.tell()}",
                    expected=f"{len(view)} bytes more",
                    do="The file became shorter while it was read: let its writer finish, then run again.",
                )
            view = view[count:]


def _begin(file: FileIO, size: int) -> None:
    """Ask the system to read the next bytes from the disk while the present ones are processed."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), file.tell(), size, os.POSIX_FADV_WILLNEED)


def read_envi(path: Path, options: Options) -> Source:
    """Return the cube of an ENVI header or data file, after checking its size."""
    refuse_array_options(path, options)
    header_path, data = find_pair(path)
    facts, layout = describe(header_path, data, options.wavelength_unit)
    whole = check_size(header_path, facts, layout, allow_truncated=options.allow_truncated)
    facts = replace(facts, notes=(*facts.notes, *listed_bad(facts)))
    facts = facts if whole == facts.shape[0] else cut_short(facts, whole)
    source = EnviSource(facts=facts, layout=layout, whole=whole)
    return linear(header_path.name, source, layout.gain, layout.shift)


def cut_short(facts: Facts, whole: int) -> Facts:
    """Return the facts of a cube whose file ends early; they must have a nodata value."""
    lines, name = facts.shape[0], facts.files[-1].name
    notes = [f"{name} ends early: {lines - whole} of {lines} lines are missing and have no data"]
    nodata = facts.nodata
    if nodata is None:
        limits = np.iinfo(facts.dtype) if facts.dtype.kind in "iu" else None
        nodata = float("nan") if limits is None else float(limits.max if limits.min == 0 else limits.min)
        notes += [] if limits is None else [f"{name} has no ignore value: {nodata:g} means no data in every line"]
    return replace(facts, nodata=nodata, notes=(*facts.notes, *notes))


def listed_bad(facts: Facts) -> tuple[str, ...]:
    """Return a note on the camera's list of bad elements, if there is one."""
    sensor = detector(facts)
    count = 0 if sensor is None else int(sensor.bad.sum())
    note = f"{facts.files[-1].name}: {count} bad elements listed by the camera (as band * columns + column)"
    return (f"{note}: dead in a calibration, kept in counts",) if count else ()


def find_pair(path: Path) -> tuple[Path, Path]:
    """Return the header and the data file, given either of them.

    Raises:
        UserError: the other file is missing, or two files match.
    """
    if path.suffix.lower() != ".hdr":
        header = header_of(path)
        if header is None:
            raise UserError(
                path,
                found="no header beside it",
                expected=f"{path.name}.hdr or {path.stem}.hdr",
                do="Put the ENVI header beside the data.",
            )
        return header, path
    stem = path.name[: -len(".hdr")]
    there = [p for p in sorted(path.parent.iterdir()) if p.is_file() and p != path] if path.exists() else []
    exact = [p for p in there if p.name == stem]
    candidates = exact or [p for p in there if p.stem == stem and p.suffix.lower() in SUFFIXES]
    if len(candidates) != 1:
        raise UserError(
            path,
            found=" and ".join(p.name for p in candidates) or ("no data file" if path.exists() else "nothing"),
            expected=f"one data file: {stem} or {stem} with one of {' '.join(SUFFIXES)}",
            do="Give the data file itself." if candidates else "Put the data beside the header, or check the path.",
        )
    return path, candidates[0]


def header_of(path: Path) -> Path | None:
    """Return the header of a data file: ``x.img.hdr`` before ``x.hdr``; None without one."""
    for name in (f"{path.name}.hdr", f"{path.stem}.hdr", f"{path.name}.HDR", f"{path.stem}.HDR"):
        if path.with_name(name).is_file():
            return path.with_name(name)
    return None


def check_size(header_path: Path, facts: Facts, layout: EnviLayout, *, allow_truncated: bool = False) -> int:
    """Return the number of complete lines; refuse a data file that is shorter or longer than its header says.

    With ``allow_truncated`` a shorter file is accepted, if at least one line of it is complete.
    """
    lines, samples, bands = facts.shape
    expected = layout.offset + lines * samples * bands * facts.dtype.itemsize
    actual = layout.data.stat().st_size
    if actual == expected:
        return lines
    short = actual < expected
    whole = _whole_lines(facts, layout, actual)
    if short and allow_truncated and whole:
        return whole
    raise UserError(
        layout.data,
        found=f"{actual} bytes",
        expected=f"{expected} ({layout.offset} + {lines} lines x {samples} samples x {bands} bands x "
        f"{facts.dtype.itemsize} bytes, from {header_path.name})",
        do=f"The file is cut short, {whole} lines are whole: copy it again{', or --allow-truncated' if whole else ''}."
        if short
        else f"{actual - expected} bytes too many: correct header offset, samples, lines, bands or data type.",
    )


def _whole_lines(facts: Facts, layout: EnviLayout, size: int) -> int:
    """Return how many lines of a file of ``size`` bytes have all their bands."""
    lines, samples, bands = facts.shape
    row = samples * facts.dtype.itemsize
    there = max(0, size - layout.offset)
    if layout.interleave != "bsq":
        return int(there // (row * bands))
    return int(max(0, there - (bands - 1) * lines * row) // row)
