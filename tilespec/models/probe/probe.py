"""Probe: measurement of a model's behaviour at the edges of tiles: its reach, its tile class, the expected seams."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.types import TileClass
from tilespec.models.determinism import agreement
from tilespec.models.model import Model
from tilespec.models.nets import tile_class_of
from tilespec.models.nets.norms import set_sample_ids, spatial_norms
from tilespec.models.probe.advice import agrees, governing, notes
from tilespec.models.probe.effective_field import effective_reach
from tilespec.models.probe.global_layers import random_layers, spread_by
from tilespec.models.probe.narrow_input import AxisMap, NarrowInput, replica
from tilespec.models.probe.options import ProbeOptions
from tilespec.models.probe.receptive_field import Measurement, Reach, measure
from tilespec.models.probe.sample_windows import windows
from tilespec.models.probe.seam_forecast import OVERLAPS, Window, recommended, seam_errors
from tilespec.models.tasks import task
from tilespec.models.tasks.base import Task
from tilespec.models.tensors import channels_last
from tilespec.storage.scene import Scene

TILE = 256
"""The default side of tiles in pixels for a net that was not trained on patches."""
TOLERANCE = 0.01
"""The largest accepted root mean square error of blended tiles, in units of blended values (probabilities)."""
WINDOWS, POSITIONS = 4, 3
"""The numbers of windows, and of output pixels in each, for the average effective receptive field."""
SEAM_WINDOWS = 2
"""The number of windows for the comparison of overlaps; one window if tiles are larger than 256."""
BATCH = 4
"""The number of tiles in a batch for the test of determinism, as in `predict`."""


@with_options(ProbeOptions)
def probe(model: str, options: ProbeOptions, progress: Progress) -> dict[str, Any]:
    """Return what a model does on tiles, and the tile and overlap to predict with.

    Args:
        model: Model folder.
        options: What it is measured on; given by name.
        progress: Where progress is shown.

    Returns:
        ``receptive_field`` (theoretical, in pixels on each side), ``effective`` (distances that hold 90, 95, 99 % of
        the input's gradient), ``declared`` and ``measured`` tile class, ``global_layers``, ``seams`` (error of each
        overlap), ``recommended``, ``determinism``, ``notes``: sentences with advice.

    Raises:
        UserError: the folder holds no model, or the scene does not fit the model.
    """
    loaded, scene, seed = Model.load(model), options.scene, options.seed
    if scene is not None:
        loaded.recipe.applied_to(Scene.open(scene))  # refuses one that does not fit
    side = options.tile or loaded.tile or TILE
    plan = {"model": model, "scene": scene, "tile": side, "seed": seed, "net": loaded.net["name"]}
    if options.dry_run:
        return plan | {"windows": WINDOWS, "positions": POSITIONS, "overlaps": [round(v * side) for v in OVERLAPS]}
    with Peak() as peak:
        results = _probed(Subject.of(loaded, scene, side, seed), progress)
    return plan | results | {"seconds": peak.seconds, "peak_memory": peak.bytes}


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to probe, with its options."""

    model: Model
    """The model from the folder."""
    module: nn.Module
    """The net of the model, in the memory format of prediction."""
    task: Task
    """Says what the net reads, and activates."""
    scene: str | None
    """The URL of the scene for windows, if there is one."""
    tile: int
    """The requested side of the tiles in pixels."""
    seed: int
    """The seed of all random draws."""

    @classmethod
    def of(cls, model: Model, scene: str | None, tile: int, seed: int) -> "Subject":
        """Return the subject for a model folder."""
        module = channels_last(model.module())
        return cls(model=model, module=module, task=task(model.task), scene=scene, tile=tile, seed=seed)

    @property
    def declared(self) -> TileClass | None:
        """The tile class that the net declares."""
        return tile_class_of(self.module)

    def side(self, align: int) -> int:
        """Return the side of tiles that the net accepts."""
        return -(-self.tile // align) * align

    def windows(self, side: int, count: int) -> Float32[Tensor, "n channel y x"]:
        """Return windows as inputs of the net."""
        return self.task.inputs(windows(self.model, self.scene, side, count, self.seed))

    def activated(self, x: Float32[Tensor, "batch channel y x"]) -> Float32[Tensor, "batch channel2 y2 x2"]:
        """Return the activated output, which is blended."""
        set_sample_ids(self.module, range(len(x)))
        with torch.inference_mode():
            return self.task.activate(self.module(x.contiguous(memory_format=torch.channels_last)))

    def numbered(self, tiles: Float32[np.ndarray, "tile y x channel"], ids: list[int]) -> np.ndarray:
        """Return the activated output of numbered tiles, as `predict` evaluates them."""
        set_sample_ids(self.module, ids)
        with torch.inference_mode():
            out = self.task.activate(self.module(torch.from_numpy(tiles).permute(0, 3, 1, 2)))
        return out.permute(0, 2, 3, 1).contiguous().numpy()


def _probed(on: Subject, say: Progress) -> dict[str, Any]:
    """Return all results of the probe."""
    say.start("probe", 4, "steps")
    channels = on.model.channels[0]
    measured = measure(on.module, channels)
    align = measured.line.align if measured else (on.declared.align if on.declared else 1)
    line = measured.line if measured else AxisMap(align=align)
    say.advance(1, "effective receptive field")
    side = on.side(align)
    effective = effective_reach(on.module, line, on.windows(side, WINDOWS), positions=POSITIONS, seed=on.seed)
    say.advance(1, "seams")
    reach = governing(on.declared, measured)
    local = measured is not None and measured.inner is not None  # else the cost may grow with the square of the window
    errors = _seams(on, side, align) if reach.kind == "approximate" and local and _plain(line) else []
    say.advance(1, "determinism")
    shape = (min(side, on.side(align) if side <= TILE else -(-TILE // align) * align),) * 2
    same = agreement(on.numbered, (*shape, channels), BATCH)
    say.advance(1)
    say.finish()
    spread = (
        spread_by(NarrowInput(module=replica(on.module), channels=channels, line=line))
        if measured and not measured.reach
        else []
    )
    report = {
        "tile": side,
        "parameters": sum(weight.numel() for weight in on.module.parameters()),
        "channels": list(on.model.channels),
        "declared": None if on.declared is None else _class(on.declared),
        "measured": _class(measured.tile_class if measured else TileClass(kind="approximate", align=align)),
        "agrees": agrees(on.declared, measured),
        "tile_error": None if measured is None else measured.tile_error,
        "receptive_field": None if measured is None else _field(measured),
        "effective": None if effective is None else effective | {"window": side},
        "spatial_norms": spatial_norms(on.module),
        "global_layers": spread,
        "random_layers": random_layers(on.module),
        "seams": errors,
        "tolerance": TOLERANCE,
        "recommended": recommended(reach, side, errors, TOLERANCE),
        "determinism": same,
    }
    return report | {"notes": notes(report, on.model.tile)}


def _seams(on: Subject, side: int, align: int) -> list[dict[str, Any]]:
    """Return the errors of several overlaps."""
    window = Window(tile=side, align=align)
    x = on.windows(window.side, SEAM_WINDOWS if side <= TILE else 1)
    return seam_errors(on.activated, window, x, classes=bool(on.model.classes))


def _plain(line: AxisMap) -> bool:
    """Return whether the output has the size of the input."""
    return line.scale == 1 and line.margin == 0


def _field(measured: Measurement) -> dict[str, Any]:
    """Return the theoretical receptive field as plain data."""

    def plain(reach: Reach | None) -> dict[str, Any]:
        if reach is None:
            return {"global": True}
        return {name: side.pixels for name, side in reach.sides.items()} | {"halo": reach.halo, "global": False}

    return {
        **plain(measured.reach),
        "without_norms": plain(measured.inner),
        "lower_bound": not measured.certain,
        "scale": str(measured.line.scale),
        "margin": str(measured.line.margin),
    }


def _class(of: TileClass) -> dict[str, Any]:
    return {"kind": of.kind, "halo": of.halo, "align": of.align}
