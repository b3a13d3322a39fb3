"""Place: the coordinate system and the pixel size that the user gives for a source that does not say them."""

from dataclasses import replace
from math import isfinite
from typing import Any

from tilespec.core.errors import UserError
from tilespec.ingest.readers.georeference import crs_of, grid_mapping
from tilespec.ingest.readers.source import Relabelled, Source


def with_place(request: Any, source: Source) -> tuple[Source, list[str]]:
    """Return a source with the coordinate system ``request.crs``, and notes; check ``request.pixel_size``.

    Raises:
        UserError: the system does not exist, the source has no coordinates, or it says how large its pixels are.
    """
    place = source.facts.georef or {}
    if request.pixel_size is not None:
        _check_size(request.pixel_size, place)
    if request.crs is None:
        return source, []
    crs = crs_of(request.crs)
    if crs is None or "GeoTransform" not in place:
        raise UserError(
            "--crs",
            found=repr(request.crs) if crs is None else f"a source without coordinates ({request.src})",
            expected="a system such as EPSG:32632" if crs is None else "one that says where its pixels lie",
            do="Correct the code." if crs is None else "Leave --crs out; --pixel-size gives areas without a place.",
        )
    before = crs_of(place["crs_wkt"]) if place.get("crs_wkt") else None
    notes = [f"--crs {request.crs} takes the place of {before.name}"] if before is not None and before != crs else []
    numbers = [float(value) for value in str(place["GeoTransform"]).split()]
    a, b, c, d, e, f = numbers
    mapping = grid_mapping(crs, (a, b, c, d, e, f))
    notes_left = tuple(note for note in source.facts.notes if "no CRS" not in note)
    return Relabelled(facts=replace(source.facts, georef=mapping, notes=notes_left), inner=source), notes


def size_attrs(size: float | None, pixels: int) -> dict[str, float]:
    """Return the attribute of a scene that says how wide a pixel is, in metres, after binning."""
    return {} if size is None else {"pixel_size_m": size * pixels}


def _check_size(size: float, place: dict[str, Any]) -> None:
    """Refuse a size that is none, and one beside coordinates that say it."""
    if not (isfinite(size) and size > 0):
        raise UserError("--pixel-size", found=size, expected="metres, above 0", do="Give for example 0.0005.")
    crs = crs_of(place["crs_wkt"]) if place.get("crs_wkt") else None
    if crs is not None and "GeoTransform" in place:
        raise UserError(
            "--pixel-size",
            found=f"a source that says it, in {crs.name}",
            expected="one without coordinates",
            do="Leave --pixel-size out.",
        )
