"""Filling: a label map whose pixels get spectra of their classes, block by block, the same for any blocks."""

from collections import Counter
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from tilespec.core.types import UNLABELLED, Roi
from tilespec.models.determinism import torch_threads
from tilespec.predict.generator import Generator, Spectra
from tilespec.storage.layer import Layer
from tilespec.storage.layout import CHUNK
from tilespec.storage.product import Product

ROW: Final = 1 << 32
"""The difference between the numbers of a pixel and of the one below it."""
WIDE: Final = 4
"""The number of standard deviations after which a blur ends."""

Places = Int64[np.ndarray, " _"]


@final
@dataclass(frozen=True, kw_only=True)
class Filling:
    """A label map that is filled with spectra, a small value that is sent to workers."""

    generator: Generator
    """The generator of the spectra."""
    labels: Layer
    """The label map."""
    of: tuple[int, ...]
    """The generator's class of each class of the label map."""
    mixing: float
    """The standard deviation of the blur of labels in pixels."""
    texture: float
    """That of the random numbers."""


def fill_row(work: Filling, product: Product, row: int) -> Counter[str]:
    """Fill one row of objects, block by block."""
    y0, y1 = product.span(row)
    width = work.labels.shape[1]
    labels = work.labels.read(Roi(y0=y0, y1=y1, x0=0, x1=width)).astype(np.uint8, copy=False)
    cube = np.full((y1 - y0, width, work.generator.bands), np.nan, np.float32)
    with torch_threads(1):
        for roi in Roi(y0=y0, y1=y1, x0=0, x1=width).cut(CHUNK, CHUNK):
            part = slice(roi.y0 - y0, roi.y1 - y0), slice(roi.x0, roi.x1)
            known = labels[part] != UNLABELLED
            if known.any():
                cube[part][known] = _block(work, roi, labels[part], known)
    filled = int((labels != UNLABELLED).sum())
    product.write(row, {"cube": cube, "labels": labels}, {"spectra": filled, "unlabelled": labels.size - filled})
    return Counter(rows=1)


def _block(work: Filling, roi: Roi, labels: UInt8[np.ndarray, "y x"], known: np.ndarray) -> Spectra:
    """Return the spectra of the labelled pixels of a block."""
    of = np.array(work.of, np.int64)
    latent = _textured(work, roi)[known]
    if not work.mixing:
        return work.generator.spectra(latent, of[labels[known]])
    total = np.zeros((len(latent), work.generator.bands), np.float32)
    for number, share in _shares(work, roi):
        part = share[known]
        there = part > 0
        spectra = work.generator.spectra(latent[there], np.full(int(there.sum()), of[number]))
        total[there] += part[there, None] * spectra
    return total


def _textured(work: Filling, roi: Roi) -> Float32[np.ndarray, "y x number"]:
    """Return the random numbers of the pixels of a region, blurred to unit variance."""
    rows, cols = _around(roi, work.texture)
    numbers = rows[:, None] * ROW + cols
    plane = work.generator.latent(numbers.ravel(), "plane").reshape(*numbers.shape, -1)
    if not work.texture:
        return plane
    weights = _gauss(work.texture)
    return _blurred(plane, weights / np.float32(np.sqrt(np.square(weights).sum())))


def _shares(work: Filling, roi: Roi) -> list[tuple[int, Float32[np.ndarray, "y x"]]]:
    """Return the share of each class in the pixels of a region: their blurred labels, among labelled pixels."""
    rows, cols = _around(roi, work.mixing)
    height, width = work.labels.shape
    rows, cols = np.clip(rows, 0, height - 1), np.clip(cols, 0, width - 1)  # beyond the plane its edge is repeated
    inner = Roi(y0=int(rows[0]), y1=int(rows[-1]) + 1, x0=int(cols[0]), x1=int(cols[-1]) + 1)
    labels = work.labels.read(inner)[np.ix_(rows - rows[0], cols - cols[0])]
    weights = _gauss(work.mixing)
    planes = [
        (int(c), _blurred((labels == c).astype(np.float32)[..., None], weights)[..., 0]) for c in np.unique(labels)
    ]
    named = [(c, plane) for c, plane in planes if c != UNLABELLED]
    total = np.sum([plane for _, plane in named], axis=0, dtype=np.float32)
    return [(c, plane / np.where(total > 0, total, np.float32(1))) for c, plane in named]


def _around(roi: Roi, blur: float) -> tuple[Places, Places]:
    """Return the rows and columns of a region with the pixels that a blur reaches, beyond the plane too."""
    reach = int(np.ceil(WIDE * blur))
    return np.arange(roi.y0 - reach, roi.y1 + reach), np.arange(roi.x0 - reach, roi.x1 + reach)


def _gauss(blur: float) -> Float32[np.ndarray, " tap"]:
    """Return the taps of a Gaussian whose sum is 1."""
    reach = int(np.ceil(WIDE * blur))
    taps = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / blur))
    return (taps / taps.sum()).astype(np.float32)


def _blurred(plane: Float32[np.ndarray, "y x number"], taps: Float32[np.ndarray, " tap"]) -> np.ndarray:
    """Return the valid part of a plane after a blur along both axes; products are added in one order everywhere."""
    for _ in range(2):
        length = plane.shape[0] - len(taps) + 1
        total = taps[0] * plane[:length]
        for number, tap in enumerate(taps[1:], start=1):
            total += tap * plane[number : number + length]
        plane = np.swapaxes(total, 0, 1)
    return plane
