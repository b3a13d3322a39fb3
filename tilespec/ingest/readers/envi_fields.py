"""ENVI fields: the values of an ENVI header, each of which is checked."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.envi_header import names, read_header, unbraced
from tilespec.ingest.readers.georeference import from_envi
from tilespec.ingest.readers.source import Facts
from tilespec.ingest.readers.wavelengths import check_count, numbers, spectral_axis

DTYPES: Final = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX: Final = {6: "complex64", 9: "complex128"}
AXES: Final = {"bil": ("y", "band", "x"), "bip": ("y", "x", "band"), "bsq": ("band", "y", "x")}
KNOWN: Final = (
    *("samples", "lines", "bands", "data type", "interleave", "byte order", "header offset", "file type"),
    *("wavelength", "wavelength units", "fwhm", "bbl", "data ignore value", "reflectance scale factor"),
    *("map info", "coordinate system string", "class names", "classes"),
)
"""The keys that become facts of the scene; all others are copied to its header."""
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


def describe(header_path: Path, data: Path) -> tuple[Facts, EnviLayout]:
    """Return the facts and the layout from a header after checking them, without reading the data."""
    header, notes = read_header(header_path)
    _refuse_kinds(header_path, header)
    shape = tuple(_integer(header_path, header, key, at_least=1) for key in ("lines", "samples", "bands"))
    dtype, order_notes = _dtype(header_path, header)
    spectral, spectral_notes = _spectral(header_path, header, shape[2])
    georef, map_notes = from_envi(header_path.name, header)
    nodata, nodata_notes = _nodata(header_path, header, dtype)
    interleave = _interleave(header_path, header)
    facts = Facts(
        shape=shape,  # type: ignore[arg-type]
        dtype=dtype,
        spectral=spectral,
        georef=georef,
        nodata=nodata,
        scale=_scale(header_path, header),
        classes=names(header["class names"]) if header.get("class names") else (),
        header={key: value for key, value in header.items() if key not in KNOWN},
        notes=(*notes, *order_notes, *spectral_notes, *map_notes, *nodata_notes),
        files=(header_path, data),
        read_bytes=GATHER if interleave == "bsq" else Facts.read_bytes,
    )
    offset = _integer(header_path, header, "header offset", at_least=0, default=0)
    return facts, EnviLayout(data=data, offset=offset, interleave=interleave)


def _refuse_kinds(path: Path, header: dict[str, str]) -> None:
    """Refuse a file that is not a plain image, with the reason."""
    kind = header.get("file type", "ENVI Standard").strip().lower()
    reasons = {
        "file type": "spectral library" in kind or "meta" in kind or "tiff" in kind,
        "file compression": header.get("file compression", "0").strip() not in ("0", ""),
        "major frame offsets": any(numbers(path, unbraced(header.get("major frame offsets", "")))),
        "minor frame offsets": any(numbers(path, unbraced(header.get("minor frame offsets", "")))),
    }
    for key, refused in reasons.items():
        if refused:
            raise UserError(
                f"{path}: {key}",
                found=header[key],
                expected="an uncompressed image (file type ENVI Standard or ENVI Classification)",
                do="Export it as ENVI Standard; give TIFF files as such; a spectral library has no scene.",
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
    """Return the spectral axis, or None when the header has no wavelengths."""
    lists = {key: numbers(f"{path}: {key}", unbraced(header.get(key, ""))) for key in ("wavelength", "fwhm")}
    good = _good(path, header)
    if not lists["wavelength"]:
        check_count(f"{path}: bbl", good, bands)
        return None, (f"{path.name}: no wavelengths",)
    return spectral_axis(
        path,
        lists["wavelength"],
        bands=bands,
        unit=header.get("wavelength units", ""),
        fwhm=lists["fwhm"] or None,
        good=good,
    )


def _good(path: Path, header: dict[str, str]) -> list[bool] | None:
    """Return ``bbl`` as truth values: 1, 1.0 and true are good."""
    words = {"true": "1", "false": "0"}
    listed = [words.get(name.lower(), name) for name in names(header.get("bbl", "")) if name]
    return [value != 0 for value in numbers(f"{path}: bbl", " ".join(listed))] or None


def _nodata(path: Path, header: dict[str, str], dtype: np.dtype[Any]) -> tuple[float | None, tuple[str, ...]]:
    """Return ``data ignore value``; if the data type cannot hold it, return None and a note."""
    listed = numbers(f"{path}: data ignore value", unbraced(header.get("data ignore value", "")))
    if not listed:
        return None, ()
    value = listed[0]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not isfinite(value) or value != int(value) or not limits.min <= value <= limits.max:
            return None, (f"{path.name}: data ignore value {value:g} cannot occur in {dtype.name}, ignored",)
    return value, ()


def _scale(path: Path, header: dict[str, str]) -> float:
    """Return the reciprocal of ``reflectance scale factor``."""
    listed = numbers(f"{path}: reflectance scale factor", unbraced(header.get("reflectance scale factor", "")))
    if listed and not (isfinite(listed[0]) and listed[0] > 0):
        raise UserError(
            f"{path}: reflectance scale factor", found=listed[0], expected="a number above 0", do="Correct it."
        )
    return 1.0 / listed[0] if listed else 1.0
