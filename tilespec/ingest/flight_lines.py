"""Flight lines: each line of a list becomes a scene in one folder, and a failed line does not stop the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tilespec.cluster.shares import OthersWriteError, in_turn
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.reader_table import split
from tilespec.ingest.remote_sources import prepared
from tilespec.ingest.request import Request
from tilespec.ingest.write import write
from tilespec.storage.backends.paths import store_path
from tilespec.storage.layout import COMPLETE, INCOMPLETE

OF_ONE: Final = ("labels", "layer", "panel", "targets")
"""The options that concern the pixels of one image."""


def ingest_lines(
    sources: Sequence[str], request: Request, out: str, *, dry_run: bool, join: bool, progress: Progress
) -> dict[str, Any]:
    """Write one scene for each source into the folder ``out``, with the name of the source; return the results.

    Args:
        sources: The flight lines, each as for `ingest`.
        request: The options for all lines; its ``src`` is ignored.
        out: The folder of the scenes.
        dry_run: Whether only to check every line and return the plans.
        join: Whether other runs that join may write lines, and rows of lines, too.
        progress: The progress that reports each line.

    Returns:
        ``status`` (``complete``, or ``incomplete`` when a line failed), ``scenes`` by name, ``failed`` with its message
        by name, ``notes``. Complete lines are not written again by the same command.

    Raises:
        UserError: two lines share a name; an option applies to one image only; the folder is a scene; or no line could
            be ingested.
    """
    named = _named(sources)
    _check(request, out)
    requests = {name: replace(request, src=src) for name, src in named.items()}
    return ingest_each(requests, out, "flight lines", dry_run=dry_run, join=join, progress=progress)


def ingest_each(
    requests: Mapping[str, Request], out: str, what: str, *, dry_run: bool, join: bool, progress: Progress
) -> dict[str, Any]:
    """Write one scene for each request into the folder ``out``; a failed one does not stop the others.

    Returns:
        The results as from `ingest_lines`.

    Raises:
        UserError: none of the requests could be ingested; the message calls them ``what``.
    """
    scenes: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    axes: dict[str, dict[str, SpectralAxis | None]] = {}
    for name, patient in in_turn(list(requests), join=join and not dry_run):
        if name in scenes or name in failed:
            continue
        try:
            with prepared(requests[name], progress) as job:
                axes.setdefault(name.rpartition("/")[0], {})[name] = job.source.facts.spectral
                place = str(store_path(out) / name)
                plan = {"src": requests[name].src, "out": place, **job.plan()}
                scenes[name] = plan if dry_run else plan | write(job, place, progress, join=join, patient=patient)
        except OthersWriteError:
            continue
        except (UserError, OSError) as error:
            failed[name] = str(error)
    scenes = {name: scenes[name] for name in requests if name in scenes}
    failed = {name: failed[name] for name in requests if name in failed}
    if not scenes:
        name, message = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} {what}",
            found=f"none that can be taken; {name}: {message}",
            expected="at least one",
            do="Correct this one first.",
        )
    notes = [*(f"{name} failed: {message}" for name, message in failed.items())]
    notes += [note for group in axes.values() for note in compare(group)]
    return {
        "out": out,
        "status": INCOMPLETE if failed else COMPLETE,
        "scenes": scenes,
        "failed": failed,
        "bytes": sum(scene["bytes"] for scene in scenes.values()),
        "notes": [*notes, *(f"{name}: {note}" for name, scene in scenes.items() for note in scene["notes"])],
    }


def _named(sources: Sequence[str]) -> dict[str, str]:
    """Return sources by the names of their scenes; refuse two sources with one name."""
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
    """Return the name of a source's scene: its file name without the ending, and the variable if one is named."""
    try:
        path, variable = split(src)
    except UserError:  # a missing line is reported when it is ingested
        path, variable = Path(src), None
    return path.stem if variable is None else f"{path.stem}_{variable.replace('/', '_')}"


def _check(request: Request, out: str) -> None:
    """Refuse options that cannot apply to several lines."""
    for option in OF_ONE:
        if getattr(request, option):
            raise UserError(
                f"--{option}",
                found="one place in the image for several flight lines",
                expected=f"each line's own --{option}",
                do=f"Ingest the lines one by one, each with its --{option}.",
            )
    check_folder(out)


def check_folder(out: str, what: str = "flight line") -> None:
    """Refuse a store or a file at the path of a folder of scenes."""
    folder = store_path(out)
    if (folder / "zarr.json").exists() or (folder.on_disk is not None and folder.on_disk.is_file()):
        raise UserError(
            out,
            found="a store or a file",
            expected=f"a folder for one scene of each {what}",
            do="Give another OUT.",
        )


def compare(axes: dict[str, SpectralAxis | None]) -> tuple[str, ...]:
    """Return a note if lines differ in bands, because no single recipe or model fits them all."""
    kinds: dict[SpectralAxis | None, list[str]] = {}
    for name, axis in axes.items():
        kinds.setdefault(None if axis is None else replace(axis, fwhm=None, good=None), []).append(name)
    if len(kinds) < 2:
        return ()
    differences = "; ".join(f"{', '.join(names)}: {_bands(axis)}" for axis, names in kinds.items())
    return (
        f"the lines have different spectral axes ({differences}): resample them before one recipe or model takes all",
    )


def _bands(axis: SpectralAxis | None) -> str:
    """Return a description of a line's bands."""
    if axis is None:
        return "no spectral axis"
    return f"{len(axis.values)} bands from {axis.values[0]:g} to {axis.values[-1]:g} {axis.unit}"
