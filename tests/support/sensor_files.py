"""Small files with exactly the layouts of EMIT, PRISMA, NEON and CF NetCDF, each with the truth it should give."""

from dataclasses import dataclass

import h5netcdf
import h5py
import numpy as np
from pyproj import CRS


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a scene of a file should hold."""

    path: object
    values: np.ndarray
    wavelengths: np.ndarray


def write_emit(path, *, rows=7, cols=5, bands=6, level="L2A", seed=0):
    """Write EMIT L1B or L2A as `emit_utils.daac_converter` does: fill -9999, groups, a lookup table of another size."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.0, 0.6, (rows, cols, bands)).astype(np.float32)
    values[1, 2] = -9999
    waves = np.linspace(381.0, 2493.0, bands).astype(np.float32)
    name, units = ("radiance", "uW/cm^2/SR/nm") if level == "L1B" else ("reflectance", "unitless")
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"downtrack": rows, "crosstrack": cols, "bands": bands, "ortho_y": 9, "ortho_x": 8}
        file.attrs["title"] = f"EMIT {level} 60 m V001"
        file.attrs["flight_line"] = "emit20230316t045133_o07503_s000"
        file.attrs["geotransform"] = np.array([147.0, 0.000542, 0.0, -35.0, 0.0, -0.000542])
        file.attrs["spatial_ref"] = 'GEOGCS["WGS 84"]'
        cube = file.create_variable(name, ("downtrack", "crosstrack", "bands"), "f4", fillvalue=np.float32(-9999))
        cube[...] = values
        cube.attrs["long_name"], cube.attrs["units"] = "Surface Reflectance", units
        add = "sensor_band_parameters/{}".format
        for key, data in (("wavelengths", waves), ("fwhm", np.full(bands, 8.5, np.float32))):
            variable = file.create_variable(add(key), ("bands",), "f4", data=data)
            variable.attrs["units"] = "nm"
        if level == "L2A":
            good = np.array([1, 1, 0, 1, 1, 1][:bands], np.uint8)
            file.create_variable(add("good_wavelengths"), ("bands",), "u1", data=good)
        lat = -35.0 - np.arange(rows)[:, None] * 0.0005 + np.zeros(cols)
        lon = 147.0 + np.arange(cols) * 0.0005 + np.zeros((rows, 1))
        lat[0, 0] = lon[0, 0] = -9999
        # early products have the attributes of latitude and longitude exchanged
        for key, data, said in (("lat", lat, "degrees east"), ("lon", lon, "degrees north"), ("elev", lat * 0, "m")):
            made = file.create_variable(f"location/{key}", ("downtrack", "crosstrack"), "f8", fillvalue=-9999.0)
            made[...] = data
            made.attrs["units"] = said
        for key in ("glt_x", "glt_y"):
            file.create_variable(f"location/{key}", ("ortho_y", "ortho_x"), "i4", data=np.ones((9, 8), np.int32))
    values[values == -9999] = np.nan
    return Truth(path=path, values=values, wavelengths=waves)


VNIR = (0.0, 977.4, 960.2, 942.9, 700.0, 500.5)
SWIR = (2497.1, 1500.0, 959.7, 943.1, 0.0)
"""Descending, bands that were not acquired at 0, an overlap from 943.1 to 977.4 nm."""


def write_prisma(path, *, level="L2D", rows=6, cols=4, seed=0):
    """Write PRISMA as ASI does: ``(y, band, x)`` uint16 cubes, everything else in the root's attributes."""
    rng = np.random.default_rng(seed)
    cubes = {arm: rng.integers(1, 65535, (rows, len(cw), cols)).astype(np.uint16) for arm, cw in ARMS.items()}
    for cube in cubes.values():
        cube[0, :, 0] = 0  # outside of the swath
    cubes["Vnir"][2, 4, 1] = 0
    swath = f"HDFEOS/SWATHS/PRS_{level}_HCO"
    with h5py.File(path, "w") as file:
        file.attrs["Processing_Level"] = np.bytes_(level.removeprefix("L"))
        file.attrs["Product_StartTime"] = np.bytes_("2020-08-13T10:30:56.0")
        file.attrs["Sun_zenith_angle"] = np.float32(41.5)
        for arm, centres in ARMS.items():
            file[f"{swath}/Data Fields/{arm.upper()}_Cube"] = cubes[arm]
            file[f"{swath}/Data Fields/{arm.upper()}_PIXEL_L2_ERR_MATRIX"] = np.zeros_like(cubes[arm], np.uint8)
            file.attrs[f"List_Cw_{arm}"] = np.array(centres, np.float32)
            file.attrs[f"List_Cw_{arm}_Flags"] = np.array([centre > 0 for centre in centres], np.uint8)
            file.attrs[f"List_Fwhm_{arm}"] = np.array([10.0 + i for i in range(len(centres))], np.float32)
        if level == "L1":
            for arm in ARMS:
                file.attrs[f"ScaleFactor_{arm}"], file.attrs[f"Offset_{arm}"] = np.float32(100), np.float32(0.5)
        else:
            for arm, top in (("Vnir", 0.7), ("Swir", 0.5)):
                file.attrs[f"L2Scale{arm}Min"], file.attrs[f"L2Scale{arm}Max"] = np.float32(0.0), np.float32(top)
        if level == "L2D":
            file.attrs["Epsg_Code"] = np.int64(32633)
            corners = {"UL": (0, 0), "UR": (0, cols - 1), "LL": (rows - 1, 0), "LR": (rows - 1, cols - 1)}
            for corner, (y, x) in corners.items():
                file.attrs[f"Product_{corner}corner_easting"] = np.float32(352755 + 30 * x)
                file.attrs[f"Product_{corner}corner_northing"] = np.float32(5987235 - 30 * y)
        for key in ("Latitude", "Longitude"):
            name = key if level != "L1" else f"{key}_VNIR"
            file[f"{swath}/Geolocation Fields/{name}"] = np.arange(rows * cols, dtype=np.float32).reshape(rows, cols)
    return Truth(
        path=path, values=_prisma_values(cubes, level), wavelengths=np.array([500.5, 700, 942.9, *SWIR[3::-1]])
    )


ARMS = {"Vnir": VNIR, "Swir": SWIR}


def _prisma_values(cubes, level):
    """Return values in ascending order, by the formulas of the product's specification, one band at a time."""
    bands = [("Vnir", 5), ("Vnir", 4), ("Vnir", 3), ("Swir", 3), ("Swir", 2), ("Swir", 1), ("Swir", 0)]
    planes = []
    for arm, band in bands:
        stored = cubes[arm][:, band, :].astype(float)
        top = {"Vnir": np.float32(0.7), "Swir": np.float32(0.5)}[arm]
        plane = stored / 100 - 0.5 if level == "L1" else 0 + stored * (top - 0) / 65535
        planes.append(np.where(stored == 0, np.nan, plane) if level != "L1" else plane)
    values = np.stack(planes, axis=-1)
    values[0, 0] = np.nan
    return values


def write_neon(path, *, rows=6, cols=5, bands=8, seed=0, fwhm=True):
    """Write NEON's reflectance: integers under a site's group, the place as ENVI's text."""
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 9000, (rows, cols, bands)).astype(np.int16)
    stored[0, 0] = -9999
    waves = np.linspace(383.6579, 2511.9379, bands)
    with h5py.File(path, "w") as file:
        group = file.create_group("SERC/Reflectance")
        group.attrs["Band_Window_1_Nanometers"] = np.array([1340.0, 1445.0])
        group.attrs["Band_Window_2_Nanometers"] = np.array([1790.0, 1955.0])
        group.attrs["Description"] = "Atmospherically corrected reflectance."
        group["Reflectance_Data"] = stored
        for key, value in {
            "Scale_Factor": 10000.0,
            "Data_Ignore_Value": -9999.0,
            "Interleave": "BSQ",
            "Spatial_Extent_meters": np.array([367167.0, 368273.0, 4300128.0, 4310980.0]),
            "Units": "Unitless.",
        }.items():
            group["Reflectance_Data"].attrs[key] = value
        group["Metadata/Spectral_Data/Wavelength"] = waves
        group["Metadata/Spectral_Data/Wavelength"].attrs["Units"] = "nanometers"
        group["Metadata/Spectral_Data/FWHM"] = np.full(bands if fwhm else bands - 1, 5.8)
        place = {
            "Map_Info": b"UTM, 1.000, 1.000, 367167.000, 4310980.000, 1.0, 1.0, 18, North, WGS-84, units=Meters",
            "Coordinate_System_String": CRS.from_epsg(32618).to_wkt("WKT1_ESRI").encode(),
            "EPSG Code": b"32618",
            "Proj4": b"+proj=UTM +zone=18 +ellps=WGS84 +datum=WGS84 +units=m +no_defs",
        }
        for key, value in place.items():
            group[f"Metadata/Coordinate_System/{key}"] = value
        group["Metadata/Ancillary_Imagery/Slope"] = np.zeros((rows, cols), np.float32)
        group["Metadata/Logs/Solar_Zenith_Angle"] = 33.25
    values = np.where(stored == -9999, np.nan, stored / 10000.0)
    return Truth(path=path, values=values, wavelengths=waves)


def write_cf(path, *, order=("wavelength", "lat", "lon"), packed=None, dtype="i2", fill=-32768, place="utm"):
    """Write CF NetCDF with its axes in any order; ``packed`` is scale and offset; ``place`` says where it lies."""
    rng = np.random.default_rng(3)
    sizes = {"wavelength": 4, "lat": 6, "lon": 5}
    stored = rng.integers(0, 9000, (6, 5, 4)).astype(dtype)
    stored[1, 1] = fill
    turned = stored.transpose([("lat", "lon", "wavelength").index(axis) for axis in order])
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {axis: sizes[axis] for axis in order}
        file.attrs["Conventions"], file.attrs["campaign"] = "CF-1.10", "June 2026"
        waves = file.create_variable("wavelength", ("wavelength",), "f8", data=np.array([0.4, 0.55, 0.7, 0.86]))
        waves.attrs["units"], waves.attrs["standard_name"] = "um", "radiation_wavelength"
        cube = file.create_variable("refl", order, dtype, fillvalue=np.array(fill, dtype))
        cube[...] = turned
        cube.attrs["long_name"] = "surface reflectance"
        if packed is not None:
            cube.attrs["scale_factor"], cube.attrs["add_offset"] = packed
        _cf_place(file, cube, place)
    scale, offset = packed or (1.0, 0.0)
    values = np.where(stored == np.array(fill, dtype), np.nan, stored * scale + offset)
    return Truth(path=path, values=values, wavelengths=np.array([400, 550, 700, 860.0]))


def _cf_place(file, cube, place):
    if place in ("swath", "turned swath"):
        dims = ("lat", "lon") if place == "swath" else ("lon", "lat")
        for name, standard, units in (("nav_y", "latitude", "degrees_north"), ("nav_x", "longitude", "degrees_east")):
            values = np.arange(30.0).reshape(6, 5) / 10
            field = file.create_variable(name, dims, "f8", data=values if place == "swath" else values.T)
            field.attrs["standard_name"], field.attrs["units"] = standard, units
        cube.attrs["coordinates"] = "nav_y nav_x"
        return
    for name, values in (("lat", 5806110.0 - 30 * np.arange(6)), ("lon", 366030.0 + 30 * np.arange(5))):
        file.create_variable(name, (name,), "f8", data=values).attrs["units"] = "m"
    if place == "utm":
        crs = file.create_variable("crs", (), "i4", data=np.int32(0))
        for key, value in CRS.from_epsg(32633).to_cf().items():
            crs.attrs[key] = value
        cube.attrs["grid_mapping"] = "crs"
