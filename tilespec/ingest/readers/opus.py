"""OPUS: spectra of Bruker's format, a directory of blocks: values, and the parameters that describe them.

Bruker does not publish the format. Its form is that which the free readers brukeropus and opusreader2 document: a
header, a directory, and in any order blocks of values and of parameters, each parameter with a name of three letters.
A block of values belongs to the status block of its kind, which has its number of points (NPT), first and last place
(FXV, LXV), their unit (DXU), and the factor (CSF) of the numbers. What they contradict is refused.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.ingest.readers.file_spectra import FileSpectra

MAGIC: Final = b"\n\n\xfe\xfe"
HEADER: Final = struct.Struct("<4sd2i")
"""Magic, version, place of the directory, and its number of entries."""
ENTRY: Final = struct.Struct("<I2i")
"""Kind of a block, its size in words of four bytes, its place."""
PARAMETER: Final = struct.Struct("<3sx2H")
"""Name of a parameter, type, size in words of two bytes."""
NUMBERS: Final = {0: struct.Struct("<i"), 1: struct.Struct("<d")}
"""The types of parameters that are numbers; all others are texts."""
COMPLEX, SIDE, TABLE, MEASURE, DERIVATIVE, OTHER = 0x3, 0xC, 0x3F0, 0x1FC00, 0x60000, 0xBFF80000
"""The bits of a kind: part of a complex number, sample or reference, parameters, quantity, derivative, other forms."""
STATUS, REFERENCE, KEPT = 0x10, 0x8, 0x40000000
"""Parameters of values, parameters of the reference, and a block that was kept as it was when a later one was made."""
SIDES: Final = ("", "Sm", "Rf", "")
"""The ends of OPUS's names: of the sample, and of the reference."""
RESULTS: Final = ("AB", "TR", "KM", "TRC", "GcIg", "GcSc", "RAM", "EMIS", "RFL", "", "PWR", "LRF", "ATR", "PAS")
QUANTITIES: Final = dict(enumerate(("", "Sc", "Ig", "Ph", *RESULTS)))
"""OPUS's names of quantities by their numbers: single channel, interferogram and phase, then results."""
SINGLE: Final = ("ScSm", "ScRf", "IgSm", "IgRf", "PhSm", "PhRf")
"""The names of what results are made of; of these only a spectrum of the sample may stand for itself."""
UNITS: Final = {"WN": "cm-1", "MI": "um"}
"""The units by DXU."""
TYPES: Final = {1: np.dtype("<f4"), 2: np.dtype("<i4")}
"""The types of values by DPF."""

Parameters = Mapping[str, Any]
Curve = tuple[Float64[np.ndarray, " band"], Parameters]
"""Values, and the parameters that describe them."""


@final
@dataclass(frozen=True, kw_only=True)
class OpusBlock:
    """A block of a file."""

    kind: int
    """What it holds, as bits."""
    place: int
    """The byte at which it begins."""
    body: bytes
    """The bytes of the block."""


def read_opus(path: Path, variable: str | None = None) -> FileSpectra:
    """Return the spectrum of a file: the one named by ``variable``, such as AB, or its only result.

    Raises:
        UserError: it ends early, there are several results and no choice, or parameters and values do not agree.
    """
    blocks = _blocks(path, path.read_bytes())
    curves = _curves(path, blocks)
    name = _chosen(path, tuple(curves), variable)
    (values, said), *earlier = reversed(curves[name])
    header, unit = _header(path, blocks), UNITS.get(str(said.get("DXU")))
    if unit is None:
        raise UserError(
            f"{path}: {name}",
            found=f"an axis in DXU={said.get('DXU')}",
            expected=f"a spectrum, in DXU={' or '.join(UNITS)}",
            do="Name another one of the file with --variable, or export it as JCAMP-DX from OPUS.",
        )
    axis = np.linspace(_number(path, name, said, "FXV"), _number(path, name, said, "LXV"), len(values))
    return FileSpectra(
        path=path,
        unit=unit,
        axis=axis,
        values=values[None],
        names=(header.get("SNM", "").strip() or path.name,),
        header=header,
        notes=_notes(f"{path}: {name}", len(earlier), values, said),
    )


def _blocks(path: Path, raw: bytes) -> list[OpusBlock]:
    """Return the blocks of a file in the order of their places, those last that nothing took the place of."""
    if len(raw) < HEADER.size or not raw.startswith(MAGIC):
        raise _broken(path, f"the first bytes {raw[:4]!r}", f"{MAGIC!r}, and a header")
    _, _, start, count = HEADER.unpack_from(raw)
    if count < 1 or start < HEADER.size or start + count * ENTRY.size > len(raw):
        raise _broken(path, f"a directory of {count} blocks at byte {start} of {len(raw)}", "a whole one in the file")
    blocks = []
    for i in range(count):
        kind, words, place = ENTRY.unpack_from(raw, start + i * ENTRY.size)
        if place < 1:
            break
        end = place + 4 * words
        if words < 0 or end > len(raw):
            raise _broken(path, f"{len(raw)} bytes", f"{max(end, place)} at least: block {i} lies there")
        blocks.append(OpusBlock(kind=kind, place=place, body=raw[place:end]))
    return sorted(blocks, key=lambda block: (not block.kind & KEPT, block.place))


def _curves(path: Path, blocks: list[OpusBlock]) -> dict[str, list[Curve]]:
    """Return the curves of each quantity by OPUS's name of it, the current one last."""
    curves: dict[str, list[Curve]] = {}
    for kind in dict.fromkeys(block.kind for block in blocks):
        name = _name(kind)
        if name is None:
            continue
        values, states = ([block for block in blocks if block.kind == one] for one in (kind, kind | STATUS))
        if len(values) != len(states):
            raise _broken(path, f"{len(values)} blocks of {name}, and {len(states)} of their parameters", "one each")
        pairs = [_curve(path, name, *pair) for pair in zip(values, states, strict=True)]
        curves[name] = [*curves.get(name, []), *pairs]
    return curves


def _name(kind: int) -> str | None:
    """Return OPUS's name of the values of a block; None of one that holds none, or holds them in another form."""
    quantity = QUANTITIES.get((kind & MEASURE) >> 10, "")
    if not quantity or kind & (TABLE | OTHER) or kind & COMPLEX not in (0, COMPLEX):
        return None
    order = (kind & DERIVATIVE) >> 17
    return quantity + SIDES[(kind & SIDE) >> 2] + (f"_d{order}" if order else "")


def _curve(path: Path, name: str, block: OpusBlock, state: OpusBlock) -> Curve:
    """Return the values of a block, times their factor, and its parameters."""
    said = _parameters(path, name, state.body)
    count, kind = _number(path, name, said, "NPT"), TYPES.get(said.get("DPF", 1))
    if kind is None:
        raise _broken(path, f"DPF={said['DPF']} of {name}", "1 for floats, or 2 for integers")
    there = len(block.body) // kind.itemsize
    if not 1 <= count <= there or count % 1:
        raise _broken(path, f"NPT={count:g} of {name}", f"1 to {there}, the points in its block")
    values = np.frombuffer(block.body, kind, int(count)).astype(np.float64)
    return values * _number(path, name, said, "CSF"), said


def _parameters(path: Path, name: str, body: bytes) -> Parameters:
    """Return the parameters of a block by name."""
    found: dict[str, Any] = {}
    at = 0
    while at + PARAMETER.size <= len(body):
        key, kind, words = PARAMETER.unpack_from(body, at)
        at, end = at + PARAMETER.size, at + PARAMETER.size + 2 * words
        if key == b"END":
            return found
        label = key.decode("ascii", "replace")
        if end > len(body) or (kind in NUMBERS and NUMBERS[kind].size > end - at):
            beyond = f"{label} of {name}, {2 * words} bytes at {at} of {len(body)}"
            raise _broken(path, beyond, "a parameter inside its block")
        text = body[at:end].partition(b"\0")[0]
        found[label] = NUMBERS[kind].unpack_from(body, at)[0] if kind in NUMBERS else text.decode("cp1252", "replace")
        at = end
    return found


def _number(path: Path, name: str, state: Parameters, label: str) -> float:
    """Return a number among the parameters."""
    value = state.get(label, "none")
    if isinstance(value, str) or not np.isfinite(value):
        raise _broken(path, f"{label}={value} of {name}", "a number")
    return float(value)


def _chosen(path: Path, names: tuple[str, ...], variable: str | None) -> str:
    """Return the name of the quantity that is taken."""
    results = [name for name in names if name not in SINGLE] or [name for name in names if name == "ScSm"]
    wanted = results if variable is None else [name for name in names if name.lower() == variable.lower()]
    if len(wanted) == 1:
        return wanted[0]
    raise UserError(
        path if variable is None else f"{path}: {variable}",
        found=", ".join(names) or "no spectrum, or none but series",
        expected="one result, or one that is named",
        do=f"Name it with --variable, such as --variable {names[0]}." if names else "Save its spectra one a file.",
    )


def _notes(where: str, earlier: int, values: Float64[np.ndarray, " band"], state: Parameters) -> tuple[str, ...]:
    """Return notes on earlier spectra, and on values that are not those of which the file knows the ends."""
    ends = {"MNY": values.min(), "MXY": values.max()}
    wrong = [
        f"{key}={state[key]:g}" for key, end in ends.items() if not np.isclose(state.get(key, end), end, rtol=1e-5)
    ]
    notes = (f"{where}: of {earlier + 1} in the file, the one stored last",) if earlier else ()
    return (*notes, *(f"{where}: values from {values.min():g} to {values.max():g}, not {one}" for one in wrong))


def _header(path: Path, blocks: list[OpusBlock]) -> dict[str, str]:
    """Return the parameters of the measurement as text, without those of the reference."""
    tables = [block for block in blocks if block.kind & TABLE and not block.kind & (OTHER | MEASURE | REFERENCE)]
    header: dict[str, str] = {}
    for block in tables:
        header |= {key: str(value) for key, value in _parameters(path, "the measurement", block.body).items()}
    return header


def _broken(path: Path, found: str, expected: str) -> UserError:
    return UserError(path, found=found, expected=expected, do="Copy it again, or export it as JCAMP-DX from OPUS.")
