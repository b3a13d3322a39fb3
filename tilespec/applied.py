"""Applied: a scene after a recipe, written as another scene: one read of the cube, object by object.

An object of the result is filled from one object of the source, a few lines at a time, in the processor's cache:
neither of them is ever whole in memory.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tilespec.chunks import Room
from tilespec.graph import fold
from tilespec.objects import at
from tilespec.passes import blocks, room
from tilespec.product import ArraySpec, Begun, Product
from tilespec.progress import Progress, Silent
from tilespec.scene import CHUNK, Scene, constants, cube_spec, open_group, step_of
from tilespec.spectra.operators import Bands, Operator
from tilespec.spectra.pieces import transform
from tilespec.types import Roi
from tilespec.written import checked_only, stream

NUMERICS = 1
"""Version of what operators do: raised when the bits of a transformed scene change, so that no run mixes two."""


def write_scene(
    scene: Scene,
    operators: tuple[Operator, ...],
    product: Product,
    *,
    client: Any = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write ``scene`` after ``operators`` into ``product``; return the product's counts.

    One read of the cube; a task writes one row of objects.
    """
    missing, say = product.missing(), progress or Silent()
    say.start("transform", len(missing), "rows")
    if missing:
        fold(missing, partial(_write_row, scene, operators, product), client=client, progress=say)
    product.finish()
    say.finish()
    return product.counts()


def transformed(scene: Scene, bands: Bands, out: str, digest: str) -> Product:
    """Open the store of a scene after the recipe of hash ``digest``, with all layers of ``scene``."""
    plane = scene.shape[:2]
    cube = cube_spec((*plane, bands.count), "float32", spectral=bands.axis, georeferenced=scene.georef is not None)
    layers = [_layer(scene, name, cube.chunks[0]) for name in scene.layers]
    keep = {key: value for key, value in scene.attrs.items() if not key.startswith("tilespec_")}
    return Product.open(
        out,
        [cube, *layers],
        settings={
            "scene": scene.digest or scene.url,
            "recipe": digest,
            "layers": list(scene.layers),
            "numerics": NUMERICS,
        },
        attrs={**keep, "recipe_digest": digest},
        constants=constants(bands.axis, scene.georef),
    )


def _layer(scene: Scene, name: str, height: int) -> ArraySpec:
    """Return how a layer is stored again: as it was, in objects as high as the cube's."""
    stored = open_group(scene.url)[name]
    assert isinstance(stored, zarr.Array)
    return ArraySpec(
        name=name,
        shape=stored.shape,
        dtype=str(stored.dtype),
        dims=("y", "x"),
        chunks=(height, min(CHUNK, stored.shape[1])),
        attrs=dict(stored.attrs),
        fill=stored.fill_value,
    )


def _write_row(scene: Scene, operators: tuple[Operator, ...], product: Product, row: int) -> Counter[str]:
    """Write one row of objects; return how many were written."""
    y0, y1 = product.span(row)
    strip = Roi(y0=y0, y1=y1, x0=0, x1=scene.shape[1])
    with product.begun(row, ("cube", *scene.layers)) as begun:
        for name in scene.layers:
            product.put(begun, name, scene.layer(name, strip), (y0, 0))
        straight = isinstance(at(product.url), Path) and checked_only(begun.arrays["cube"])
        invalid = (_streamed if straight else _gathered)(scene, operators, product, begun, strip)
        begun.facts["counts"] = {"pixels": strip.shape[0] * strip.shape[1], "invalid_pixels": invalid}
    return Counter(rows=1)


def _streamed(scene: Scene, operators: tuple[Operator, ...], product: Product, begun: Begun, strip: Roi) -> int:
    """Write the objects of a strip, each straight from its source; return how many pixels are invalid."""
    array, root, invalid = begun.arrays["cube"], Path(str(at(product.url))), 0
    edge, memory = array.chunks[1], Room()
    for number, key in enumerate(begun.keys["cube"]):
        roi = Roi(y0=strip.y0, y1=strip.y1, x0=number * edge, x1=min((number + 1) * edge, strip.x1))
        parts = _applied(scene, operators, roi, array.shape[2])

        def fill(_: slice, out: np.ndarray, parts: Iterator[np.ndarray] = parts) -> None:
            nonlocal invalid
            np.copyto(out, part := next(parts))
            invalid += int(np.isnan(part[:, :, 0]).sum())

        shape = (*roi.shape, array.shape[2])
        entry = stream(root / key, array, shape, fill, memory, step_of(roi))
        left = list(parts)  # the checksum of the source is behind its last line
        assert not left, "as many lines go in as come out"
        begun.store.entries[key] = entry
    return invalid


def _gathered(scene: Scene, operators: tuple[Operator, ...], product: Product, begun: Begun, strip: Roi) -> int:
    """Write a strip that Zarr has to encode; return how many pixels are invalid."""
    width = begun.arrays["cube"].shape[2]
    values = np.empty((*strip.shape, width), np.float32)
    for block in blocks(scene, strip):
        columns, top = slice(block.roi.x0, block.roi.x1), block.roi.y0 - strip.y0
        for part in _applied(scene, operators, block.roi, width):
            values[top : top + len(part), columns] = part
            top += len(part)
    product.put(begun, "cube", values, (strip.y0, 0))
    return int(np.isnan(values[:, :, 0]).sum())


def _applied(scene: Scene, operators: tuple[Operator, ...], roi: Roi, width: int) -> Iterator[np.ndarray]:
    """Yield a region after the recipe from its top, some lines at a time."""
    for lines in scene.lines(roi, room()):
        part = transform(operators, lines.reshape(-1, lines.shape[2]), width, own=True)
        yield part.reshape(*lines.shape[:2], width)
