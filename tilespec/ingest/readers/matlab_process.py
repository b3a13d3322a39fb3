"""MATLAB process: the part of a reader that runs apart, because SciPy's parser can crash on damaged files.

``matlab_process.py SECONDS PATH`` prints names, shapes and classes of all arrays as JSON; with a name after the path it
writes that array in the format .npy. It ends after SECONDS by itself, and imports nothing of this package.
"""

import json
import signal
import sys
import warnings

import numpy as np
import scipy.io


def main(path: str, *names: str) -> None:
    """Write what is asked to the standard output."""
    warnings.simplefilter("ignore")
    if not names:
        sys.stdout.write(json.dumps(scipy.io.whosmat(path)))
        return
    array = np.asarray(scipy.io.loadmat(path, variable_names=[names[0]])[names[0]])
    if array.dtype == object and all(np.ndim(cell) and cell.dtype.kind == "U" for cell in array.flat):
        array = np.array(["".join(cell) for cell in array.flat])  # a cell array of texts
    if array.dtype.kind not in "biufUS":
        raise TypeError(f"{names[0]} holds {array.dtype}, no numbers")
    with open(1, "wb", closefd=False) as out:
        np.lib.format.write_array(out, array, allow_pickle=False)


if __name__ == "__main__":
    signal.alarm(int(sys.argv[1]))
    main(*sys.argv[2:])
