"""A scene of samples whose cube tells a hidden quantity, with a layer of their ids and a table of their means."""

from pathlib import Path

import numpy as np
import zarr
from scenes import write_scene

from tilespec.storage.scene import Scene


def write_samples(folder, rows=48, cols=60, bands=8, side=12, seed=0, *, ragged=False):
    """Write ``scene`` and ``references.csv`` into a folder; return their paths, the hidden map and the ids.

    Samples are discs on a lattice of ``side`` pixels, of which ``ragged`` cuts some in half. The hidden quantity is 60
    times a mean of bands, in percent.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    url = write_scene(folder / "scene", rows, cols, bands, seed=seed, chunk=16)
    cube = Scene.open(url).read(Scene.open(url).roi)
    hidden = np.clip(60 * cube[..., : bands // 2].mean(axis=2), 0, 100)
    y, x = np.mgrid[:rows, :cols]
    inside = ((y % side - side / 2 + 0.5) ** 2 + (x % side - side / 2 + 0.5) ** 2) < (0.4 * side) ** 2
    inside &= (not ragged) | (x // side % 2 == 0) | (x % side < side // 2)
    ids = np.where(inside, 1 + y // side * (cols // side) + x // side, 0).astype(np.int32)
    layer = zarr.open_group(url).create_array("sample", shape=ids.shape, dtype="int32", dimension_names=("y", "x"))
    layer[...] = ids
    means = {number: hidden[ids == number].mean() for number in range(1, ids.max() + 1)}
    lines = [f"{number},{mean:.6f},{'' if number % 2 else 2 * mean}" for number, mean in means.items()]
    (folder / "references.csv").write_text("\n".join(["sample,fat [%],ph", *lines, ""]))
    return url, str(folder / "references.csv"), hidden, ids
