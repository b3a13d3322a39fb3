"""Scenes of cubes that a test makes itself, and spectra that filters see."""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from tilespec.core.types import SpectralAxis
from tilespec.storage.layout import constants, cube_spec, layer_spec
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

BANDS = 7
AXIS = SpectralAxis(name="wavelength", unit="nm", values=tuple(np.linspace(400, 700, BANDS).tolist()))
PLACES = np.linspace(0, 1, BANDS)
FILTERS = np.exp(-((PLACES - np.array([[0.15], [0.5], [0.85]])) ** 2) / 0.08)
FILTERS /= FILTERS.sum(axis=1, keepdims=True)
"""What red, green and blue see of a spectrum, blue first."""


def write(path, cube, axis=None, chunk=32, layers=None):
    """Write a cube as a scene, with further layers of whole numbers, and return its path."""
    shape = cube.shape
    spec = cube_spec(shape, "float32", spectral=axis)
    spec = replace(spec, chunks=(min(chunk, shape[0]), min(chunk, shape[1]), shape[2]))
    settings = {"test cube": [*shape, float(np.nansum(cube))]}
    specs, planes = [spec], layers or {}
    for name, plane in planes.items():
        specs.append(replace(layer_spec(name, shape[:2], str(plane.dtype)), chunks=spec.chunks[:2]))
    product = Product.open(str(path), specs, settings=settings, attrs={}, constants=constants(axis))
    for row in product.missing():
        y0, y1 = product.span(row)
        blocks = {name: plane[y0:y1] for name, plane in planes.items()}
        product.write(row, {"cube": cube[y0:y1].astype(np.float32), **blocks})
    product.finish()
    return str(path)


def values(url):
    """Return all values of a scene, or of a prediction of several channels."""
    opened = Scene.open(str(url))
    return opened.read(opened.roi)


def smooth(rows, cols, count, seed=0, width=3):
    """Return smooth fields of 0 to 1 as channels."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=(rows, cols)), width, mode="wrap") for _ in range(count)], -1)
    low, high = fields.min(axis=(0, 1)), fields.max(axis=(0, 1))
    return (fields - low) / (high - low)


def spectra(rows, cols, seed=0):
    """Return smooth spectra of three ingredients with some noise, and the image of them, bent as sRGB is."""
    hues = np.exp(-((PLACES - np.array([[0.2], [0.5], [0.8]])) ** 2) / 0.05)
    noise = np.random.default_rng([seed, 1]).normal(0, 0.005, (rows, cols, BANDS))
    cube = (0.1 + 0.8 * smooth(rows, cols, 3, seed)) @ hues + noise
    rgb = np.clip(cube @ FILTERS.T / 1.2, 0, 1) ** (1 / 2.2)
    return cube.astype(np.float32), rgb.astype(np.float32)


def metamers(rows, cols, seed=0):
    """Return spectra of two materials of one colour, their image, and which material is where.

    The materials differ by what no filter sees. Both have the same grey levels, pixel by pixel; those of the second
    lie in squares of 4 x 4 pixels: one pixel says nothing of the material, its neighbours do.
    """
    rng = np.random.default_rng(seed)
    second = smooth(rows, cols, 1, seed, width=9)[:, :, 0] > 0.5
    fine = rng.uniform(0.3, 0.9, (rows, cols))
    coarse = np.kron(rng.uniform(0.3, 0.9, (-(-rows // 4), -(-cols // 4))), np.ones((4, 4)))[:rows, :cols]
    unseen = np.linalg.svd(FILTERS)[2][-1]
    bright = np.where(second, coarse, fine)[:, :, None] * (1 - 0.3 * PLACES)
    cube = bright + 0.15 * np.where(second, 1, -1)[:, :, None] * unseen / np.abs(unseen).max()
    return cube.astype(np.float32), (cube @ FILTERS.T).astype(np.float32), second
