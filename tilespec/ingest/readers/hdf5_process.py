"""HDF5 process: a first look at a file that runs apart, because the HDF5 library can hang or crash on damaged ones.

``hdf5_process.py SECONDS PATH`` visits all arrays of a file: their attributes, and their first and last elements. It
ends after SECONDS by itself, and imports nothing of this package.
"""

import signal
import sys
from contextlib import suppress
from typing import Any

import h5py


def main(path: str) -> None:
    """Visit what a reader will visit; errors are left to it, and only crashes and hangs matter."""
    with suppress(Exception), h5py.File(path, "r") as file:
        _attributes(file)
        file.visititems(_visit)


def _visit(_: str, node: Any) -> None:
    """Read the attributes of a group or an array, and two elements and the dimensions of an array."""
    _attributes(node)
    if isinstance(node, h5py.Dataset) and node.shape:
        for corner in (tuple(0 for _ in node.shape), tuple(size - 1 for size in node.shape)):
            with suppress(Exception):
                node[corner]
        with suppress(Exception):
            for dim in node.dims:
                dim.label, [scale.name for scale in dim.values()]


def _attributes(node: Any) -> None:
    """Read all attributes."""
    with suppress(Exception):
        for key in node.attrs:
            with suppress(Exception):
                node.attrs[key]


if __name__ == "__main__":
    signal.alarm(int(sys.argv[1]))
    main(*sys.argv[2:])
