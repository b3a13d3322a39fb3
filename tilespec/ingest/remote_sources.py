"""Remote sources: what an ingest reads from a bucket, copied into a temporary folder for as long as it is read.

Readers need files: GDAL, HDF5 and memory maps read anywhere in them, and several names belong together (a header and
its data, a shapefile and its table). So an object is copied with its companions, the objects beside it with the same
stem; a prefix with all below it. Copies have the times of their objects, and in whatever is recorded a URL stands for
the path of its copy, so that a scene does not depend on where the copies were.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final, TypeVar, final

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.ingest.readers.reader_table import open_source
from tilespec.ingest.readers.source import Facts, Options
from tilespec.ingest.request import IngestJob, Request, prepare
from tilespec.storage.backends.base import StorePath, download
from tilespec.storage.backends.paths import map_concurrently, store_path

INPUTS: Final = ("src", "white", "dark", "panel_reflectance", "targets", "labels", "wavelengths")
"""The options of a request that name one source."""
MEGABYTE: Final = 1e6
T = TypeVar("T")


@final
@dataclass(frozen=True, kw_only=True)
class Copies:
    """The temporary folder of the copies of some objects."""

    folder: Path
    """The folder; below it are the scheme and the path of each URL."""
    progress: Progress
    """The progress that counts megabytes."""
    known: set[str] = field(default_factory=set)
    """The URLs that were copied."""

    def of(self, text: str) -> str:
        """Return the path of the copy for ``URL`` or ``URL:VARIABLE``; a path of this machine is returned unchanged.

        Raises:
            UserError: nothing is there, or the temporary folder has no room for it.
        """
        if "://" not in text:
            return text
        place, variable = _existing(text)
        if str(place) not in self.known:
            self._copy(place)
            self.known.add(str(place))
        return str(self._path(place)) + variable

    def named(self, value: T) -> T:
        """Return plain data with URLs in place of the paths of their copies."""
        if isinstance(value, str):
            for scheme in {url.partition("://")[0] for url in self.known}:
                value = value.replace(f"{self.folder / scheme}/", f"{scheme}://")  # type: ignore[assignment]
            return value
        if isinstance(value, dict):
            return {key: self.named(each) for key, each in value.items()}  # type: ignore[return-value]
        if isinstance(value, list | tuple):
            return type(value)(self.named(each) for each in value)
        return value

    def _path(self, place: StorePath) -> Path:
        """Return the path of a place's copy."""
        scheme, _, key = str(place).partition("://")
        return self.folder / scheme / key

    def _copy(self, place: StorePath) -> None:
        """Copy an object and its companions, or all objects below a prefix."""
        objects = _companions(place) if place.tag() is not None else [place / key for key in sorted(place.sizes())]
        size = sum(map_concurrently(lambda each: each.size(), objects))
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise UserError(
                place,
                found=f"{size / 1e9:.1f} GB, where {gettempdir()} has room for {free / 1e9:.1f} GB",
                expected="room for a temporary copy",
                do="Set TMPDIR to a folder of a larger disk, or copy the source to a disk and ingest it from there.",
            )
        self.progress.start(f"copy {place.name}", size / MEGABYTE, "MB")
        for each in objects:
            path = self._path(each)
            path.parent.mkdir(parents=True, exist_ok=True)
            download(each, path, lambda done: self.progress.advance(done / MEGABYTE))
            os.utime(path, (each.modified(),) * 2)
        self.progress.finish()


@contextmanager
def copies(progress: Progress | None = None) -> Iterator[Copies]:
    """Open a block in which the copies of objects exist; messages of errors in it name the URLs of the copies."""
    with TemporaryDirectory(prefix="tilespec-sources-") as folder:
        opened = Copies(folder=Path(folder).resolve(), progress=progress or Silent())
        try:
            yield opened
        except UserError as error:
            error.args = opened.named(error.args)
            raise


@contextmanager
def prepared(request: Request, progress: Progress) -> Iterator[IngestJob]:
    """Yield the job of a request, whose sources in buckets have copies as long as the block is open.

    Raises:
        UserError: as for `tilespec.ingest.request.prepare`; or a source in a bucket cannot be copied.
    """
    with copies(progress) as opened:
        given = {name: getattr(request, name) for name in INPUTS}
        local: dict[str, Any] = {name: text if text is None else opened.of(text) for name, text in given.items()}
        local["layer"] = {name: opened.of(text) for name, text in (request.layer or {}).items()} or request.layer
        job = prepare(replace(request, **local))
        texts: dict[str, Any] = {name: opened.named(getattr(job, name)) for name in ("settings", "attrs", "notes")}
        yield replace(job, **texts) if opened.known else job


def facts_of(text: str) -> Facts:
    """Return the facts of a file; one in a bucket is copied for that."""
    with copies() as opened:
        facts = open_source(opened.of(text), Options()).facts
        return replace(facts, notes=opened.named(facts.notes), header=opened.named(facts.header))


def _existing(text: str) -> tuple[StorePath, str]:
    """Return the place that exists of ``URL`` or ``URL:VARIABLE``, and ``:VARIABLE`` or an empty text."""
    place = store_path(text)
    if place.exists():
        return place, ""
    url, colon, variable = text.rpartition(":")
    if colon and "://" in url and store_path(url).exists():
        return store_path(url), colon + variable
    raise UserError(text, found="nothing", expected="an object, or a prefix with objects below it", do="Check the URL.")


def _companions(place: StorePath) -> list[StorePath]:
    """Return an object, and those beside it with the same stem."""
    stem = place.stem
    return [each for each in place.parent.glob("*") if each.name == stem or each.name.startswith(f"{stem}.")]
