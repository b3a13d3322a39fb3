"""Transform: a scene, or a region of it, is written as another scene after a recipe, in one reading, object by object.

An object of the result is filled from one object of the source, a few lines at a time, in the processor's cache, so
neither of them is ever complete in memory.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, final

import numpy as np

from tilespec.cluster.connect import connect, elsewhere
from tilespec.cluster.shares import finish, write_rows
from tilespec.core.arrays import on_host
from tilespec.core.buffers import Buffers, thread_buffers
from tilespec.core.device import device_of, kind_of, ready
from tilespec.core.memory import Peak
from tilespec.core.options import Device, Workers, values_of, with_options
from tilespec.core.progress import Progress
from tilespec.core.types import Reflectance, Roi
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Operator
from tilespec.spectra.options import TransformOptions
from tilespec.spectra.pieces import transform as run
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.restoring import restoring
from tilespec.spectra.scale_check import check_encoding, check_scale
from tilespec.spectra.tensors import apply_on_torch, steps_on
from tilespec.storage.backends.paths import local, store_path
from tilespec.storage.blocks import blocks
from tilespec.storage.chunk_writer import checked_only, stream
from tilespec.storage.layout import CHUNK, ArraySpec, constants, cube_spec, layer_spec
from tilespec.storage.lock import Hold, locked
from tilespec.storage.product import OpenRow, Product
from tilespec.storage.rasters import shift_georeference
from tilespec.storage.scene import Scene, step_of
from tilespec.storage.source_header import header_after

NUMERICS = 1
"""The version of the operators' arithmetic; it is raised when bits of a transformed scene change, so that no run mixes
two.
"""


@final
@dataclass(frozen=True, kw_only=True)
class StoredForm:
    """The stored form of values."""

    dtype: str = "float32"
    """The data type ``float32``, or an integer type with 0 for pixels without data, which a layer ``valid`` marks."""
    scale: float = 1.0
    """The factor from stored integers to values."""
    limits: tuple[float, float] | None = None
    """The range to which values are clipped, with a count of such pixels; None: values are not clipped."""

    @property
    def whole(self) -> bool:
        """Whether the form stores integers."""
        return np.dtype(self.dtype).kind in "iu"

    def put(self, values: Reflectance, out: np.ndarray) -> int:
        """Store values, which it overwrites; return the number of pixels with a value outside of the limits."""
        clipped = 0
        if self.limits is not None:
            low, high = self.limits
            clipped = int(((values < low) | (values > high)).any(axis=2).sum())
            np.clip(values, low, high, out=values)
        if self.whole:
            values *= np.float32(1 / self.scale)
            np.rint(values, out=values)
            np.nan_to_num(values, copy=False, nan=0.0)
        np.copyto(out, values, casting="unsafe")
        return clipped


PLAIN = StoredForm()
"""The form of values as operators return them."""


@final
@dataclass(frozen=True, kw_only=True)
class TransformTask:
    """The values that every task of a transform needs."""

    scene: Scene
    """The scene that is read."""
    operators: tuple[Operator, ...]
    """The operators of its spectra."""
    roi: Roi
    """The region of the scene that the product covers."""
    form: StoredForm
    """The stored form of values."""
    device: str | None = None
    """The device on which the operators compute, None for the CPU with NumPy."""

    @cached_property
    def steps(self) -> tuple[Callable[[Any], Any], ...]:
        """The operators on the device."""
        return steps_on(self.operators, self.device)

    @property
    def carried(self) -> tuple[str, ...]:
        """The layers that are copied unchanged."""
        return carried(self.scene, self.form)


def carried(scene: Scene, form: StoredForm) -> tuple[str, ...]:
    """Return the layers of a scene that are copied unchanged; an integer form writes its own layer ``valid``."""
    return tuple(name for name in scene.layers if not (form.whole and name == "valid"))


def write_scene(  # noqa: PLR0913 - what is written, and how
    scene: Scene,
    operators: tuple[Operator, ...],
    product: Product,
    *,
    hold: Hold,
    roi: Roi | None = None,
    form: StoredForm = PLAIN,
    what: str = "transform",
    device: str | None = None,
    client: Any = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write ``scene``, or a region, after ``operators`` into ``product``; return the product's counts.

    The cube is read once; a task writes one row of objects. The progress calls the work ``what``. On a ``device`` the
    operators compute with tensors (`tilespec.core.device`).
    """
    work = TransformTask(scene=scene, operators=operators, roi=roi or scene.roi, form=form, device=device)
    write_rows(product, partial(_write_row, work), what, hold=hold, client=client, progress=progress)
    scene.check_unchanged()
    finish(product, hold)
    return product.counts()


def transformed(
    scene: Scene, bands: Bands, out: str, recipe: Recipe, *, restored: bool = False, device: str | None = None
) -> Product:
    """Open the store of a scene after a recipe, with all layers of ``scene``; ``restored``: back in its units."""
    settings = {"recipe": recipe.digest, **({} if device is None else {"device": kind_of(device)})}
    if restored:
        attrs = {"restored_from": recipe.text}
        return open_product(scene, bands, out, settings=settings | {"restored": True}, attrs=attrs)
    attrs = {"recipe_digest": recipe.digest, "recipe_steps": recipe.text}
    return open_product(scene, bands, out, settings=settings, attrs=attrs)


def open_product(  # noqa: PLR0913 - what is written, and how
    scene: Scene,
    bands: Bands,
    out: str,
    *,
    settings: Mapping[str, Any],
    attrs: Mapping[str, Any],
    roi: Roi | None = None,
    form: StoredForm = PLAIN,
) -> Product:
    """Open the store of a scene, or of a region, after operators, with all layers and attributes of ``scene``.

    Args:
        scene: The scene that is read.
        bands: The bands of the result.
        out: The URL of the product.
        settings: All settings that decide its bytes, except the scene and the form.
        attrs: The root attributes in addition to the scene's.
        roi: The region; None means the whole scene.
        form: The stored form of values.
    """
    region = roi or scene.roi
    georef = shift_georeference(scene.georef, (region.y0, region.x0))
    cube = cube_spec(
        (*region.shape, bands.count),
        form.dtype,
        spectral=bands.axis,
        scale=form.scale,
        georeferenced=georef is not None,
    )
    layers = [_layer(scene, name, region.shape, cube.chunks[0]) for name in carried(scene, form)]
    layers += [layer_spec("valid", region.shape)] if form.whole else []
    keep = {k: v for k, v in scene.attrs.items() if not k.startswith("tilespec_") and k != "recipe_digest"}
    keep |= {"header": header_of(scene, bands, other_pixels=region != scene.roi)[0]} if "header" in keep else {}
    part = {} if region == scene.roi else {"region": str(region)}
    stored = {} if form == PLAIN else {"form": [form.dtype, form.scale, form.limits]}
    return Product.open(
        out,
        [cube, *layers],
        settings={
            "scene": scene.digest,
            **settings,
            "layers": list(scene.layers),
            "numerics": NUMERICS,
            **part,
            **stored,
        },
        attrs={**keep, **attrs},
        constants=constants(bands.axis, georef, region.shape),
        table=scene.table,
    )


def header_of(scene: Scene, bands: Bands, *, other_pixels: bool = False) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the header of a scene for other bands and pixels, and the keys left out."""
    counts = scene.shape[2], bands.count
    return header_after(scene.attrs.get("header", {}), scene.spectral, bands.axis, counts, other_pixels=other_pixels)


def _layer(scene: Scene, name: str, shape: tuple[int, int], height: int) -> ArraySpec:
    """Return the stored description of a copied layer: as before, with objects as high as the cube's."""
    stored = scene.plane(name).array
    return ArraySpec(
        name=name,
        shape=shape,
        dtype=str(stored.dtype),
        dims=("y", "x"),
        chunks=(height, min(CHUNK, shape[1])),
        attrs=dict(stored.attrs),
        fill=stored.fill_value,
    )


def _write_row(work: TransformTask, product: Product, row: int) -> Counter[str]:
    """Write one row of objects; return the number of rows written, 1."""
    (y0, y1), roi = product.span(row), work.roi
    strip = Roi(y0=roi.y0 + y0, y1=roi.y0 + y1, x0=roi.x0, x1=roi.x1)
    with product.open_row(row, ("cube", *work.carried, *(["valid"] if work.form.whole else []))) as begun:
        for name in work.carried:
            product.put(begun, name, work.scene.layer(name, strip), (y0, 0))
        straight = store_path(product.url).on_disk is not None and checked_only(begun.arrays["cube"])
        counts = (_streamed if straight else _gathered)(work, product, begun, strip, y0)
        begun.facts["counts"] = {"pixels": strip.shape[0] * strip.shape[1], **counts}
    return Counter(rows=1)


def _streamed(work: TransformTask, product: Product, row: OpenRow, strip: Roi, y0: int) -> dict[str, int]:
    """Write the objects of a strip, each directly from its source; return the numbers of invalid and clipped pixels."""
    del y0
    array, root, invalid, clipped = row.arrays["cube"], local(product.url, "objects without Zarr"), 0, 0
    edge, memory = array.chunks[1], Buffers()
    for number, key in enumerate(row.keys["cube"]):
        x0 = strip.x0 + number * edge
        roi = Roi(y0=strip.y0, y1=strip.y1, x0=x0, x1=min(x0 + edge, strip.x1))
        parts = _applied(work, roi, array.shape[2])

        def fill(_: slice, out: np.ndarray, parts: Iterator[np.ndarray] = parts) -> None:
            nonlocal invalid, clipped
            part = next(parts)
            invalid += int(np.isnan(part[:, :, 0]).sum())
            clipped += work.form.put(part, out)

        shape = (*roi.shape, array.shape[2])
        entry = stream(root / key, array, shape, fill, memory, step_of(roi))
        left = list(parts)  # the source's checksum is checked after its last line
        assert not left, "as many lines go in as come out"
        row.store.entries[key] = entry
    return _counted(work, invalid, clipped)


def _gathered(work: TransformTask, product: Product, row: OpenRow, strip: Roi, y0: int) -> dict[str, int]:
    """Write a strip whose objects are encoded; return the numbers of invalid and clipped pixels."""
    array, clipped = row.arrays["cube"], 0
    values, valid = np.empty((*strip.shape, array.shape[2]), array.dtype), np.empty(strip.shape, np.uint8)
    for block in blocks(work.scene, strip):
        columns, top = slice(block.roi.x0 - strip.x0, block.roi.x1 - strip.x0), block.roi.y0 - strip.y0
        for part in _applied(work, block.roi, array.shape[2]):
            valid[top : top + len(part), columns] = ~np.isnan(part[:, :, 0])
            clipped += work.form.put(part, values[top : top + len(part), columns])
            top += len(part)
    product.put(row, "cube", values, (y0, 0))
    if work.form.whole:
        product.put(row, "valid", valid, (y0, 0))
    return _counted(work, int((valid == 0).sum()), clipped)


def _counted(work: TransformTask, invalid: int, clipped: int) -> dict[str, int]:
    """Return the counts of a row; a form without limits clips no pixels."""
    return {"invalid_pixels": invalid} | ({} if work.form.limits is None else {"clipped_pixels": clipped})


def _applied(work: TransformTask, roi: Roi, width: int) -> Iterator[np.ndarray]:
    """Yield a region after the operators, from its top, some lines at a time; a device computes them all at once."""
    if work.device is not None:
        values = work.scene.read_on(ready(work.device), roi, thread_buffers()).reshape(-1, work.scene.shape[2])
        whole = on_host(apply_on_torch(work.steps, values)).reshape(*roi.shape, width)
        yield from np.split(whole, range(step_of(roi), len(whole), step_of(roi)))
        return
    for lines in work.scene.lines(roi, thread_buffers()):
        part = run(work.operators, lines.reshape(-1, lines.shape[2]), width, own=True)
        yield part.reshape(*lines.shape[:2], width)


@with_options(TransformOptions)
def transform(recipe: str, scene: str, out: str, options: TransformOptions, progress: Progress) -> dict[str, Any]:
    """Write the scene that the recipe in the folder ``recipe`` makes of ``scene``; resume what was interrupted.

    Georeference and every ``y, x`` layer (labels, plants, ...) are copied. Pixels without data, and pixels that the
    recipe cannot map, are NaN and counted. `predict` recognises the product and skips its model's equal recipe.
    With ``restore`` the product has the units of the scene again.
    """
    fitted, source = Recipe.load(recipe), Scene.open(scene).raw()
    fitted.check(source.shape[2], source.spectral, scene)
    check_encoding(source, decodes=fitted.decodes)
    check_scale(fitted.level, source, source.roi)
    operators, bands = fitted.steps, Bands(count=fitted.bands_out, axis=fitted.axis_out)
    if options.restore:
        operators, bands = restoring(fitted, recipe)
    device = device_of(options.device, elsewhere=elsewhere(options.cluster))
    planned = {
        "out": out,
        "shape": [*source.shape[:2], bands.count],
        "bytes_to_read": int(np.prod(source.shape)) * source.dtype.itemsize,
        "bytes_to_write": int(np.prod(source.shape[:2])) * bands.count * 4,
        "recipe_digest": fitted.digest,
    }
    left = header_of(source, bands)[1]
    planned |= {"notes": [f"header: {', '.join(left)} speak of bands that are gone: left out"]} if left else {}
    if options.dry_run:
        return planned | {"dry_run": True}
    began = time.monotonic()
    with (
        locked(out, join=options.join) as hold,
        connect(options.workers, options.cluster) as client,
        Peak() as peak,
    ):
        startup = time.monotonic() - began
        with hold.alone("create"):
            product = transformed(source, bands, out, fitted, restored=options.restore, device=device)
        given = values_of(options, Workers) | ({"restore": True} if options.restore else {})
        given |= {} if device is None else values_of(options, Device)
        product.ledger.command("transform", recipe=recipe, scene=scene, out=out, **given)
        run_options: dict[str, Any] = {"hold": hold, "client": client, "progress": progress}
        counts = write_scene(source, operators, product, device=device, **run_options)
    spent = {"seconds": peak.seconds, "startup_seconds": startup, "peak_memory": peak.bytes}
    return planned | counts | spent
