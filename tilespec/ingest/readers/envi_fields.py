"""ENVI fields: the values of an ENVI header, each of which is checked."""

import json
from dataclasses import dataclass, replace
from math import isclose, isfinite
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, SpectralAxis
from tilespec.ingest.readers.band_names import axis_in_names
from tilespec.ingest.readers.envi_header import KNOWN, names, read_header, unbraced
from tilespec.ingest.readers.georeference import from_envi
from tilespec.ingest.readers.source import Facts, SourceLayer, possible_nodata
from tilespec.ingest.readers.spectra_text import held, layers_beside
from tilespec.ingest.readers.wavelengths import check_count, numbers, spectral_axis

DTYPES: Final = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX: Final = {6: "complex64", 9: "complex128"}
AXES: Final = {"bil": ("y", "band", "x"), "bip": ("y", "x", "band"), "bsq": ("band", "y", "x")}
NO_VALUE: Final = {"", "none", "null", "n/a", "na", "undefined"}
"""The texts that say that no value is ignored."""
LIBRARY: Final = "spectral library"
"""The file type of spectra without places."""
GATHER: Final = 1 << 25
"""The bytes of one read of a band-sequential file, because every band needs a seek."""


@final
@dataclass(frozen=True, kw_only=True)
class EnviLayout:
    """The positions of the cube's elements in the data file."""

    data: Path
    """The path of the data file."""
    offset: int
    """The number of bytes before the cube."""
    interleave: str
    """The interleave: ``bil``, ``bip`` or ``bsq``."""
    gain: tuple[float, ...] = ()
    """The value of one stored unit of each band, beside the scale of the facts; empty for 1."""
    shift: tuple[float, ...] = ()
    """The value of a stored 0 of each band; empty for 0."""


def describe(header_path: Path, data: Path, unit: str | None = None) -> tuple[Facts, EnviLayout]:
    """Return the facts and the layout from a header after checking them, without reading the data.

    Args:
        header_path: The path of the header.
        data: The path of the data file.
        unit: The unit of the wavelengths by the user, whatever the header says.
    """
    header, notes = read_header(header_path)
    header |= {} if unit is None else {"wavelength units": unit}
    _refuse_kinds(header_path, header)
    library = LIBRARY in _kind(header)
    header = _as_plane(header_path, header) if library else header
    shape = tuple(_integer(header_path, header, key, at_least=1) for key in ("lines", "samples", "bands"))
    dtype, order_notes = _dtype(header_path, header)
    spectral, spectral_notes = _spectral(header_path, header, shape[2])
    georef, place, map_notes = from_envi(header_path.name, header)
    nodata, nodata_notes = _nodata(header_path, header, dtype)
    scale, gain, shift, scale_notes = _scales(header_path, header, shape[2])
    classes, class_notes = _classes(header_path, header)
    interleave = _interleave(header_path, header)
    layers, layer_notes = _samples(header_path, header, shape[0]) if library else ((), ())
    loose = {key: header[key] for key in ("fwhm",) if key in header and (spectral is None or spectral.fwhm is None)}
    facts = Facts(
        shape=shape,  # type: ignore[arg-type]
        dtype=dtype,
        spectral=spectral,
        georef=georef,
        nodata=nodata,
        scale=scale,
        classes=classes,
        table=library,
        layers=layers,
        header={key: value for key, value in header.items() if key not in KNOWN} | place | loose,
        notes=(
            *(*notes, *order_notes, *spectral_notes, *map_notes, *nodata_notes, *scale_notes, *class_notes),
            *layer_notes,
        ),
        files=(header_path, data),
        read_bytes=GATHER if interleave == "bsq" else Facts.read_bytes,
    )
    offset = _integer(header_path, header, "header offset", at_least=0, default=0)
    return facts, EnviLayout(data=data, offset=offset, interleave=interleave, gain=gain, shift=shift)


def _kind(header: dict[str, str]) -> str:
    """Return the file type in small letters."""
    return " ".join(header.get("file type", "ENVI Standard").lower().split())


def _as_plane(path: Path, header: dict[str, str]) -> dict[str, str]:
    """Return the header of a library, whose lines are spectra and samples are bands, as that of one pixel a line."""
    bands = _integer(path, header, "bands", at_least=1, default=1)
    if bands != 1:
        raise UserError(
            f"{path}: bands",
            found=bands,
            expected="1: the lines of a spectral library are spectra, and its samples are the bands",
            do="Correct the header, or its file type.",
        )
    plane = {"samples": "1", "bands": header.get("samples", ""), "interleave": "bip"}
    return {key: value for key, value in header.items() if key != "band names"} | plane


def _samples(path: Path, header: dict[str, str], count: int) -> tuple[tuple[SourceLayer, ...], tuple[str, ...]]:
    """Return the names of the spectra of a library as a layer, and a note if they are too few or too many."""
    listed = names(header.pop("spectra names", ""))
    if len(listed) == count:
        return layers_beside(path, [held("sample", listed)])
    return (), (f"{path.name}: {len(listed)} spectra names for {count} spectra are left out",) * any(listed)


def _refuse_kinds(path: Path, header: dict[str, str]) -> None:
    """Refuse a file that is neither a plain image nor a spectral library, with the reason."""
    kind = _kind(header)
    reasons = {
        "file type": "meta" in kind or "tiff" in kind,
        "file compression": header.get("file compression", "0").strip() not in ("0", ""),
        "major frame offsets": any(numbers(path, unbraced(header.get("major frame offsets", "")))),
        "minor frame offsets": any(numbers(path, unbraced(header.get("minor frame offsets", "")))),
    }
    for key, refused in reasons.items():
        if refused:
            raise UserError(
                f"{path}: {key}",
                found=header[key],
                expected="an uncompressed image or spectral library (file type ENVI Standard, Classification, ...)",
                do="Export it as ENVI Standard; give TIFF files as such.",
            )


def _integer(path: Path, header: dict[str, str], key: str, *, at_least: int, default: int | None = None) -> int:
    """Return an integer from the header."""
    text = header.get(key, "").strip()
    if not text and default is not None:
        return default
    try:
        value = int(text)
    except ValueError:
        value = at_least - 1
    if value < at_least:
        raise UserError(
            f"{path}: {key}",
            found=text or "nothing",
            expected=f"an integer of at least {at_least}",
            do="Complete the header.",
        )
    return value


def _dtype(path: Path, header: dict[str, str]) -> tuple[np.dtype[Any], tuple[str, ...]]:
    """Return the data type with its byte order."""
    code = _integer(path, header, "data type", at_least=0)
    if code not in DTYPES:
        raise UserError(
            f"{path}: data type",
            found=f"{code} ({COMPLEX.get(code, 'unknown')})",
            expected="one of " + ", ".join(f"{key} ({name})" for key, name in DTYPES.items()),
            do="Take the magnitude of complex data first." if code in COMPLEX else "Correct the header.",
        )
    text = header.get("byte order", "").strip()
    if text not in ("", "0", "1"):
        raise UserError(f"{path}: byte order", found=text, expected="0 (little) or 1 (big)", do="Correct it.")
    notes = () if text else (f"{path.name}: byte order is missing, taken as 0 (little endian)",)
    return np.dtype((">" if text == "1" else "<") + DTYPES[code]), notes


def _interleave(path: Path, header: dict[str, str]) -> str:
    """Return the interleave: ``bil``, ``bip`` or ``bsq``."""
    text = header.get("interleave", "").strip().lower()
    if text not in AXES:
        raise UserError(
            f"{path}: interleave",
            found=repr(text) if text else "nothing",
            expected="bil, bip or bsq",
            do="Correct the header; a wrong interleave gives a picture of coloured noise.",
        )
    return text


def _spectral(path: Path, header: dict[str, str], bands: int) -> tuple[SpectralAxis | None, tuple[str, ...]]:
    """Return the spectral axis; without wavelengths, the numbers of the bands if some are bad, else None."""
    lists = {key: numbers(f"{path}: {key}", unbraced(header.get(key, ""))) for key in ("wavelength", "fwhm")}
    good = _good(path, header)
    if lists["wavelength"]:
        return spectral_axis(
            path,
            lists["wavelength"],
            bands=bands,
            unit=header.get("wavelength units", ""),
            fwhm=lists["fwhm"] or None,
            good=good,
        )
    named, notes = axis_in_names(path.name, names(header.get("band names", "")), bands)
    if lists["fwhm"]:
        notes += (f"{path.name}: fwhm belongs to no wavelengths and is kept as text",)
    check_count(f"{path}: bbl", good, bands)
    if named is not None or good is None:
        return None if named is None else replace(named, good=None if good is None else tuple(good)), notes
    axis, _ = spectral_axis(path, tuple(map(float, range(bands))), bands=bands, unit="index", good=good)
    return axis, (*notes, f"{path.name}: bad bands are marked on an axis of band numbers")


def _good(path: Path, header: dict[str, str]) -> list[bool] | None:
    """Return ``bbl`` as truth values: 1, 1.0 and true are good."""
    words = {"true": "1", "false": "0"}
    listed = [words.get(name.lower(), name) for name in names(header.get("bbl", "")) if name]
    return [value != 0 for value in numbers(f"{path}: bbl", " ".join(listed))] or None


def _nodata(path: Path, header: dict[str, str], dtype: np.dtype[Any]) -> tuple[float | None, tuple[str, ...]]:
    """Return ``data ignore value``; if the data type cannot hold it, return None and a note."""
    text = unbraced(header.get("data ignore value", ""))
    if text.lower() in NO_VALUE:
        return None, ()
    listed = numbers(f"{path}: data ignore value", text)
    if len(set(listed)) > 1 and not all(np.isnan(listed)):
        raise UserError(
            f"{path}: data ignore value", found=text[:80], expected="one value for all bands", do="Correct it."
        )
    return possible_nodata(path.name, listed[0] if listed else None, dtype)


def _scales(
    path: Path, header: dict[str, str], bands: int
) -> tuple[float, tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Return the scale of all bands, the gains and the offsets of each where they differ, and notes.

    A ``reflectance scale factor`` counts, and gains beside it are said to be left out unless they are its reciprocal.
    """
    factor = _scale(path, header)
    lists, notes = {}, []
    for key, neutral in (("data gain values", 1.0), ("data offset values", 0.0)):
        values = numbers(f"{path}: {key}", unbraced(header.get(key, "")))
        sound = len(values) == bands and all(isfinite(v) and (v != 0 or neutral == 0) for v in values)
        if values and not sound:
            notes.append(f"{path.name}: {key} are not applied: {len(values)} values, {bands} finite ones other than 0")
        lists[key] = values if sound and any(v != neutral for v in values) else ()
    gain, shift = lists.values()
    if factor is not None and (gain or shift):
        if shift or not all(isclose(value, factor, rel_tol=1e-6) for value in gain):
            notes.append(f"{path.name}: data gain and offset values are not applied: reflectance scale factor counts")
        gain, shift = (), ()
    return 1.0 if factor is None else factor, gain, shift, tuple(notes)


def _scale(path: Path, header: dict[str, str]) -> float | None:
    """Return the reciprocal of ``reflectance scale factor``, or None without one."""
    listed = numbers(f"{path}: reflectance scale factor", unbraced(header.get("reflectance scale factor", "")))
    if listed and not (isfinite(listed[0]) and listed[0] > 0 and isfinite(1.0 / listed[0])):
        raise UserError(
            f"{path}: reflectance scale factor", found=listed[0], expected="a number above 0", do="Correct it."
        )
    return 1.0 / listed[0] if listed else None


def _classes(path: Path, header: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of classes, each at its number, and a note if they are not as many as ``classes``.

    Names with commas, which ENVI's list cannot hold, are those of tilespec's own key if that has as many.
    """
    listed = names(header["class names"]) if unbraced(header.get("class names", "")) else ()
    text = header.get("classes", "").strip()
    count = int(text) if text.isdecimal() and len(text) < 6 else len(listed)
    if listed and len(listed) < count <= UNLABELLED:
        listed += ("",) * (count - len(listed))
    notes = () if not listed or len(listed) == count else (f"{path.name}: {len(listed)} class names, classes = {text}",)
    exact = exact_names(header.get("tilespec class names", ""))
    return (exact if len(exact) == len(listed) else listed), notes


def exact_names(text: str) -> tuple[str, ...]:
    """Return the names in a list of JSON, which may be in braces; none from other text."""
    try:
        listed = json.loads(text.strip().removeprefix("{").removesuffix("}") or "[]")
    except ValueError:
        return ()
    return tuple(listed) if isinstance(listed, list) and all(isinstance(name, str) for name in listed) else ()
