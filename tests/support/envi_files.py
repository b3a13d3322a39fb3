"""Cubes written as ENVI files."""

import numpy as np

from tilespec.ingest.readers.envi_fields import AXES, DTYPES

ORDER = {"<": 0, ">": 1}


def write_envi(folder, cube, interleave="bil", order="<", offset=0, name="cube", suffix=".img", extra=""):
    """Write a cube (y, x, band) as ENVI and return the header's path."""
    at = [("y", "x", "band").index(axis) for axis in AXES[interleave]]
    code = {np.dtype(v): k for k, v in DTYPES.items()}[cube.dtype.newbyteorder("=")]
    raw = np.ascontiguousarray(cube.transpose(at)).astype(cube.dtype.newbyteorder(order)).tobytes()
    (folder / f"{name}{suffix}").write_bytes(b"\xa5" * offset + raw)
    header = folder / f"{name}.hdr"
    lines, samples, bands = cube.shape
    header.write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\nheader offset = {offset}\n"
        f"data type = {code}\ninterleave = {interleave}\nbyte order = {ORDER[order]}\n{extra}"
    )
    return header


def small_cube(dtype="u2", shape=(5, 4, 3), seed=0):
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if kind.kind == "f":
        return rng.normal(0, 1e3, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def edited(header, old, new):
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    return header
