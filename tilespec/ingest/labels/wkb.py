"""WKB: geometries as lists of rings, from a GeoJSON object or from well-known binary, and well-known binary of them.

Well-known binary as in OGC 06-103r4, section 8.2: byte order, type, count, and then rings of float64 x, y.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

POLYGON: Final = 3
MULTIPOLYGON: Final = 6
MOST: Final = 1 << 26
"""The largest number of corners in a ring, rings in a polygon, or parts; a larger one means a damaged file."""


def polygon_of(geometry: Any) -> list[list[Any]]:
    """Return the parts of a polygon, each a list of rings, each a sequence of positions.

    Raises:
        ValueError: the geometry is no polygon, or the bytes are no geometry.
    """
    if isinstance(geometry, bytes):
        parts, end = _parts(geometry, 0)
        if end != len(geometry):
            raise ValueError(f"{len(geometry) - end} bytes after the geometry")
        return parts
    kind = geometry["type"]
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {kind}")
    coordinates: list[Any] = geometry["coordinates"]
    return [coordinates] if kind == "Polygon" else coordinates


def multipolygon_wkb(polygons: Sequence[Sequence[np.ndarray]]) -> bytes:
    """Return polygons of closed rings with columns x, y, outer ring first, as little-endian well-known binary."""
    parts = [struct.pack("<BII", 1, MULTIPOLYGON, len(polygons))]
    for rings in polygons:
        parts.append(struct.pack("<BII", 1, POLYGON, len(rings)))
        for ring in rings:
            parts += [struct.pack("<I", len(ring)), np.ascontiguousarray(ring, "<f8").tobytes()]
    return b"".join(parts)


def _parts(data: bytes, at: int, kinds: tuple[int, ...] = (POLYGON, MULTIPOLYGON)) -> tuple[list[list[Any]], int]:
    """Return the parts of the geometry at an offset, and the offset of its end."""
    order = {0: ">", 1: "<"}.get(data[at])
    if order is None:
        raise ValueError(f"byte order {data[at]}")
    kind = _integer(data, at + 1, order)
    if kind not in kinds:
        raise ValueError(f"a geometry of type {kind}")
    count, at = _count(data, at + 5, order), at + 9
    parts: list[list[Any]] = [[]] if kind == POLYGON else []
    for _ in range(count):
        if kind == POLYGON:
            ring, at = _ring(data, at, order)
            parts[0].append(ring)
        else:
            part, at = _parts(data, at, (POLYGON,))
            parts += part
    return parts, at


def _ring(data: bytes, at: int, order: str) -> tuple[Any, int]:
    """Return the corners of the ring at an offset, and the offset of its end."""
    size = _count(data, at, order)
    end = at + 4 + 16 * size
    if end > len(data):
        raise ValueError("a geometry that ends early")
    return np.frombuffer(data, order + "f8", 2 * size, at + 4).reshape(size, 2), end


def _count(data: bytes, at: int, order: str) -> int:
    """Return a number of rings, parts or corners; refuse one above `MOST`."""
    count = _integer(data, at, order)
    if count > MOST:
        raise ValueError(f"a count of {count}")
    return count


def _integer(data: bytes, at: int, order: str) -> int:
    """Return the unsigned integer at an offset."""
    if at + 4 > len(data):
        raise ValueError("a geometry that ends early")
    value: int = struct.unpack_from(order + "I", data, at)[0]
    return value
