"""Time forecast: what a dry run says of the time of a prediction, by the rates that an earlier run noted."""

from dataclasses import replace
from typing import Any

from tilespec.core.cpu import cores
from tilespec.core.errors import UserError
from tilespec.predict.options import PredictOptions
from tilespec.storage.ledger import Ledger
from tilespec.storage.scene import Scene
from tilespec.tiling.forecast import Machines, Rates, forecast
from tilespec.tiling.plan import PredictPlan

PARTS = 4
"""The number of parts for each worker: with two, a slow worker, or an odd number of parts, leaves the others idle for a
fifth of the time (docs/scale.md); more would need more disk for the strips that every second part stores.
"""


def time_needed(plan: PredictPlan, scene: Scene, options: PredictOptions, digest: str) -> dict[str, Any]:
    """Return what is expected of a run of a plan, empty where no earlier run has noted its rates.

    Args:
        plan: The plan.
        scene: The scene of the plan.
        options: The options of the user: the workers, and the prediction whose rates are taken.
        digest: The hash of the model.

    Raises:
        UserError: the prediction that was named is none of this model, or has noted no rates.
    """
    rates = _rates(plan, options.like or plan.product.url, digest)
    if rates is None and options.like is not None:
        raise UserError(
            "--like",
            found=f"{options.like}, which has no rates of this model",
            expected="a prediction that this model has made from its begin to its end",
            do="Predict a part of a scene (--rows), and name that prediction.",
        )
    if rates is None:
        return {}
    workers, there = max(options.workers, 1), float("inf") if options.cluster else cores()
    parts = plan.shares() if options.join else plan.parts(PARTS * options.workers or 1)
    found = forecast(plan, parts, Machines(workers=workers, cores=there), rates, scene.shape[2] * scene.dtype.itemsize)
    return {"expected": found.to_json(plan)}


def _rates(plan: PredictPlan, out: str, digest: str) -> Rates | None:
    """Return the rates that a prediction of the same model has noted, for tiles of the plan's size."""
    ledger = Ledger.find(out)
    settings = {} if ledger is None else ledger.read_note("settings") or {}
    if ledger is None or settings.get("model") != digest:
        return None
    rates = Rates.of(ledger.read_note("predict"))
    grid, before = plan.grid, settings["grid"]
    if rates is None or before["scale"] != str(grid.scale):
        return None
    return replace(rates, tile_seconds=rates.tile_seconds * (grid.y.tile / before["tile"]) ** 2)
