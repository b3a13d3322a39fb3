"""NetCDF 4 by the CF conventions, and plain HDF5: axes by name, unpacked values, grid or swath."""

from pathlib import Path

from tilespec.ingest.readers.cf import read_cf
from tilespec.ingest.readers.hdf5 import container_of, open_hdf5
from tilespec.ingest.readers.source import Options, Source


def read_netcdf(path: Path, options: Options) -> Source:
    """Return an array of a NetCDF 4 or plain HDF5 file.

    ``scale_factor`` and ``_FillValue`` become facts of the integers; an ``add_offset``, which a scene cannot store, is
    applied.
    """
    with open_hdf5(path) as file:
        return read_cf(container_of(path, file), options)
