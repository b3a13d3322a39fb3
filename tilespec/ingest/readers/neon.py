"""NEON AOP surface reflectance: HDF5, a flight line or a tile of the mosaic, one site in each file.

``SITE/Reflectance/Reflectance_Data(y, x, band)``, int16 with ``Scale_Factor`` (a divisor) and ``Data_Ignore_Value``,
``Metadata/Spectral_Data/{Wavelength, FWHM}``, ``Metadata/Coordinate_System/{Map_Info, Coordinate_System_String, EPSG
Code}``; ``Band_Window_1_Nanometers`` and ``..._2_...`` of the group are the windows in which water vapour absorbs all
signal (github.com/NEONScience/NEON-Data-Skills, tutorials/Python/AOP/Hyperspectral).
"""

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.cf import read_container, text
from tilespec.ingest.readers.containers import Container
from tilespec.ingest.readers.georeference import crs_of, from_envi, grid_mapping
from tilespec.ingest.readers.hdf5 import Hdf5Layout, attributes, dataset, entry, open_hdf5, vector
from tilespec.ingest.readers.source import Options, Source
from tilespec.ingest.readers.wavelengths import spectral_axis
from tilespec.storage.georeference import transform_of

CUBE: Final = "Reflectance/Reflectance_Data"
DIMS: Final = ("y", "x", "band")
WINDOWS: Final = ("Band_Window_1_Nanometers", "Band_Window_2_Nanometers")
USED: Final = frozenset({"Scale_Factor", "Data_Ignore_Value", "Scale_factor", *WINDOWS})
"""The attributes that become facts of the scene."""


def fits(file: h5py.File) -> bool:
    """Return whether a site's group holds NEON's reflectance."""
    return _site(file) is not None


def read_neon(path: Path, options: Options) -> Source:
    """Return the reflectance of a NEON file: the stored integers with their scale."""
    with open_hdf5(path) as file:
        site = _site(file)
        assert site is not None, "the layout fits, or the user names it"
        group = file[site]["Reflectance"]
        cube = group["Reflectance_Data"]
        entries = {"Reflectance_Data": entry(cube, DIMS, _packing(path, cube))}
        reader = dataset(path, cube)
        spectral, notes = _spectral(path.name, group, cube.shape[2])
        georef, place_notes = _georef(path.name, group)
        header = {"site": site} | attributes(file) | attributes(group, without=USED) | attributes(cube, without=USED)
    return read_container(
        Container(path=path, entries=entries, read=lambda _: reader),
        options,
        spectral=spectral,
        georef=georef,
        header=header,
        notes=(*notes, *place_notes),
    )


def _site(file: h5py.File) -> str | None:
    """Return the name of the site whose reflectance a file holds."""
    return next((name for name, node in file.items() if isinstance(node, h5py.Group) and CUBE in node), None)


def _packing(path: Path, cube: h5py.Dataset) -> dict[str, float]:
    """Return the scale and the nodata value; refuse integers without a scale."""
    values = {key.lower(): float(np.ravel(cube.attrs[key])[0]) for key in USED & set(cube.attrs)}
    factor = values.get("scale_factor", 0.0)
    if not factor > 0:
        raise UserError(
            f"{path}: {cube.name}",
            found=f"Scale_Factor {factor:g}",
            expected="a divisor above 0, such as 10000",
            do="Name the array with --variable to take the numbers as they are.",
        )
    ignore = values.get("data_ignore_value")
    return {"scale_factor": 1.0 / factor} | ({} if ignore is None else {"_FillValue": ignore})


def _spectral(where: str, group: h5py.Group, bands: int) -> tuple[SpectralAxis, tuple[str, ...]]:
    """Return the spectral axis; bands inside the water vapour windows are bad."""
    lists = {name.lower(): node for name, node in group["Metadata/Spectral_Data"].items()}
    centres = vector(lists["wavelength"])
    units = {key.lower(): text(value) for key, value in lists["wavelength"].attrs.items()}
    windows = [vector(group.attrs[key])[:2] for key in WINDOWS if key in group.attrs]
    return spectral_axis(
        where,
        centres,
        bands=bands,
        unit=units.get("units", "nm"),
        fwhm=vector(lists["fwhm"]) if "fwhm" in lists else None,
        good=[not any(low <= centre <= high for low, high in windows) for centre in centres] if windows else None,
    )


def _georef(where: str, group: h5py.Group) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the grid mapping from ENVI's ``Map_Info``, with the CRS by its EPSG code if there is one."""
    place = group.get("Metadata/Coordinate_System")
    if place is None or "Map_Info" not in place:
        return None, (f"{where}: no Map_Info: no georeference",)
    fields = {key: text(node[()]) for key, node in place.items() if isinstance(node, h5py.Dataset) and node.size == 1}
    wkt = fields.get("Coordinate_System_String", "")
    georef, _, notes = from_envi(where, {"map info": fields.get("Map_Info", ""), "coordinate system string": wkt})
    code = fields.get("EPSG Code", "")
    crs = crs_of(int(code)) if code.isdigit() else None
    transform = transform_of("" if georef is None else georef["GeoTransform"])
    return (georef, notes) if crs is None or transform is None else (grid_mapping(crs, transform), ())


LAYOUT: Final = Hdf5Layout(fits=fits, read=read_neon)
