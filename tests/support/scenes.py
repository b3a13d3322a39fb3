"""Small labelled scenes for every test that needs one."""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from tilespec.core.types import SpectralAxis
from tilespec.storage.layout import class_attrs, constants, cube_spec, layer_spec
from tilespec.storage.product import Product

NAMES = {2: ("background", "plant")}


def write_scene(
    path,
    rows=64,
    cols=64,
    bands=8,
    seed=0,
    classes=2,
    *,
    noise=0.02,
    unlabelled=0.0,
    nan=0.0,
    labelled=True,
    dtype="float32",
    chunk=32,
):
    """Write a scene of smooth blobs, one smooth spectrum for each class, and return its path as text.

    ``unlabelled`` and ``nan`` are shares of pixels: label 255, and no reflectance. ``dtype="uint16"`` stores
    reflectance times 10000.
    """
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=(rows, cols)), 4, mode="wrap") for _ in range(classes)])
    fields /= np.maximum(fields.std(axis=(1, 2), keepdims=True), 1e-9)
    labels = fields.argmax(axis=0).astype(np.uint8)
    knots = rng.uniform(0.1, 0.9, size=(classes, 5))
    spectra = np.stack([np.interp(np.linspace(0, 4, bands), np.arange(5), k) for k in knots])
    cube = spectra[labels] * rng.uniform(0.8, 1.2, size=(rows, cols, 1)) + rng.normal(0, noise, (rows, cols, bands))
    cube = np.clip(cube, 0.001, 2).astype(np.float32)
    cube[rng.random((rows, cols)) < nan] = np.nan
    labels[rng.random((rows, cols)) < unlabelled] = 255
    scale = 1.0
    if dtype == "uint16":
        scale, cube = 1e-4, np.nan_to_num(np.rint(cube * 1e4), nan=65535).astype(np.uint16)
    axis = SpectralAxis(name="wavelength", unit="nm", values=tuple(np.linspace(400, 1000, bands).tolist()))
    nodata = 65535 if dtype == "uint16" else None
    cube_at = cube_spec((rows, cols, bands), dtype, spectral=axis, scale=scale, nodata=nodata)
    specs = [_chunked(cube_at, (chunk, chunk, bands))]
    blocks = {"cube": cube}
    if labelled:
        names = NAMES.get(classes) or tuple(f"class_{i}" for i in range(classes))
        specs.append(_chunked(layer_spec("labels", (rows, cols), classes=names), (chunk, chunk)))
        specs[-1].attrs.update(class_attrs(names))
        blocks["labels"] = labels
    product = Product.open(
        str(path),
        specs,
        settings={"test scene": [rows, cols, bands, seed, classes, noise, unlabelled, nan, dtype]},
        attrs={"title": "test scene"},
        constants=constants(axis),
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {name: block[y0:y1] for name, block in blocks.items()})
    product.finish()
    return str(path)


def _chunked(spec, chunks):
    return replace(spec, chunks=tuple(min(c, s) for c, s in zip(chunks, spec.shape, strict=True)))
