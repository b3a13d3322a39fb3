"""Simulate: the verb ``simulate`` writes a scene of any size, streamed and resumable."""

from pathlib import Path
from typing import Any

from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.simulate.block import EDGE
from tilespec.simulate.options import SimulateOptions
from tilespec.simulate.plant_layout import PlantLayout
from tilespec.simulate.raw import images, write_raw
from tilespec.simulate.store import default_workers, write_scene
from tilespec.storage.backends.paths import local
from tilespec.storage.lock import locked

VERSION = 1
"""The version of the simulation, which is raised whenever the same seed would give another scene."""
IDLE_BYTES, BLOCK_BYTES, WRITING = 180_000_000, 60_000_000, 10
"""The measured bytes of the interpreter and its libraries, of a thread that renders a block, and of Zarr's writing."""


@with_options(SimulateOptions)
def simulate(out: str | Path, options: SimulateOptions, progress: Progress) -> dict[str, Any]:
    """Write a physically based scene of potted plants at ``out``, and return what was written.

    A pure function of (seed, size, absolute pixel): any number of workers, and any interruption, gives the same bytes.

    Args:
        out: A Scene with ``labels``, ``plant`` and ``material``; with ``raw`` a folder of ENVI files.
        options: What the scene is; given by name.
        progress: Where each row of blocks is reported.

    Raises:
        UserError: an impossible size, or something else at ``out``.
    """
    size = {key: getattr(options, key) for key in ("rows", "cols", "bands", "plants", "seed")}
    layout, raw = PlantLayout.of(**size), options.raw
    threads = default_workers() if options.workers is None else max(options.workers, 1)
    settings = {"verb": "simulate", "version": VERSION, **size, "raw": raw}
    if raw:
        local(str(out), "raw counts")
    plan = {**settings, "out": str(out), **_plan(layout, raw=raw, threads=threads)}
    if options.dry_run:
        return {**plan, "dry_run": True}
    with locked(str(out)), Peak() as peak:
        counts = (write_raw if raw else write_scene)(layout, str(out), settings, threads, progress)
    return {**plan, **counts, "seconds": peak.seconds, "peak_memory": peak.bytes}


def _plan(layout: PlantLayout, *, raw: bool, threads: int) -> dict[str, Any]:
    """Return the plan of a run: pots, blocks, threads, bytes on disk and in memory."""
    sizes = {image.name: image.lines * image.line_bytes(layout.cols) for image in images(layout)}
    pixels = layout.rows * layout.cols
    stored = sum(sizes.values()) if raw else pixels * (4 * layout.bands + 4)
    stripe = min(EDGE, layout.rows) * layout.cols * layout.bands * (2 if raw else 4)
    return {
        "grid": list(layout.grid),
        "pot_pixels": layout.pot,
        "blocks": -(-layout.rows // EDGE) * -(-layout.cols // EDGE),
        "workers": threads,
        "bytes": stored,
        "memory": IDLE_BYTES + threads * BLOCK_BYTES + stripe + min(stripe, WRITING * EDGE**2 * layout.bands * 4) * 2,
    }
