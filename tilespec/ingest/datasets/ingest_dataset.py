"""Data sets as they are published: each image becomes a scene, with its labels, and its RGB picture another.

Each data set is a callable ``(folder) -> members`` in a file of its own and a line here. Nothing is downloaded.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.registry import from_user, load
from tilespec.ingest.datasets.members import Member
from tilespec.ingest.flight_lines import check_folder, ingest_each
from tilespec.ingest.request import Request

DATASETS: Final = {
    "icvl": "tilespec.ingest.datasets.icvl:members",
    "cave": "tilespec.ingest.datasets.cave:members",
    "arad": "tilespec.ingest.datasets.arad:members",
    "gic": "tilespec.ingest.datasets.gic:members",
}
"""The names of data sets and their dotted paths."""
OWN: Final = ("dtype", "bin", "bin_bands", "shards", "peak")
"""The options that apply to all images of a data set (the peak only to its pictures); it decides the others itself."""


def ingest_dataset(  # noqa: PLR0913 - what is written, and how
    name: str,
    src: str | Path | Sequence[str | Path],
    request: Request,
    out: str,
    *,
    dry_run: bool,
    join: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Write the scenes of a data set: ``OUT/cube/NAME`` with the spectra and ``OUT/rgb/NAME`` with the picture.

    Args:
        name: The name in `DATASETS`, or a dotted path.
        src: The folder of the data set.
        request: The options, of which those in `OWN` apply.
        out: The folder of scenes.
        dry_run: Whether only to check every image and return the plans.
        join: Whether other runs that join may write images too.
        progress: The progress that reports each image.

    Returns:
        The result of `tilespec.ingest.flight_lines.ingest_each`: an image that cannot be ingested is in ``failed``.

    Raises:
        UserError: the folder does not exist or has no image, two images share a name, or an option is given that the
            data set decides.
    """
    members: list[Member] = load(DATASETS, from_user(name), "data set")(_folder(src))
    _check(name, request, members)
    check_folder(out, "image")
    requests = {
        f"{member.kind}/{member.name}": replace(
            request,
            src=member.src,
            reader=member.reader,
            rgb=member.kind == "rgb",
            peak=request.peak if member.kind == "rgb" else None,
            labels=member.labels,
            ignore_label=None if member.labels is None else 0,
            class_names=",".join(member.classes) or None,
        )
        for member in members
    }
    return ingest_each(requests, out, f"images of {name}", dry_run=dry_run, join=join, progress=progress)


def _folder(src: str | Path | Sequence[str | Path]) -> Path:
    """Return the folder of a data set; refuse a path that is no folder."""
    paths = [src] if isinstance(src, str | Path) else list(src)
    if len(paths) != 1 or not Path(paths[0]).is_dir():
        raise UserError(
            "--dataset",
            found=", ".join(map(str, paths)),
            expected="one folder, where the data set was unpacked",
            do="Give SRC as that folder, then OUT.",
        )
    return Path(paths[0])


def _check(name: str, request: Request, members: Sequence[Member]) -> None:
    """Refuse options that a data set decides itself, an empty folder, and two images with one name."""
    plain = vars(Request(src=request.src))
    changed = [key for key, value in vars(request).items() if key not in OWN and value != plain[key]]
    if changed:
        raise UserError(
            f"--{changed[0].replace('_', '-')}",
            found="it with --dataset",
            expected=f"only {', '.join('--' + key.replace('_', '-') for key in OWN)}: the data set decides the others",
            do="Leave it away, or ingest one image by itself.",
        )
    if not members:
        raise UserError(
            request.src,
            found=f"no image of {name}",
            expected="the folder where it was unpacked",
            do="docs/formats.md says what lies where in each data set.",
        )
    twice = [key for key, count in Counter((member.kind, member.name) for member in members).items() if count > 1]
    if twice:
        raise UserError(
            request.src,
            found=f"two images named {twice[0][1]}",
            expected="one of each name",
            do="Give the folder of one copy of the data set.",
        )
