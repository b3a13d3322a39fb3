"""Pairs of scenes on one plane: RGB, and the spectra that it was rendered from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from tilespec.core.types import SpectralAxis
from tilespec.storage.layout import constants, cube_spec
from tilespec.storage.product import Product

RGB = SpectralAxis(name="channel", unit="1", values=(0.0, 1.0, 2.0))


def spectral(bands):
    return SpectralAxis(name="wavelength", unit="nm", values=tuple(np.linspace(400, 700, bands).tolist()))


def write_cube(path, cube, axis, chunk=32, attrs=None):
    """Write a scene, and return its path as text."""
    spec = cube_spec(cube.shape, str(cube.dtype), spectral=axis)
    spec = replace(spec, chunks=(min(chunk, cube.shape[0]), min(chunk, cube.shape[1]), cube.shape[2]))
    settings = {"test cube": cube.tobytes().hex()[:4096]}
    product = Product.open(
        str(path), [spec], settings=settings, attrs={"title": "test", **(attrs or {})}, constants=constants(axis)
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"cube": cube[y0:y1]})
    product.finish()
    return str(path)


def mixtures(rows, cols, bands, seed, top):
    """Return RGB and spectra, mixed of three end members: so the RGB, which is linear, says all."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=(rows, cols)), 3, mode="wrap") for _ in range(3)], axis=2)
    share = np.exp(2 * fields / fields.std())
    share /= share.sum(axis=2, keepdims=True)
    members = np.random.default_rng(0)  # the same in all pairs
    spectra = np.stack(
        [np.interp(np.linspace(0, 4, bands), np.arange(5), members.uniform(0.1, 1, 5)) for _ in range(3)]
    )
    response = np.exp(-(((np.linspace(0, 2, bands)[:, None] - np.arange(3)) / 0.5) ** 2))
    response /= response.sum(axis=0)
    truth = share @ spectra * rng.uniform(0.6, 1.0, (rows, cols, 1))
    return (truth @ response).astype(np.float32), (top * truth).astype(np.float32)


def write_pair(folder, rows=64, cols=48, bands=7, seed=0, *, top=1000.0, nan=0.0, unknown=0.0):
    """Write RGB and spectra (0 to ``top``), and return both paths.

    ``nan`` is the share of pixels without RGB, ``unknown`` that of single values without truth.
    """
    rgb, truth = mixtures(rows, cols, bands, seed, top)
    rng = np.random.default_rng([seed, 1])
    rgb[rng.random((rows, cols)) < nan] = np.nan
    truth[rng.random(truth.shape) < unknown] = np.nan
    folder = Path(folder)
    return write_cube(folder / "rgb.zarr", rgb, RGB), write_cube(folder / "spectra.zarr", truth, spectral(bands))
