"""How cubes are stored best: codecs and chunks, on simulated and on real cubes (README.md).

.venv/bin/python benchmarks/storage/storage.py --scene scene.zarr --raw raw --readme benchmarks/README.md

One thread encodes and decodes; everything is in memory, and the quickest of a few tries counts.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from cubes import Cube, cubes
from rounds import HERE, machine
from storage_chunks import chunked
from storage_codecs import coded
from storage_table import tables
from table import put

PACKAGES = ("numpy", "zarr", "numcodecs", "google-crc32c")


def main() -> None:
    given = arguments()
    found = cubes(given.scene, given.raw, HERE.parents[1] / "shared" / "data", given.side)
    report: dict[str, Any] = {
        "machine": machine(given.python, PACKAGES),
        "codecs": [row for cube in found for row in said(cube)],
        "chunks": chunked(found, given.scratch),
    }
    shutil.rmtree(given.scratch, ignore_errors=True)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps(report, indent=1) + "\n")
    if given.readme:
        put(given.readme, "storage", tables(report))


def said(cube: Cube) -> list[dict[str, Any]]:
    """Return the rows of one cube, printed."""
    rows = coded(cube)
    for row in rows:
        rates = f"{row['encode'] / 1e6:7.0f} {row['decode'] / 1e6:7.0f} MB/s"
        print(f"{cube.name:28} {cube.values.dtype!s:8} {row['codec']:24} {row['share']:6.1%} {rates}", flush=True)
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = HERE / ".venv" / "bin" / "python"
    parser.add_argument("--scene", type=Path, default=Path("runs/stages/raw-F.zarr"), help="float32 reflectance")
    parser.add_argument("--raw", type=Path, default=Path("runs/stages/counts-F"), help="folder of their counts")
    parser.add_argument("--side", type=int, default=1024, help="rows and columns of simulated cubes")
    parser.add_argument("--scratch", type=Path, default=Path("runs/stages/storage"), help="is removed at the end")
    parser.add_argument("--python", type=Path, default=peers)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "storage.json")
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its markers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
