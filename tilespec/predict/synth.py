"""Synth: the verb ``synth`` draws labelled spectra from a generator: a table of them, or a label map filled with them.

The random numbers of a spectrum are a function of the seed and of its number: the class and its place in the table, or
the pixel of the plane. So a longer table begins with a shorter one, and any number of workers writes the same bytes.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from jaxtyping import Int64

from tilespec.cluster.connect import connect, elsewhere
from tilespec.cluster.shares import finish, write_rows
from tilespec.core.device import device_of, kind_of
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.options import values_of, with_options
from tilespec.core.progress import Progress
from tilespec.core.types import UNLABELLED, Roi
from tilespec.models.determinism import torch_threads
from tilespec.predict.draws import Draw, Path, Samples
from tilespec.predict.filling import Filling, fill_row
from tilespec.predict.generator import Generator, stranger
from tilespec.predict.options import SynthesisOptions, SynthOptions
from tilespec.storage.backends.paths import absolute, store_path
from tilespec.storage.files import write_atomic
from tilespec.storage.inventory import digests, inventory
from tilespec.storage.layer import Layer, label_map
from tilespec.storage.layout import (
    CHUNK,
    class_attrs,
    class_names,
    constants,
    cube_spec,
    layer_spec,
    numbers_among,
)
from tilespec.storage.lock import Hold, locked
from tilespec.storage.outputs import check_file
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

NUMERICS: Final = 1
"""The version of the arithmetic; it is raised when bits of synthetic spectra change."""
COUNT: Final = 100
"""The number of spectra of each class, where none is given."""
TEXT: Final = 100_000
"""The largest number of spectra in a table of text, which is in memory as a whole."""


@with_options(SynthOptions)
def synth(model: str, out: str, options: SynthOptions, progress: Progress) -> dict[str, Any]:
    """Draw labelled spectra from a generator into ``out``; resume what was interrupted.

    Args:
        model: A model of the task ``synthesize``.
        out: Where they are written. Without ``labels`` a table: a store with ``cube(spectrum, band)`` and
            ``class(spectrum)``, or a file ``.csv``. With ``labels`` a Scene with ``cube`` and ``labels``; pixels that
            have none are NaN.
        options: What is drawn; given by name.
        progress: Where progress is shown.

    Returns:
        ``shape``, ``classes``, ``spectra``, ``bytes_to_write``, ``seconds``, ``peak_memory``, ``notes``.

    Raises:
        UserError: the model reads scenes, a class is unknown to it, its recipe cannot be undone, or a product of other
            settings lies in ``out``.
    """
    generator = Generator.of(model, options.seed, device_of(options.device, elsewhere=elsewhere(options.cluster)))
    if options.labels is not None:
        return _fill(generator, out, options, progress)
    return _table(generator, out, options, progress)


def _table(generator: Generator, out: str, options: SynthOptions, progress: Progress) -> dict[str, Any]:
    """Write a table of spectra."""
    draw = _draw_of(generator, options)
    labels = draw.labels
    planned = _planned(generator, (len(labels), generator.bands), out) | {
        "classes": [generator.classes[i] for i in dict.fromkeys(labels.tolist())],
        "spectra": len(labels),
    }
    if options.dry_run:
        return planned | {"dry_run": True}
    if out.lower().endswith(".csv"):
        return planned | _write_csv(draw, out)
    settings = _settings(generator)
    with _writing(out, options) as (hold, client), Peak() as peak:
        with hold.alone("create"):
            product = _open_table(draw, out, settings | draw.settings)
        product.ledger.command("synth", model=generator.folder, out=out, **_recorded(options))
        with torch_threads(1):  # rows are computed side by side
            write_rows(product, partial(_write_table_row, draw), "synth", hold=hold, client=client, progress=progress)
        finish(product, hold)
    return planned | {"seconds": peak.seconds, "peak_memory": peak.bytes, "notes": []}


@contextmanager
def _writing(out: str, options: SynthOptions) -> Iterator[tuple[Hold, Any]]:
    """Yield what this run holds of the product, and the client of its workers."""
    with locked(out, join=options.join) as hold, connect(options.workers, options.cluster) as client:
        yield hold, client


def _draw_of(generator: Generator, options: SynthOptions) -> Draw:
    """Return the spectra that the options ask for."""
    count = COUNT if options.count is None else options.count
    if options.between is None:
        chosen = generator.learned if options.classes is None else _chosen(generator, "--classes", options.classes)
        return Samples(generator=generator, chosen=tuple(dict.fromkeys(chosen)), count=count)
    first, last = _chosen(generator, "--between", options.between)
    return Path(generator=generator, ends=(first, last), count=count, spherical=options.spherical)


def _settings(generator: Generator) -> dict[str, Any]:
    """Return what decides the bytes of every product of a generator."""
    on = {} if generator.device is None else {"device": kind_of(generator.device)}
    return {"verb": "synth", "model": generator.digest, "seed": generator.seed, "numerics": NUMERICS, **on}


def _recorded(options: SynthOptions) -> dict[str, Any]:
    """Return the options that `repair` runs the command with again."""
    labels = None if options.labels is None else absolute(options.labels)
    return {**values_of(options, SynthesisOptions), "labels": labels}


def _planned(generator: Generator, shape: tuple[int, ...], out: str) -> dict[str, Any]:
    """Return what is known before anything is written."""
    return {"out": out, "model": generator.folder, "shape": list(shape), "bytes_to_write": int(np.prod(shape)) * 4}


def _chosen(generator: Generator, option: str, names: str) -> tuple[int, ...]:
    """Return the numbers of the named classes.

    Raises:
        UserError: the generator never saw one of them.
    """
    numbers = []
    for name in (part.strip() for part in names.split(",")):
        number = generator.classes.index(name) if name in generator.classes else int(name) if name.isdecimal() else -1
        if number not in generator.learned:
            raise stranger(generator, option, name)
        numbers.append(number)
    return tuple(numbers)


def _open_table(draw: Draw, out: str, settings: Mapping[str, Any]) -> Product:
    """Open the store of a table: ``cube(spectrum, band)`` and ``class(spectrum)``."""
    generator, labels = draw.generator, draw.labels
    beside = ["class", *draw.beside, *([] if generator.axis is None else [generator.axis.name])]
    cube = cube_spec((len(labels), 1, generator.bands), "float32", spectral=generator.axis)
    cube = replace(cube, attrs={"coordinates": " ".join(beside)})
    classes = (("spectrum",), labels.astype(np.uint8), class_attrs(generator.classes))
    attrs = {"title": f"synthetic spectra, seed {generator.seed}", "synthetic": True, "model_digest": generator.digest}
    fixed = {**constants(generator.axis), **draw.beside, "class": classes}
    return Product.open(out, [cube], settings=dict(settings), attrs=attrs, constants=fixed, table=True)


def _write_table_row(draw: Draw, product: Product, row: int) -> Counter[str]:
    """Write some spectra of a table."""
    with torch_threads(1):
        product.write(row, {"cube": draw.spectra(*product.span(row))[:, None]})
    return Counter(rows=1)


def _write_csv(draw: Draw, out: str) -> dict[str, Any]:
    """Write a table as text: the class, then a column for each band, headed by its centre."""
    place, generator, labels = store_path(out), draw.generator, draw.labels
    if len(labels) > TEXT:
        raise UserError(
            out,
            found=f"{len(labels):,} spectra as text",
            expected=f"at most {TEXT:,}",
            do="Name a store: OUT without .csv is written piece by piece, and holds any number.",
        )
    check_file(place, b"class,", "a table of spectra")
    with Peak() as peak:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", *(range(generator.bands) if generator.axis is None else generator.axis.values)])
        rows = zip(labels.tolist(), draw.spectra(0, len(labels)).tolist(), strict=True)
        writer.writerows([generator.classes[number], *map(repr, row)] for number, row in rows)
        write_atomic(place, text.getvalue())
    return {"seconds": peak.seconds, "peak_memory": peak.bytes, "notes": []}


def _fill(generator: Generator, out: str, options: SynthOptions, progress: Progress) -> dict[str, Any]:
    """Write a scene whose labelled pixels are spectra of their classes."""
    assert options.labels is not None, "`synth` was given labels"
    known, labels = inventory(options.labels), label_map(options.labels)
    shape = (labels.shape[0], labels.shape[1], generator.bands)
    names = class_names(labels.attrs)
    planned = _planned(generator, shape, out) | {"classes": list(names)}
    of = _classes_of(generator, labels, names)
    if options.dry_run:
        return planned | {"dry_run": True}
    blur = {"mixing": options.mixing, "texture": options.texture}
    settings = {**_settings(generator), **blur}
    settings |= {"labels": digests(options.labels).store}
    georef = _georeference(options.labels)
    cube = cube_spec(shape, "float32", spectral=generator.axis, georeferenced=georef is not None)
    specs = [cube, layer_spec("labels", shape[:2], classes=names)]
    attrs = {"title": f"synthetic scene, seed {generator.seed}", "synthetic": True, "model_digest": generator.digest}
    with _writing(out, options) as (hold, client), Peak() as peak:
        fixed = constants(generator.axis, georef, shape[:2])
        with hold.alone("create"):
            product = Product.open(out, specs, settings=settings, attrs=attrs, constants=fixed)
        product.ledger.command("synth", model=generator.folder, out=out, **_recorded(options))
        work = Filling(generator=generator, labels=labels, of=of, **blur)
        with torch_threads(1):
            write_rows(product, partial(fill_row, work), "synth", hold=hold, client=client, progress=progress)
        known.check_unchanged()
        finish(product, hold)
    return planned | product.counts() | {"seconds": peak.seconds, "peak_memory": peak.bytes, "notes": []}


def _georeference(url: str) -> Mapping[str, Any] | None:
    """Return the georeference of the store of a label map, if it is a scene."""
    try:
        return Scene.open(url).georef
    except UserError:
        return None


def _classes_of(generator: Generator, labels: Layer, names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the generator's class of each class of a label map: by name, where the map has names, else by number.

    Raises:
        UserError: a class of the map, which has pixels, is none of the generator's.
    """
    held = {i for i, n in enumerate(_histogram(labels)[:UNLABELLED]) if n}
    if not held:
        raise UserError(
            f"{labels.store}: labels", found="no labelled pixel", expected="some", do="Label pixels to be filled."
        )
    of = numbers_among(names, generator.classes, max(held) + 1)
    for number in sorted(held):
        if of[number] not in generator.learned:
            name = names[number] if number < len(names) else str(number)
            raise stranger(generator, f"{labels.store}: labels", name)
    return of


def _histogram(labels: Layer) -> Int64[np.ndarray, " class"]:
    """Return the number of pixels of each label."""
    height, width = labels.shape
    strips = Roi(y0=0, y1=height, x0=0, x1=width).cut(CHUNK, width)
    return np.sum([np.bincount(labels.read(strip).ravel(), minlength=UNLABELLED + 1) for strip in strips], axis=0)
