"""Class maps and fields as the stores that a prediction makes."""

import numpy as np

from tilespec.storage.layout import ArraySpec, code_type, constants, layer_spec
from tilespec.storage.product import Product

NAMES = ("background", "plant")


def write_map(path, plane, name="prediction", *, chunk=16, classes=NAMES, georef=None, **attrs):
    """Write a class map as one layer of a store, with a place if there is one, and return its path as text."""
    plane = np.asarray(plane, code_type(len(classes)))
    product = Product.open(
        str(path),
        [layer_spec(name, plane.shape, plane.dtype.name, classes=classes, chunk=chunk)],
        settings={"map": [name, classes, plane.tolist(), attrs]},
        attrs=attrs,
        constants=constants(None, georef, plane.shape) if georef else {},
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {name: plane[y0:y1]})
    product.finish()
    return str(path)


def write_field(path, values, name="prediction", **attrs):
    """Write channels or one quantity as floats, and return the path as text."""
    values = np.asarray(values, np.float32)
    dims = ("y", "x", "band")[: values.ndim]
    spec = ArraySpec(name=name, shape=values.shape, dtype="float32", dims=dims, chunks=values.shape, attrs={}, fill=0.0)
    settings = {"field": [name, float(np.nansum(values)), attrs]}
    product = Product.open(str(path), [spec], settings=settings, attrs=attrs, constants={})
    product.write(0, {name: values})
    product.finish()
    return str(path)
