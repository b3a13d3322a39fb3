"""What one ingest will do, checked in full before anything is written."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from tilespec.errors import UserError
from tilespec.ingest.calibrate import Calibration, calibration
from tilespec.ingest.encode import Encoder, encoder
from tilespec.ingest.labels import Labels, survey
from tilespec.ingest.readers import open_source, split
from tilespec.ingest.source import Facts, Options, Source
from tilespec.product import ArraySpec
from tilespec.scene import constants, cube_spec, layer_spec

Constants = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]


@final
@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `ingest`, as given."""

    src: str
    """The cube."""
    white: str | None = None
    """White reference."""
    dark: str | None = None
    """Dark reference."""
    labels: str | None = None
    """Class map."""
    dtype: str | None = None
    """Data type of the stored cube."""
    wavelengths: str | None = None
    """Text file, or name of a variable."""
    variable: str | None = None
    """Array of a container."""
    axes: str | None = None
    """Order of the array's axes."""
    ignore_label: int | None = None
    """Label that means unlabelled."""
    repair: bool = True
    """Interpolate isolated dead detector elements."""
    reader: str | None = None
    """Name or dotted path of the cube's reader; None: by the file."""


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """An ingest that will work."""

    source: Source
    """The cube."""
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
    """What was assumed; told once."""

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
        if self.labels is None:
            return [cube]
        return [cube, layer_spec("labels", facts.shape[:2], classes=self.labels.classes)]

    @property
    def constants(self) -> Constants:
        """The small arrays of the scene."""
        return constants(self.source.facts.spectral, self.source.facts.georef)

    def plan(self) -> dict[str, Any]:
        """Return what will be written, as plain data."""
        facts, spec = self.source.facts, self.specs[0]
        itemsize = np.dtype(self.encoder.dtype).itemsize
        line = facts.shape[1] * facts.shape[2]
        return {
            "shape": list(facts.shape),
            "dtype": self.encoder.dtype,
            "chunks": list(spec.chunks),
            "objects": int(np.prod([-(-n // c) for n, c in zip(spec.shape, spec.chunks, strict=True)])),
            "bytes": facts.shape[0] * line * itemsize,
            "bytes_read": facts.shape[0] * line * facts.dtype.itemsize,
            "memory": 2 * spec.chunks[0] * line * itemsize + max(facts.read_bytes, line * facts.dtype.itemsize),
            "spectral": None if facts.spectral is None else facts.spectral.name,
            "calibration": None if self.calibration is None else dict(self.calibration.facts),
            "classes": None if self.labels is None else list(self.labels.classes),
            "notes": list(self.notes),
        }


def prepare(request: Request) -> Job:
    """Return the job of a request.

    Raises:
        UserError: anything that would make the scene wrong, before a byte is written.
    """
    options = Options(variable=request.variable, axes=request.axes, wavelengths=request.wavelengths)
    source = open_source(request.src, options, request.reader)
    facts = source.facts
    if request.dark is not None and request.white is None:
        raise UserError("--dark", found="a dark reference alone", expected="white and dark", do="Give --white too.")
    found, references = _calibrate(request, facts)
    labels = _labels(request, facts)
    sources = (source, *references, *(() if labels is None else (labels.source,)))
    return Job(
        source=source,
        encoder=encoder(facts, request.dtype, found),
        calibration=found,
        labels=labels,
        settings=_settings(request, sources),
        attrs=_attrs(request, facts, found),
        notes=_notes(sources, found),
    )


def _notes(sources: tuple[Source, ...], found: Calibration | None) -> tuple[str, ...]:
    """Return every assumption once; wavelengths concern the cube alone."""
    others = [note for source in sources[1:] for note in source.facts.notes if "wavelength" not in note]
    return tuple(dict.fromkeys([*sources[0].facts.notes, *others, *(() if found is None else found.notes)]))


def _calibrate(request: Request, facts: Facts) -> tuple[Calibration | None, tuple[Source, ...]]:
    """Return the calibration of the request, and the references it was made from."""
    if request.white is None:
        return None, ()
    options = Options(kind="reference")
    white = open_source(request.white, options)
    dark = None if request.dark is None else open_source(request.dark, options)
    names = (request.white, request.dark or "")
    found = calibration(facts, white, dark, names=names, repair=request.repair)
    return found, (white,) if dark is None else (white, dark)


def _labels(request: Request, facts: Facts) -> Labels | None:
    """Return the labels of the request."""
    if request.labels is None:
        return None
    source = open_source(request.labels, Options(kind="labels"))
    return survey(request.labels, source, facts.shape[:2], request.ignore_label)


def _settings(request: Request, sources: tuple[Source, ...]) -> dict[str, Any]:
    """Return everything that decides the bytes."""
    files = {path.resolve() for source in sources for path in source.facts.files}
    return {
        "verb": "ingest",
        "sources": [
            {"path": str(path), "size": path.stat().st_size, "modified": path.stat().st_mtime_ns}
            for path in sorted(files)
        ],
        "options": {**vars(request)},
    }


def _attrs(request: Request, facts: Facts, found: Calibration | None) -> dict[str, Any]:
    """Return the scene's attributes: nothing that varies between runs, hosts or folders."""
    names = {key: getattr(request, key) for key in ("src", "white", "dark", "labels")}
    given = {key: split(text) for key, text in names.items() if text is not None}
    provenance: dict[str, Any] = {
        "verb": "ingest",
        **{key: path.name + (f":{variable}" if variable else "") for key, (path, variable) in given.items()},
    }
    if found is not None:
        provenance["calibration"] = {**found.facts, "repair": request.repair}
    return {"title": given["src"][0].stem, "header": facts.header, "provenance": provenance}
