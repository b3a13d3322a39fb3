"""One run of a comparison: train, predict, evaluate through the public API; what is done is not done again."""

import json
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ablation_variants import Variant

from tilespec import api
from tilespec.core.fingerprint import fingerprint
from tilespec.core.progress import Progress
from tilespec.storage.files import write_atomic
from tilespec.storage.scene import Scene
from tilespec.training.config import resolve
from tilespec.training.presets import preset

SCORES = ("iou_mean", "iou_std", "scene_iou", "oa", "kappa", "patches")
"""What is kept of an evaluation."""
LEARNED = ("steps", "steps_per_second", "starvation", "read_amplification", "peak_memory")
"""What is kept of a training, beside its seconds and parameters."""


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """The scene and how it is used: the same for all variants."""

    folder: Path
    """With ``scene.zarr``; everything that is made lies in ``ablation/``."""
    train: str
    """Rows to learn from."""
    test: str
    """Rows to be judged on."""
    patches: int
    """Random patches of the evaluation."""
    side: int
    """Their side."""
    width: int
    """Of all generators and discriminators; 0: as the presets say."""
    steps: Mapping[str, int]
    """Steps of a training at most, for each group."""
    overrides: Mapping[str, str]
    """Over everything, as ``--set`` of `tilespec train`."""

    @property
    def scene(self) -> str:
        return str(self.folder / "scene.zarr")

    @property
    def kept(self) -> Path:
        return self.folder / "ablation"

    def recipe(self, steps: str, progress: Progress) -> str:
        """Return the folder of a recipe, fitted on the training rows once for all runs."""
        out = self.kept / "recipes" / f"{steps.replace(',', '-').replace('=', '')}-{fingerprint([self.train])[:6]}"
        if not (out / "recipe.json").exists():
            api.fit(self.scene, str(out), steps=steps, rows=self.train, progress=progress)
        return str(out)


@final
@dataclass(frozen=True, kw_only=True)
class Run:
    variant: Variant
    """What is run."""
    seed: int
    """Of weights, patches and samples."""
    place: Place
    """On what."""

    @property
    def key(self) -> str:
        return f"{self.variant.name} / seed {self.seed}"

    def tables(self) -> dict[str, Any]:
        """Return the configuration of its training; its recipe is given as steps."""
        tables = tomllib.loads(preset(self.variant.preset))
        side = tables["data"]["patch"]
        for table, change in self.variant.changes.items():
            tables[table] = deepcopy(dict(change)) if "name" in change else {**tables[table], **change}
        if self.place.width:
            tables["net"]["base_width"] = self.place.width
            if "discriminator" in tables["objective"]:
                tables["objective"]["discriminator"]["base_width"] = self.place.width
        train, data = tables["train"], tables["data"]
        most = self.place.steps[self.variant.group]
        steps = max(1, round(min(train["steps"], most) * self.variant.share))
        train["warmup"] = round(train["warmup"] * steps / train["steps"])
        train["steps"] = steps
        train["batch"] = max(1, train["batch"] * side**2 // data["patch"] ** 2)  # as many pixels in a step
        train["seed"] = self.seed
        data |= {"scene": [self.place.scene], "rows": self.place.train, "test_rows": self.place.test}
        return resolve(tables, self.place.overrides).model_dump(mode="json", exclude_unset=True)

    def settings(self) -> str:
        """Return the fingerprint of all that decides its result."""
        place, variant = self.place, self.variant
        judged = [place.train, place.test, place.patches, place.side, Scene.open(place.scene).digest]
        learned = _anywhere(self.tables()) if variant.preset else [variant.baseline, self.seed]
        return fingerprint([judged, learned, variant.overlap, dict(variant.predict)])

    def model(self) -> str:
        """Return where its model lies: variants that only predict differently share it."""
        return str(self.place.kept / "models" / fingerprint([_anywhere(self.tables())])[:16])

    def carry_out(self, progress: Progress) -> dict[str, Any]:
        """Train, predict and evaluate, or go on where that was interrupted; return what it came to."""
        out = str(self.place.kept / "maps" / f"{self.settings()[:16]}.zarr")
        made = (self._learned if self.variant.preset else self._fitted)(out, progress)
        judged = {"patches": self.place.patches, "patch_size": self.place.side, "rows": self.place.test}
        scores = api.evaluate(out, self.place.scene, **judged, progress=progress)
        return {**made, **{name: scores[name] for name in SCORES}}

    def _learned(self, out: str, progress: Progress) -> dict[str, Any]:
        """Train and predict."""
        tables = self.tables()
        side, steps = tables["data"]["patch"], tables["recipe"]["steps"]
        tables["recipe"] = {"path": self.place.recipe(steps, progress)}
        facts = api.train(tables, self.model(), progress=progress)
        options = dict(self.variant.predict)
        if self.variant.overlap is not None:
            options |= {"tile": side, "overlap": int(side * self.variant.overlap)}
        told = api.predict(self.model(), self.place.scene, out, rows=self.place.test, **options, progress=progress)
        kept = {name: facts[name] for name in LEARNED}
        whole = facts["steps"] / facts["steps_per_second"]  # also of a training that was interrupted
        seconds = {"train_seconds": whole, "predict_seconds": told["seconds"]}
        return {**kept, **seconds, "parameters": facts["parameters"], "recipe": steps}

    def _fitted(self, out: str, progress: Progress) -> dict[str, Any]:
        """Fit a classical method, and predict."""
        where = {"rows": self.place.train, "seed": self.seed}
        told = api.baseline(self.variant.baseline, self.place.scene, out, **where, progress=progress)
        return {"train_seconds": told["fit_seconds"], "predict_seconds": told["predict_seconds"]}


@final
@dataclass(frozen=True, kw_only=True)
class Results:
    """What is done: one line of JSON for each run, written when it ends."""

    path: Path
    """The file."""

    def lines(self) -> list[dict[str, Any]]:
        """Return the whole lines; a torn one was no result."""
        if not self.path.exists():
            return []
        return [line for text in self.path.read_text().splitlines() if (line := _parsed(text)) is not None]

    def of(self, run: Run) -> dict[str, Any] | None:
        """Return the result of a run with these settings, if it is done."""
        settings = run.settings()
        found = [x for x in self.lines() if x["key"] == run.key and x["settings"] == settings and "error" not in x]
        return found[-1] if found else None

    def keep(self, run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add the line of a run."""
        card = {"key": run.key, "variant": run.variant.name, "group": run.variant.group, "seed": run.seed}
        line = {**card, "settings": run.settings(), **facts}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = [json.dumps(x) + "\n" for x in self.lines()]
        write_atomic(self.path, "".join([*before, json.dumps(line) + "\n"]))
        return line


def _anywhere(tables: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without the place of the scene, which its digest stands for."""
    return {**tables, "data": {key: value for key, value in tables["data"].items() if key != "scene"}}


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return json.loads(text)
    except ValueError:
        return None
