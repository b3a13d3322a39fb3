"""One cube in the formats that several tests ingest, and what was stored of it."""

import h5py
import numpy as np
import rasterio

from tilespec.storage.scene import Scene

WAVELENGTHS = [400.0, 550.0, 700.0, 860.0]
UTM = rasterio.crs.CRS.from_epsg(32633)


def cube(shape=(6, 5, 4), seed=0):
    return np.random.default_rng(seed).integers(0, 9000, shape).astype(np.uint16)


def stored(url):
    scene = Scene.open(str(url))
    return np.asarray(scene.array[...])


def to_npy(folder, data):
    np.save(folder / "x.npy", data)
    (folder / "w.txt").write_text("nm\n400\n550\n700\n860\n")
    return folder / "x.npy", {"wavelengths": folder / "w.txt"}


def to_netcdf(folder, data):
    with h5py.File(folder / "x.nc", "w") as file:
        file["refl"] = data.transpose(2, 1, 0)
        file["wavelength"] = np.array(WAVELENGTHS) / 1000
        file["wavelength"].attrs["units"] = "um"
        for name in ("wavelength", "lon", "lat"):
            file.require_dataset(name, (file["refl"].shape[("wavelength", "lon", "lat").index(name)],), "f8")
            file[name].make_scale(name)
        for axis, name in enumerate(("wavelength", "lon", "lat")):
            file["refl"].dims[axis].attach_scale(file[name])
    return folder / "x.nc", {}


def to_geotiff(folder, data):
    path = folder / "x.tif"
    place = {"crs": UTM, "transform": rasterio.Affine(30, 0, 366015, 0, -30, 5806125)}
    with rasterio.open(
        path, "w", driver="GTiff", height=6, width=5, count=4, dtype="uint16", compress="lzw", **place
    ) as out:
        out.write(np.moveaxis(data, -1, 0))
        for band, value in enumerate(WAVELENGTHS, start=1):
            out.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=str(value / 1000))
    return path, {}
