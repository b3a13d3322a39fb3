"""Outputs: a verb writes only where nothing is, or where it wrote before; on request it replaces what it made."""

import shutil
from typing import Any

from tilespec.core.errors import OccupiedError, UserError
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.ledger import sidecar
from tilespec.storage.lock import locked

HEAD = 1 << 16
"""The number of bytes at the begin of a file in which a verb's own mark lies."""


def check_file(out: Any, mark: bytes, what: str) -> None:
    """Refuse the place of a file that holds another one than ``what`` the same verb writes, which has the mark.

    Raises:
        OccupiedError: another file is there.
    """
    path = store_path(out)
    if path.tag() is None or path.is_dir():
        return
    head = next(path.blocks(HEAD), b"")[:HEAD]
    if mark not in head:
        raise OccupiedError(
            out,
            found="a file that is there already and is no such output",
            expected=f"a free name, or {what} that tilespec wrote",
            do="Name the output last; give another name, or remove that file first.",
        )


def remove_output(place: str, inputs: list[str]) -> None:
    """Remove a file, or what tilespec made at ``place`` with everything beside it; other places are untouched.

    Raises:
        UserError: an input of the command lies there, or another run writes it.
    """
    path = store_path(place)
    for given in inputs:
        if _within(given, path):
            raise UserError(
                place, found=f"the input {given}", expected="an output that is no input", do="Give another OUT."
            )
    if path.on_disk is not None and path.on_disk.is_file():
        path.unlink()
        return
    with locked(place):
        path.clear()
        path.rmdir()
        _clear_beside(sidecar(place))


def _within(given: str, path: StorePath) -> bool:
    """Return whether an input is a place, or lies in it, whatever links lead there."""
    try:
        one, other = str(store_path(given).absolute().target()), str(path.absolute().target())
    except (UserError, OSError, ValueError):
        return False
    return one == other or one.startswith(f"{other}/")


def _clear_beside(folder: StorePath) -> None:
    """Remove the records beside a product, but for the lock that this process holds."""
    if folder.on_disk is None:
        folder.discard([key for key in folder.sizes() if not key.startswith("lock")])
        return
    for child in folder.on_disk.iterdir():
        if not child.name.startswith("lock"):
            shutil.rmtree(child) if child.is_dir() else child.unlink()
