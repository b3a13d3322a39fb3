"""NetCDF 4 by the CF conventions, and plain HDF5: axes by name, unpacked values, grid or swath."""

from pathlib import Path

from tilespec.ingest.readers.cf import read_cf
from tilespec.ingest.readers.hdf5 import container_of, open_hdf5
from tilespec.ingest.readers.source import Options, Source
from tilespec.ingest.readers.stacked import with_stack


def read_netcdf(path: Path, options: Options) -> Source:
    """Return an array of a NetCDF 4 or plain HDF5 file.

    ``scale_factor`` and ``_FillValue`` become facts of the integers; an ``add_offset``, which a scene cannot store, is
    applied.
    """
    with open_hdf5(path) as file:
        container = container_of(path, file)
    return read_cf(with_stack(container) if options.variable is None else container, options)
