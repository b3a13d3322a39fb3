"""Passes over scenes: a sample from all over a region, and folds over every pixel of it, fused with a recipe."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, final

import numpy as np
import zarr

from tilespec.errors import UserError
from tilespec.graph import fold
from tilespec.product import ArraySpec, Product
from tilespec.progress import Progress, Silent
from tilespec.scene import CHUNK, Scene, constants, cube_spec, open_group
from tilespec.spectra.operators import Bands, Operator
from tilespec.spectra.pieces import pieces, transform
from tilespec.types import Roi, Spectra

SAMPLE = 512
"""Pixels of a sample."""
SPREAD = 32
"""Blocks that a sample comes from: a block is read whole for a few pixels, so not one for each."""
BLOCK_BYTES = 1 << 28
"""Largest block; chunks of foreign stores above this are read in parts."""
GROUP = 4
"""Blocks of one task: opening a store costs as much as decoding a tenth of a block."""


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """A piece of a scene that is read at once."""

    url: str
    """The scene's store."""
    roi: Roi
    """Which pixels."""


def blocks(scene: Scene, roi: Roi) -> list[Block]:
    """Return the blocks that ``roi`` falls into, in row order: whole stored objects where the region allows it."""
    height, width = (_edge(size) for size in scene.chunks[:2])
    while height > 1 and height * width * scene.shape[2] * 4 > BLOCK_BYTES:
        height = -(-height // 2)
    return [
        Block(
            url=scene.url,
            roi=Roi(y0=max(y, roi.y0), y1=min(y + height, roi.y1), x0=max(x, roi.x0), x1=min(x + width, roi.x1)),
        )
        for y in range(roi.y0 // height * height, roi.y1, height)
        for x in range(roi.x0 // width * width, roi.x1, width)
    ]


def _edge(chunk: int) -> int:
    """Return a block's edge: a multiple of the stored object's, about `CHUNK`."""
    return chunk * max(1, CHUNK // chunk)


def sample(where: Sequence[Block], *, seed: int, size: int = SAMPLE) -> Spectra:
    """Return up to ``size`` valid pixels, a few from each of `SPREAD` blocks that lie all over the region.

    Blocks without enough valid pixels are made up for by further ones, so a scene that is mostly nodata is read
    until there is a sample.

    Raises:
        UserError: no pixel of the region is valid.
    """
    order = _order(len(where), np.random.default_rng([seed, 2]))
    quota, found, missing = -(-size // min(SPREAD, len(where))), [], size
    for index in order:
        taken = _some(where[index], min(quota, missing), np.random.default_rng([seed, 3, index]))
        found.append(taken)
        missing -= len(taken)
        if missing == 0:
            break
    if missing == size:
        raise UserError(
            where[0].url,
            found=f"no valid pixel in {len(where)} blocks: every one is nodata or NaN",
            expected="a region with data",
            do="Choose other --rows and --cols, or check the nodata value and drop bands that are NaN throughout.",
        )
    return np.concatenate(found)


def _order(n: int, rng: np.random.Generator) -> list[int]:
    """Return 0..n-1: first one from each of `SPREAD` strata, then the others."""
    edges = np.linspace(0, n, min(SPREAD, n) + 1).astype(int)
    first = [int(rng.integers(a, b)) for a, b in pairwise(edges)]
    return first + [int(i) for i in rng.permutation(n) if int(i) not in set(first)]


def _some(block: Block, count: int, rng: np.random.Generator) -> Spectra:
    """Return up to ``count`` valid pixels of a block."""
    values = Scene.open(block.url).read(block.roi).reshape(-1, Scene.open(block.url).shape[2])
    valid = np.flatnonzero(np.isfinite(values).any(axis=1))
    return values[np.sort(rng.choice(valid, min(count, len(valid)), replace=False))]


def fold_scene(
    where: Sequence[Block],
    operators: tuple[Operator, ...],
    zero: Any,
    *,
    client: Any = None,
    progress: Progress | None = None,
) -> Any:
    """Return ``zero`` plus the contribution of every pixel after ``operators``: one read, not finished."""
    tasks = [tuple(where[i : i + GROUP]) for i in range(0, len(where), GROUP)]
    say = progress or Silent()
    say.start(type(zero).__name__.lower(), len(tasks), "blocks")
    total = fold(tasks, partial(_contribution, zero, operators), client=client, progress=say)
    say.finish()
    return total


def _contribution(zero: Any, operators: tuple[Operator, ...], group: tuple[Block, ...]) -> Any:
    """Return what a few blocks of one scene add to a fold."""
    scene, total = Scene.open(group[0].url), zero
    for block in group:
        scene = scene if scene.url == block.url else Scene.open(block.url)
        spectra = scene.read(block.roi).reshape(-1, scene.shape[2])
        for piece in pieces(operators, spectra):
            total = total + zero.of(piece, (block.roi.y0, block.roi.x0))
    return total


def write_scene(
    scene: Scene,
    operators: tuple[Operator, ...],
    product: Product,
    *,
    client: Any = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write ``scene`` after ``operators`` into ``product``; return the product's counts.

    One read of the cube; a task holds one row of objects of the result and one block of the source.
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
        settings={"scene": scene.digest or scene.url, "recipe": digest, "layers": list(scene.layers)},
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
    width = Scene.open(product.url, allow_partial=True).shape[2]
    strip = Roi(y0=y0, y1=y1, x0=0, x1=scene.shape[1])
    values = np.empty((*strip.shape, width), np.float32)
    for block in blocks(scene, strip):
        spectra = scene.read(block.roi)
        part = transform(operators, spectra.reshape(-1, spectra.shape[2]), width)
        rows = slice(block.roi.y0 - y0, block.roi.y1 - y0)
        values[rows, block.roi.x0 : block.roi.x1] = part.reshape(*block.roi.shape, width)
    layers = {name: scene.layer(name, strip) for name in scene.layers}
    invalid = int(np.isnan(values[:, :, 0]).sum())
    product.write(row, {"cube": values, **layers}, {"pixels": values[:, :, 0].size, "invalid_pixels": invalid})
    return Counter(rows=1)
