"""Spectral scenes with a mask."""

import numpy as np

from tilespec.core.types import SpectralAxis
from tilespec.storage.layout import constants, cube_spec, layer_spec
from tilespec.storage.product import Product

NM = tuple(np.arange(400.0, 701.0, 10.0).tolist())


def write_cube(path, values, *, nm=NM, mask=None):
    """Write a spectral scene, with a layer ``region`` if there is a mask, and return its path as text."""
    values = np.asarray(values, np.float32)
    axis = SpectralAxis(name="wavelength", unit="nm", values=nm)
    specs, planes = [cube_spec(values.shape, "float32", spectral=axis)], {"cube": values}
    if mask is not None:
        specs.append(layer_spec("region", mask.shape))
        planes["region"] = mask.astype(np.uint8)
    product = Product.open(
        str(path), specs, settings={"cube": float(np.nansum(values))}, attrs={}, constants=constants(axis)
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {name: plane[y0:y1] for name, plane in planes.items()})
    product.finish()
    return str(path)
