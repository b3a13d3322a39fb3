"""Codecs and chunks as Markdown tables."""

from statistics import median
from typing import Any

from table import markdown, ran_on

DISK = 0.5
"""Gigabytes in one second of a slow disk or a fast network."""
CORES = 2


def tables(report: dict[str, Any]) -> str:
    """Return size and rates of codecs, and what chunks cost."""
    rows = report["codecs"]
    parts = [ran_on(report)]
    for kind, title in (("f", "floats"), ("iu", "integers")):
        some = [row for row in rows if _kind(row) in kind]
        parts += [f"### Codecs on {title}: share of the bytes that is stored\n\n{_shares(some)}"]
        parts += [f"### Codecs on {title}: one core, GB of values in one second\n\n{_rates(some)}"]
    parts += [f"### Chunks of simulated reflectance, through zarr\n\n{_chunks(report['chunks'])}"]
    return "\n\n".join(parts) + "\n"


def _kind(row: dict[str, Any]) -> str:
    return "f" if row["dtype"].startswith("float") else "i"


def _shares(rows: list[dict[str, Any]]) -> str:
    """Return codecs down, cubes across."""
    cubes = list(dict.fromkeys((row["cube"], row["dtype"]) for row in rows))
    held = {(row["codec"], row["cube"], row["dtype"]): row["share"] for row in rows}
    codecs = list(dict.fromkeys(row["codec"] for row in rows))
    names = ["codec", *(f"{cube}, {dtype}" for cube, dtype in cubes)]
    return markdown(names, [[codec, *(f"{held[codec, *cube]:.1%}" for cube in cubes)] for codec in codecs])


def _rates(rows: list[dict[str, Any]]) -> str:
    """Return codecs down; encoding, decoding and what reading takes across, simulated and real cubes apart."""
    found = []
    for codec in dict.fromkeys(row["codec"] for row in rows):
        cells = [codec]
        for real in (False, True):
            some = [row for row in rows if row["codec"] == codec and row["real"] == real]
            cells += [f"{median(row[key] for row in some) / 1e9:.2f}" if some else "" for key in ("encode", "decode")]
            cells += [f"{median(_slow(row) for row in some):.2f}" if some else ""]
        found.append(cells)
    what = ("encode", "decode", "s/GB from a slow disk")
    return markdown(["codec", *(f"{kind}: {name}" for kind in ("simulated", "real") for name in what)], found)


def _slow(row: dict[str, Any]) -> float:
    """Return the seconds of reading a gigabyte of values from a slow disk, decoding on all cores meanwhile."""
    return max(row["share"] / DISK, 1e9 / row["decode"] / CORES)


def _chunks(rows: list[dict[str, Any]]) -> str:
    names = ["dtype", "chunk", "MB", "objects", "stored", "write, s/GB", "read, s/GB", "patches of 128/s"]
    shown = [
        [
            row["dtype"],
            " x ".join(map(str, row["chunks"])),
            f"{row['object_bytes'] / 1e6:.1f}",
            str(row["objects"]),
            f"{row['share']:.1%}",
            f"{row['write']:.2f}",
            f"{row['read']:.2f}",
            f"{row['patches']:.0f}",
            f"{row['spectrum'] * 1e3:.1f}",
            f"{row['band'] * 1e3:.0f}",
        ]
        for row in rows
    ]
    return markdown([*names, "one spectrum, ms", "one band, ms"], shown)
