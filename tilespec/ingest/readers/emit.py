"""EMIT L1B and L2A of the NASA LP DAAC: NetCDF 4 of a swath, with the bands in a separate group.

``radiance`` or ``reflectance(downtrack, crosstrack, bands)``, ``sensor_band_parameters/{wavelengths, fwhm,
good_wavelengths}``, ``location/{lat, lon, elev}`` on the swath's pixels and ``location/{glt_x, glt_y}`` on another
grid (github.com/emit-sds/emit-utils, `daac_converter.py`). The file's ``geotransform`` is that of the other grid, so a
scene of the swath has no georeference, but layers with the latitude and longitude of each pixel.
"""

from pathlib import Path
from typing import Final

import h5py

from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.cf import LATITUDE, LONGITUDE, read_container, text
from tilespec.ingest.readers.containers import Container, choose
from tilespec.ingest.readers.hdf5 import Hdf5Layout, attributes, dataset, entry, layer, open_hdf5, vector
from tilespec.ingest.readers.source import Options, Source, SourceLayer
from tilespec.ingest.readers.wavelengths import spectral_axis

BANDS: Final = "sensor_band_parameters"
DIMS: Final = ("downtrack", "crosstrack", "bands")
LAYERS: Final = {
    "lat": LATITUDE,
    "lon": LONGITUDE,
    "elev": {"units": "m", "long_name": "surface elevation"},
}
"""The layers of ``location`` with our own attributes, because early files have latitude and longitude exchanged."""

SWATH: Final = (
    "a swath: lat and lon of each pixel are kept as layers, the lookup table glt to an orthorectified grid is not; "
    "there is no georeference"
)


def fits(file: h5py.File) -> bool:
    """Return whether a file has EMIT's groups."""
    return f"{BANDS}/wavelengths" in file and "location/lat" in file and bool(_cubes(file))


def read_emit(path: Path, options: Options) -> Source:
    """Return the cube of an EMIT product, with the position of each pixel as layers."""
    with open_hdf5(path) as file:
        cubes = _cubes(file)
        entries = {name: entry(node, DIMS) for name, node in cubes.items()}
        name = choose(path, entries, options)
        readers = {name: dataset(path, node) for name, node in cubes.items()}
        spectral, notes = _spectral(path.name, file, cubes[name].shape[2])
        layers = _layers(path, file, cubes[name].shape[:2])
        units = {f"{name} {key}": value for key, value in attributes(cubes[name]).items()}
        header = attributes(file) | units
    return read_container(
        Container(path=path, entries=entries, read=readers.__getitem__),
        options,
        spectral=spectral,
        layers=layers,
        header=header,
        notes=(*notes, f"{path.name}: {SWATH}"),
    )


def _cubes(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the cubes at the root: radiance, reflectance or its uncertainty."""
    return {name: node for name, node in file.items() if isinstance(node, h5py.Dataset) and node.ndim == 3}


def _spectral(where: str, file: h5py.File, bands: int) -> tuple[SpectralAxis, tuple[str, ...]]:
    """Return the spectral axis; L1B does not mark good bands."""
    group = file[BANDS]
    return spectral_axis(
        where,
        vector(group["wavelengths"]),
        bands=bands,
        unit=text(group["wavelengths"].attrs.get("units", "nm")),
        fwhm=vector(group["fwhm"]) if "fwhm" in group else None,
        good=[value != 0 for value in vector(group["good_wavelengths"])] if "good_wavelengths" in group else None,
    )


def _layers(path: Path, file: h5py.File, shape: tuple[int, int]) -> tuple[SourceLayer, ...]:
    """Return the layers of ``location``."""
    nodes = {name: file["location"].get(name) for name in LAYERS}
    return tuple(
        layer(path, name, node, LAYERS[name])
        for name, node in nodes.items()
        if isinstance(node, h5py.Dataset) and node.shape == shape
    )


LAYOUT: Final = Hdf5Layout(fits=fits, read=read_emit)
