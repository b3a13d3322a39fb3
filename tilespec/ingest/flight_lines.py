"""Lists of flight lines: one scene for each in a folder, and a line that fails does not lose the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.table import split
from tilespec.ingest.request import Request, prepare
from tilespec.ingest.write import write
from tilespec.storage.backends.paths import at
from tilespec.storage.layout import COMPLETE, INCOMPLETE

OF_ONE: Final = ("labels", "panel", "targets")
"""Options that speak of pixels of one image."""


def ingest_lines(
    sources: Sequence[str], request: Request, out: str, *, dry_run: bool, progress: Progress
) -> dict[str, Any]:
    """Write one scene for each source into the folder ``out``, named as its source; return what became of each.

    Args:
        sources: The flight lines, as `ingest` takes one.
        request: The options, the same for all; its ``src`` is not looked at.
        out: The folder.
        dry_run: Check every line and return the plans.
        progress: Is told of each line in turn.

    Returns:
        ``status`` (``complete``, or ``incomplete`` when a line failed), ``scenes`` by name, ``failed`` with its message
        by name, ``notes``. Lines that are whole stay as they are when the same command runs again.

    Raises:
        UserError: two lines of one name; an option of one image; a folder that is a scene; no line could be taken.
    """
    named = _named(sources)
    _check(request, out)
    requests = {name: replace(request, src=src) for name, src in named.items()}
    return ingest_each(requests, out, "flight lines", dry_run=dry_run, progress=progress)


def ingest_each(
    requests: Mapping[str, Request], out: str, what: str, *, dry_run: bool, progress: Progress
) -> dict[str, Any]:
    """Write one scene for each request into the folder ``out``, by its name; one that fails does not lose the others.

    Returns:
        What `ingest_lines` says.

    Raises:
        UserError: none of them, which are ``what``, could be taken.
    """
    scenes: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    axes: dict[str, dict[str, SpectralAxis | None]] = {}
    for name, request in requests.items():
        try:
            job = prepare(request)
            axes.setdefault(name.rpartition("/")[0], {})[name] = job.source.facts.spectral
            place = str(at(out) / name)
            scenes[name] = {"src": request.src, "out": place, **job.plan()}
            if not dry_run:
                scenes[name] |= write(job, place, progress)
        except (UserError, OSError) as error:
            scenes.pop(name, None)
            failed[name] = str(error)
    if not scenes:
        name, message = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} {what}",
            found=f"none that can be taken; {name}: {message}",
            expected="at least one",
            do="Correct this one first.",
        )
    told = [*(f"{name} failed: {message}" for name, message in failed.items())]
    told += [note for group in axes.values() for note in compare(group)]
    return {
        "out": out,
        "status": INCOMPLETE if failed else COMPLETE,
        "scenes": scenes,
        "failed": failed,
        "bytes": sum(scene["bytes"] for scene in scenes.values()),
        "notes": [*told, *(f"{name}: {note}" for name, scene in scenes.items() for note in scene["notes"])],
    }


def _named(sources: Sequence[str]) -> dict[str, str]:
    """Return sources by the names of their scenes; refuse two of one name."""
    named: dict[str, str] = {}
    for src in sources:
        name = _name(src)
        if name in named:
            raise UserError(
                src,
                found=f"the name {name!r}, which {named[name]} has too",
                expected="another name for each flight line: scenes are named as their sources",
                do="Rename one, or ingest it by itself. A header and its data are one source: give one of them.",
            )
        named[name] = src
    return named


def _name(src: str) -> str:
    """Return the name of a source's scene: its file's without the ending, and the variable where one is named."""
    try:
        path, variable = split(src)
    except UserError:  # it is not there: its own turn will say so
        path, variable = Path(src), None
    return path.stem if variable is None else f"{path.stem}_{variable.replace('/', '_')}"


def _check(request: Request, out: str) -> None:
    """Refuse what cannot hold for several lines."""
    for option in OF_ONE:
        if getattr(request, option) is not None:
            raise UserError(
                f"--{option}",
                found="one place in the image for several flight lines",
                expected=f"each line's own --{option}",
                do=f"Ingest the lines one by one, each with its --{option}.",
            )
    check_folder(out)


def check_folder(out: str, what: str = "flight line") -> None:
    """Refuse a store or a file in the place of a folder of scenes."""
    folder = at(out)
    if (folder / "zarr.json").exists() or (folder.on_disk is not None and folder.on_disk.is_file()):
        raise UserError(
            out,
            found="a store or a file",
            expected=f"a folder for one scene of each {what}",
            do="Give another OUT.",
        )


def compare(axes: dict[str, SpectralAxis | None]) -> tuple[str, ...]:
    """Return a note when lines do not have the same bands: one recipe or model does not fit them all."""
    kinds: dict[SpectralAxis | None, list[str]] = {}
    for name, axis in axes.items():
        kinds.setdefault(None if axis is None else replace(axis, fwhm=None, good=None), []).append(name)
    if len(kinds) < 2:
        return ()
    told = "; ".join(f"{', '.join(names)}: {_bands(axis)}" for axis, names in kinds.items())
    return (f"the lines have different spectral axes ({told}): resample them before one recipe or model takes all",)


def _bands(axis: SpectralAxis | None) -> str:
    """Say what the bands of a line are."""
    if axis is None:
        return "no spectral axis"
    return f"{len(axis.values)} bands from {axis.values[0]:g} to {axis.values[-1]:g} {axis.unit}"
