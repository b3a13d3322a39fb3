"""What one ingest will do, checked in full before anything is written."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.ingest.binning import Bins, binned, binned_labels
from tilespec.ingest.calibration.reflectance import reflectance
from tilespec.ingest.calibration.white_dark import Calibration
from tilespec.ingest.encode import Encoder, encoder
from tilespec.ingest.labels.class_map import Labels, survey
from tilespec.ingest.labels.class_names import label_notes, named
from tilespec.ingest.labels.label_column import label_column, without
from tilespec.ingest.labels.named_layers import named_layers
from tilespec.ingest.labels.placement import lay_on_scene
from tilespec.ingest.labels.polygons import is_vector
from tilespec.ingest.labels.rasterise import rasterise
from tilespec.ingest.options import SceneOptions
from tilespec.ingest.place import size_attrs, with_place
from tilespec.ingest.readers.column_labels import column_labels
from tilespec.ingest.readers.image_light import COLOURS, check_range
from tilespec.ingest.readers.reader_table import open_source, split
from tilespec.ingest.readers.source import Facts, Options, Source, SourceLayer
from tilespec.ingest.readers.spectra_grid import on_grid
from tilespec.ingest.readers.wavelengths import checked_unit
from tilespec.ingest.row_writer import THREADS
from tilespec.storage.layout import ArraySpec, constants, cube_spec, layer_spec, sharded
from tilespec.storage.selection import is_class_map

REFLECTANCE: Final = ("white", "dark", "panel", "panel_reflectance", "targets")
"""Options that say how counts become reflectance."""

LATER: Final = {"class_names", "layer", "pixel_size", "crs", "wavelength_unit", "grid"}
"""Options that earlier versions did not have: where they are not given, a scene that was begun then is finished."""

Constants = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]


@final
@dataclass(frozen=True, kw_only=True)
class Request(SceneOptions):
    """One source, and how it becomes a scene."""

    src: str
    """The path of the cube."""


@final
@dataclass(frozen=True, kw_only=True)
class IngestJob:
    """An ingest that will work."""

    source: Source
    """The cube, binned."""
    raw: Facts
    """The facts of the cube as it is read, unbinned."""
    encoder: Encoder
    """How it is stored."""
    calibration: Calibration | None
    """White and dark, where given."""
    labels: Labels | None
    """Class map, where given."""
    settings: dict[str, Any]
    """What decides the bytes: the sources' paths, sizes and times, and the options."""
    attrs: dict[str, Any]
    """Root attributes of the scene."""
    notes: tuple[str, ...]
    """The assumptions, each reported once."""
    layers: tuple[SourceLayer, ...] = ()
    """All layers beside the cube and its labels."""

    @property
    def specs(self) -> list[ArraySpec]:
        """The arrays of the scene."""
        facts = self.source.facts
        cube = cube_spec(
            facts.shape,
            self.encoder.dtype,
            spectral=facts.spectral,
            scale=self.encoder.scale,
            nodata=self.encoder.nodata,
            georeferenced=facts.georef is not None,
        )
        planes = [_plane_spec(layer, facts.shape[:2]) for layer in self.layers]
        placed = _with_coordinates(cube, [spec.name for spec in planes if "standard_name" in spec.attrs])
        classes = None if self.labels is None else self.labels.classes
        labels = [] if classes is None else [layer_spec("labels", facts.shape[:2], classes=classes)]
        return sharded([placed, *labels, *planes], self.settings["options"]["shards"])

    @property
    def constants(self) -> Constants:
        """The small arrays of the scene."""
        return constants(self.source.facts.spectral, self.source.facts.georef, self.source.facts.shape[:2])

    def plan(self) -> dict[str, Any]:
        """Return what will be written, as plain data."""
        facts, spec = self.source.facts, self.specs[0]
        itemsize = np.dtype(self.encoder.dtype).itemsize
        line = facts.shape[1] * facts.shape[2]
        return {
            "shape": list(facts.shape),
            "dtype": self.encoder.dtype,
            "chunks": list(spec.chunks),
            "objects": int(np.prod([-(-n // c) for n, c in zip(spec.shape, spec.objects, strict=True)])),
            "bytes": facts.shape[0] * line * itemsize,
            "bytes_read": int(np.prod(self.raw.shape, dtype=object)) * self.raw.dtype.itemsize,
            "memory": memory(facts, spec),
            "spectral": None if facts.spectral is None else facts.spectral.name,
            "calibration": None if self.calibration is None else dict(self.calibration.facts),
            "classes": None if self.labels is None else list(self.labels.classes),
            "notes": list(self.notes),
        }


def memory(facts: Facts, spec: ArraySpec) -> int:
    """Return the bytes that an ingest holds: the lines of one row of objects as they are read, and objects in work."""
    lines = spec.objects[0] * facts.shape[1] * facts.shape[2] * facts.dtype.itemsize
    return lines + facts.read_bytes + THREADS * 3 * int(np.prod(spec.objects)) * np.dtype(spec.dtype).itemsize


def _plane_spec(layer: SourceLayer, shape: tuple[int, int]) -> ArraySpec:
    """Return how a layer is stored: an object of floats, or of classes, that is lost is no value."""
    spec = layer_spec(layer.name, shape, layer.dtype.name)
    none = layer.attrs["nodata"] if is_class_map(layer.attrs) else 0
    return replace(spec, attrs=layer.attrs, fill=float("nan") if layer.dtype.kind == "f" else none)


def _with_coordinates(cube: ArraySpec, layers: list[str]) -> ArraySpec:
    """Return a cube whose latitude and longitude xarray finds: CF's ``coordinates`` names them."""
    if not layers:
        return cube
    named = " ".join([cube.attrs.get("coordinates", ""), *layers]).strip()
    return replace(cube, attrs={**cube.attrs, "coordinates": named})


def prepare(request: Request) -> IngestJob:
    """Return the job of a request.

    Raises:
        UserError: anything that would make the scene wrong, before a byte is written.
    """
    options = Options(
        variable=request.variable,
        axes=request.axes,
        wavelengths=request.wavelengths,
        wavelength_unit=checked_unit(request.wavelength_unit),
        allow_truncated=request.allow_truncated,
        rgb=request.rgb,
        peak=request.peak,
    )
    opened = open_source(request.src, options, request.reader)
    source, notes_on_place = with_place(request, opened if request.grid is None else on_grid(opened, request.grid))
    notes_on_picture = _check_picture(request, source)
    bins, facts = Bins(pixels=request.bin, bands=request.bin_bands), source.facts
    ways = {key: getattr(request, key) for key in REFLECTANCE}
    calibration, references = reflectance(source, **ways, repair=request.repair)
    column = label_column(request.labels, facts)
    labels = _labels(request, facts, bins, column)
    single = (source, encoder(facts, request.dtype, calibration)) if bins.single else None
    cube, stored = single or binned(source, request.dtype, calibration, bins)
    extra, files = named_layers(request.layer or {}, facts, bins.pixels)
    sources = (cube, *references, *(() if labels is None else (labels.source,)), *files)
    return IngestJob(
        source=cube,
        raw=facts,
        encoder=stored,
        calibration=calibration,
        labels=labels,
        settings=_settings(request, sources, () if calibration is None else calibration.files),
        attrs=_attrs(request, cube.facts, calibration),
        notes=(*_notes(sources, calibration), *notes_on_picture, *notes_on_place, *label_notes(request, labels)),
        layers=(*_beside(cube.facts, labels, column), *extra),
    )


def _beside(facts: Facts, labels: Labels | None, column: SourceLayer | None) -> tuple[SourceLayer, ...]:
    """Return the layers of the source, without its own classes where the user gives labels."""
    layers = without(column, facts.layers)
    return tuple(layer for layer in layers if labels is None or layer.name != "labels")


def _check_picture(request: Request, source: Source) -> tuple[str, ...]:
    """Return notes on the values of a picture; refuse to calibrate one, and a peak beside a calibration."""
    flags = [name for name in REFLECTANCE if getattr(request, name) is not None]
    if flags and (source.facts.colour_space is not None or request.peak is not None):
        raise UserError(
            f"--{flags[0].replace('_', '-')}",
            found=f"a picture in sRGB or a --peak ({request.src})",
            expected="counts of a sensor: the values of a picture are not proportional to light",
            do=f"Leave --{flags[0].replace('_', '-')} away.",
        )
    return check_range(request.src, source, request.peak)


def _notes(sources: tuple[Source, ...], calibration: Calibration | None) -> tuple[str, ...]:
    """Return every assumption once; wavelengths concern the cube alone."""
    others = [note for source in sources[1:] for note in source.facts.notes if "wavelength" not in note]
    return tuple(dict.fromkeys([*sources[0].facts.notes, *others, *(() if calibration is None else calibration.notes)]))


def _labels(request: Request, facts: Facts, bins: Bins, column: SourceLayer | None) -> Labels | None:
    """Return the labels of the request."""
    if request.labels is None:
        return None
    source = _label_file(request.labels, request, facts) if column is None else column_labels(column, facts.shape[:2])
    labels = named(survey(request.labels, source, facts.shape[:2], request.ignore_label), request.class_names)
    return labels if bins.pixels == 1 else binned_labels(request.labels, labels, facts.shape[:2], bins.pixels)


def _label_file(text: str, request: Request, facts: Facts) -> Source:
    """Return the labels in a file."""
    path, attribute = split(text)
    if is_vector(path):
        return rasterise(path, attribute, facts, request.ignore_label)
    return lay_on_scene(text, open_source(text, Options(kind="labels", table=facts.table)), facts)


def _settings(request: Request, sources: tuple[Source, ...], others: tuple[Path, ...]) -> dict[str, Any]:
    """Return everything that decides the bytes."""
    files = {path.resolve() for paths in (*(source.facts.files for source in sources), others) for path in paths}
    return {
        "verb": "ingest",
        "sources": [
            {"path": str(path), "size": path.stat().st_size, "modified": path.stat().st_mtime_ns}
            for path in sorted(files)
        ],
        "options": {key: value for key, value in vars(request).items() if value or key not in LATER},
    }


def _attrs(request: Request, facts: Facts, calibration: Calibration | None) -> dict[str, Any]:
    """Return the scene's attributes: nothing that varies between runs, hosts or folders."""
    names = {key: getattr(request, key) for key in ("src", "white", "dark", "targets", "labels")}
    column = {} if label_column(request.labels, facts) is None else {"labels": request.labels}
    files = {key: split(text) for key, text in names.items() if text is not None and key not in column}
    provenance: dict[str, Any] = {
        "verb": "ingest",
        **{key: path.name + (f":{variable}" if variable else "") for key, (path, variable) in files.items()},
        **column,
    }
    if calibration is not None:
        provenance["calibration"] = {**calibration.facts, "repair": request.repair}
    if request.bin > 1 or request.bin_bands > 1:
        provenance["binning"] = {"pixels": request.bin, "bands": request.bin_bands}
    if request.layer:
        provenance["layers"] = {name: split(where)[0].name for name, where in request.layer.items()}
    picture: dict[str, Any] = size_attrs(request.pixel_size, request.bin)
    if facts.colour_space is not None:
        picture |= {"colour_space": facts.colour_space, "channels": list(COLOURS.get(facts.shape[2], ()))}
    return {"title": files["src"][0].stem, "header": facts.header, **picture, "provenance": provenance}
