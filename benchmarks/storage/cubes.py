"""Cubes that codecs are tried on: simulated ones, and real ones where the shared data are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from envi_files import Counts

from tilespec.core.types import Roi
from tilespec.storage.scene import Scene

STEPS = 1e4
"""Of a reflectance of 1 stored as uint16."""


@final
@dataclass(frozen=True, kw_only=True)
class Cube:
    """A cube in memory."""

    name: str
    """Where it is from."""
    values: np.ndarray
    """``y, x, band``."""
    real: bool
    """Measured by a camera, not simulated."""


def cubes(scene: Path, raw: Path, shared: Path, side: int) -> list[Cube]:
    """Return every cube that can be found."""
    return [*_simulated(scene, raw, side), *_real(shared)]


def _simulated(scene: Path, raw: Path, side: int) -> Iterator[Cube]:
    """Yield reflectance, the same in steps of 1e-4, and the counts it was made from."""
    found = Scene.open(str(scene))
    height, width = (min(side, n) for n in found.shape[:2])
    reflectance = found.read(Roi(y0=0, y1=height, x0=0, x1=width))
    yield Cube(name="simulated reflectance", values=reflectance, real=False)
    yield Cube(name="simulated reflectance", values=_quantised(reflectance), real=False)
    counts = Counts.open(raw / "raw.hdr").memmap()[:height, :, :width].transpose(0, 2, 1)
    yield Cube(name="simulated counts", values=np.ascontiguousarray(counts), real=False)


def _real(shared: Path) -> Iterator[Cube]:
    """Yield the real cubes, as they were published or calibrated."""
    for name, load in REAL.items():
        folder = shared / name.partition(":")[0]
        if folder.exists():
            label = name.partition(":")[2]
            yield Cube(name=label, values=np.ascontiguousarray(load(folder)), real=True)


def _quantised(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values * STEPS), 0, 65534).astype(np.uint16)


def _kernel(folder: Path, name: str) -> np.ndarray:
    """Return the counts of one of the corn kernel's files."""
    counts = np.fromfile(folder / f"{name}.raw", "<u2").reshape(31, 580, 43)
    return counts.transpose(0, 2, 1)


def _calibrated(folder: Path) -> np.ndarray:
    """Return the reflectance of the corn kernel, every detector element by its own references."""
    names = ("corn_kernel_B73", "white_reference_crop", "dark_reference_crop")
    raw, white, dark = (_kernel(folder, name).astype(np.float64) for name in names)
    white, dark = white.mean(axis=0), dark.mean(axis=0)
    return ((raw - dark) / np.maximum(white - dark, 1)).astype(np.float32)


def _array(file: str, key: str) -> Callable[[Path], np.ndarray]:
    return lambda folder: np.load(folder / file)[key]


def _houston(folder: Path) -> np.ndarray:
    from scipy.io import loadmat

    return loadmat(folder / "houston_dataset.mat")["hyprImg"]


def _enmap(folder: Path) -> np.ndarray:
    """Return tiles of 32 x 32 in one column, without bands that are nodata throughout."""
    stored = np.load(folder / "enmap_potsdam_tiles.npz")
    return stored["tiles"][..., stored["bbl"] != 0].reshape(-1, 32, int((stored["bbl"] != 0).sum()))


REAL: dict[str, Callable[[Path], np.ndarray]] = {
    "plantcv_corn_kernel_envi:corn kernel reflectance": _calibrated,
    "pavia_university:Pavia reflectance": _array("pavia_university_lowres.npz", "cube"),
    "plantcv_corn_kernel_envi:corn kernel counts": lambda folder: _kernel(folder, "corn_kernel_B73"),
    "jasper_ridge:Jasper Ridge": _array("jasper_ridge.npz", "cube"),
    "indian_pines:Indian Pines": _array("indian_pines.npz", "cube"),
    "houston2018_subset:Houston 2018": _houston,
    "enmap_potsdam:EnMAP Potsdam": _enmap,
    "maize_plant_vnir_swir:maize": _array("maize_plant_243bands_uint8.npz", "cube"),
}
"""Folder and name: how a cube is loaded. The low-resolution Pavia was resampled, which smooths it."""
