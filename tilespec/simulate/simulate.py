"""Simulate: the verb ``simulate`` writes a scene of any size, streamed and resumable."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, final

from tilespec.core.cpu import cores
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.simulate.layout import EDGE
from tilespec.simulate.options import SimulateOptions
from tilespec.simulate.plants import plants
from tilespec.simulate.samples import samples
from tilespec.simulate.store import Simulation
from tilespec.storage.lock import locked

IDLE_BYTES, BLOCK_BYTES, WRITING = 180_000_000, 60_000_000, 10
"""The measured bytes of the interpreter and its libraries, of a thread that renders a block, and of Zarr's writing."""


@final
@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of scene."""

    simulation: Callable[[str, SimulateOptions], Simulation]
    """The function that makes a simulation of a place and the options."""
    own: tuple[str, ...]
    """The options that other kinds do not have."""


KINDS: Final = {
    "plants": Kind(simulation=plants, own=("plants", "raw")),
    "samples": Kind(simulation=samples, own=("samples",)),
}
"""The kinds of scenes by the value of ``--kind``."""


@with_options(SimulateOptions)
def simulate(out: str | Path, options: SimulateOptions, progress: Progress) -> dict[str, Any]:
    """Write a physically based scene at ``out``, and return what was written.

    A pure function of (kind, seed, size, absolute pixel): any number of workers, and any interruption, gives the same
    bytes.

    Args:
        out: Of plants a Scene with ``labels``, ``plant`` and ``material``, or with ``raw`` a folder of ENVI files. Of
            samples a Scene with ``sample`` (0 outside) and the hidden ``fat``, ``water`` and ``protein`` in percent
            (NaN outside), and beside it ``OUT.references.csv`` with their means over each sample.
        options: What the scene is; given by name.
        progress: Where each row of blocks is reported.

    Raises:
        UserError: an unknown kind, an option of another kind, an impossible size, or something else at ``out``.
    """
    simulation = _kind(options).simulation(str(out), options)
    threads = min(cores(), 8) if options.workers is None else max(options.workers, 1)
    plan = {**simulation.settings, "out": str(out), **_plan(simulation, threads)}
    if options.dry_run:
        return {**plan, "dry_run": True}
    with locked(str(out)), Peak() as peak:
        counts = simulation.write(str(out), threads, progress)
    return {**plan, **counts, "seconds": peak.seconds, "peak_memory": peak.bytes}


def _kind(options: SimulateOptions) -> Kind:
    """Return the kind of the scene; refuse an unknown one, and options of another one."""
    kind = KINDS.get(options.kind)
    if kind is None:
        raise UserError("--kind", found=options.kind, expected=f"one of {', '.join(KINDS)}", do="Name one of them.")
    usual = {field.name: field.default for field in fields(options)}
    for name, other in KINDS.items():
        for option in set(other.own) - set(kind.own):
            if getattr(options, option) != usual[option]:
                raise UserError(
                    f"--{option}",
                    found=f"an option of --kind {name}, with --kind {options.kind}",
                    expected=f"options of {options.kind}: {', '.join(f'--{own}' for own in kind.own)}",
                    do=f"Leave it away, or give --kind {name}.",
                )
    return kind


def _plan(simulation: Simulation, threads: int) -> dict[str, Any]:
    """Return the plan of a run: cells, blocks, threads, bytes on disk and in memory."""
    layout = simulation.layout
    stripe = min(EDGE, layout.rows) * layout.cols * layout.bands * simulation.itemsize
    return {
        "grid": list(layout.grid),
        **simulation.facts,
        "blocks": -(-layout.rows // EDGE) * -(-layout.cols // EDGE),
        "workers": threads,
        "bytes": simulation.bytes,
        "memory": IDLE_BYTES + threads * BLOCK_BYTES + stripe + min(stripe, WRITING * EDGE**2 * layout.bands * 4) * 2,
    }
