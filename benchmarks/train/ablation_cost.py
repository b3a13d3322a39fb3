"""What a comparison will take: a few steps of each network on random tensors, the rest by proportion."""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from ablation_runs import Place, Run
from train_instead import Made, instead
from train_job import Size

from tilespec import api
from tilespec.core.fingerprint import fingerprint
from tilespec.core.progress import Progress
from tilespec.spectra.recipe import Recipe
from tilespec.storage.files import write_atomic
from tilespec.storage.scene import Scene

TRIED, SKIP = 6, 2
"""Steps of a trial, and how many of them are not timed."""
FORWARD = 1 / 3
"""Share of a step that its forward pass is."""
OTHERWISE = 10.0
"""Seconds of a run beside its steps and tiles: opening, reading, evaluating."""
BASELINE = 30.0
"""Seconds of a classical method on the scene."""


@final
@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of a step, kept for every network that was tried on this machine."""

    place: Place
    """Where."""

    @property
    def path(self) -> Path:
        return self.place.kept / "costs.json"

    def step(self, run: Run, progress: Progress) -> float:
        """Return the seconds of one step of a training, from a few steps on batches made once."""
        tables = run.tables()
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        key = _decides(tables)
        if key not in known:
            known[key] = self._tried(tables, progress)
            write_atomic(self.path, json.dumps(known, indent=1) + "\n")
        return known[key]

    def _tried(self, tables: dict[str, Any], progress: Progress) -> float:
        """Return the seconds of one step."""
        recipe = self.place.recipe(tables["recipe"]["steps"], progress)
        batch, patch = tables["train"]["batch"], tables["data"]["patch"]
        train = {**tables["train"], "steps": TRIED, "checkpoint_every": TRIED, "log_every": 1}
        out = self.place.kept / "trial"
        shutil.rmtree(out, ignore_errors=True)
        size = Size(width=0, patch=patch, batch=batch, steps=TRIED)
        with instead(partial(Made, size, Recipe.load(recipe).bands_out)):
            api.train({**tables, "train": train, "recipe": {"path": recipe}}, str(out))
        at = [json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text().splitlines()]
        shutil.rmtree(out)
        return (at[-1] - at[SKIP - 1]) / (TRIED - SKIP)

    def run(self, run: Run, progress: Progress, *, trained: bool) -> float:
        """Return the seconds of a run; ``trained``: another run leaves its model."""
        if not run.variant.preset:
            return BASELINE
        tables, step = run.tables(), self.step(run, progress)
        tiles = _tiles(run, tables["data"]["patch"])
        each = step * FORWARD / tables["train"]["batch"] * (8 if run.variant.predict.get("flips") else 1)
        return (0 if trained else step * tables["train"]["steps"]) + tiles * each + OTHERWISE


def _decides(tables: dict[str, Any]) -> str:
    """Return the fingerprint of what decides the seconds of a step."""
    train = {k: v for k, v in tables["train"].items() if k not in ("seed", "steps", "rate", "warmup", "floor")}
    rest = {name: tables.get(name) for name in ("net", "objective", "recipe", "augment")}
    return fingerprint([train, rest, tables["data"]["patch"]])[:16]


def _tiles(run: Run, side: int) -> float:
    """Return how many tiles a prediction of the test rows has."""
    low, _, high = run.place.test.partition(":")
    shared = 0.5 if run.variant.overlap is None else run.variant.overlap
    step = max(1.0, side * (1 - shared))
    return ((int(high) - int(low)) / step + 1) * (Scene.open(run.place.scene).shape[1] / step + 1)
