"""Throughput: how fast a prediction goes, or went: decoded bytes of the scene in an hour, and tiles of each worker."""

from contextlib import suppress
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.storage.ledger import Ledger
from tilespec.storage.scene import Scene

LAST: Final = 200
"""The number of records, the youngest ones, from which the rate of a run is taken that has not ended."""


def throughput(ledger: Ledger, rows: int, *, running: bool) -> dict[str, Any] | None:
    """Return the rate of a prediction, or None where nothing says it.

    Of a run that has ended it is that of its note. Of one that is ``running`` it is taken from the times of its last
    records, so it is of all its workers, and of all runs that joined. Bytes are those of the scene, decoded: as they
    lie in memory, whatever the store compresses them to, and each of them once.

    Args:
        ledger: The ledger of the prediction.
        rows: The number of rows of objects of all panels.
        running: Whether a process writes it now.
    """
    if (ledger.read_note("command") or {}).get("verb") != "predict":
        return None
    return _now(ledger, rows) if running else _of_note(ledger.read_note("predict") or {})


def _of_note(note: dict[str, Any]) -> dict[str, Any] | None:
    """Return the rate of the last run that ended."""
    try:
        hours, read, tiles = note["seconds"] / 3600, note["bytes_read"], note["tiles"]
        by, busy = note.get("tiles_by", {}), note.get("milliseconds_by", {})
        each = {name: 1000 * count / busy[name] for name, count in by.items() if busy.get(name)}
        rates = {"scene_terabytes_per_hour": read / hours / 1e12, "tiles_per_second": tiles / hours / 3600}
    except (KeyError, TypeError, ZeroDivisionError, AttributeError):
        return None
    return {"of": "the last run that ended", **rates, "tiles_per_second_by_worker": each}


def _now(ledger: Ledger, rows: int) -> dict[str, Any] | None:
    """Return the rate of the last rows of a run; their times are asked of a local ledger alone, where this is cheap."""
    scene, settings = _scene(ledger), ledger.read_note("settings") or {}
    if ledger.folder.on_disk is None or scene is None or not rows:
        return None
    times = sorted(path.modified() for path in ledger.rows.glob("row-*.json"))[-LAST:]
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    y0, y1, x0, x1 = settings["region"]
    size = (y1 - y0) * (x1 - x0) * scene.shape[2] * scene.dtype.itemsize
    hours = (times[-1] - times[0]) / 3600
    rate = (len(times) - 1) / rows * size / hours / 1e12
    return {"of": f"the last {len(times)} rows of objects", "scene_terabytes_per_hour": rate}


def _scene(ledger: Ledger) -> Scene | None:
    """Return the scene that is predicted, or None where it cannot be read from here."""
    options = (ledger.read_note("command") or {}).get("options") or {}
    with suppress(UserError, OSError, KeyError, TypeError):
        return Scene.open(options["scene"])
    return None
