"""Trainings that are disturbed, and what they come to in peace: what the tests of lost ranks share."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
from fault_processes import Run, leftovers, tilespec

from tilespec.models.model import Model

STEPS = 24
SLOW = 0.3
"""Seconds that a step takes at least while it is disturbed."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A training in a file, and what it comes to undisturbed, alone."""

    folder: Path
    config: Path
    whole: Path

    def run(self, out, *extra, **options):
        """Start it."""
        return Run.start(self.folder / "log", *self.command(out, *extra), **options)

    def command(self, out, *extra):
        return ["train", self.config, "--out", out, "--json", "--quiet", *extra]

    @classmethod
    def learned(cls, folder, make_scene):
        """Write a scene and a file, and train once in peace, alone."""
        scene = make_scene(folder / "scene", 48, 48, 5)
        config = folder / "lesson.toml"
        config.write_text(
            f"""
            data = {{ scene = "{scene}", patch = 16, patches = 7 }}
            recipe = {{ steps = "pca=3,scale" }}
            net = {{ name = "fault_training_net:Lazy" }}
            objective = {{ name = "supervised" }}
            train = {{ steps = {STEPS}, batch = 2, warmup = 2, checkpoint_every = 4, timeout = 20 }}
            """
        )
        found = cls(folder=folder, config=config, whole=folder / "whole")
        code, _, errors = tilespec(folder / "log", *found.command(found.whole))
        assert code == 0, errors
        return found


def ranks_of(run):
    """Return the numbers of the processes that are ranks, in their order."""
    found = [
        child
        for child in psutil.Process(run.process.pid).children(True)
        if "tilespec.training.ranks.processes" in child.cmdline()
    ]
    return [child.pid for child in sorted(found, key=lambda child: int(child.environ()["RANK"]))]


def launched(run, rank):
    """Return the number of the process that is a rank under a launcher, None while there is none."""
    for child in psutil.Process(run.process.pid).children(True):
        with suppress(psutil.Error):
            if "train" in child.cmdline() and child.environ().get("RANK") == str(rank):
                return child.pid
    return None


def steps(out):
    """Return the newest checkpoint."""
    return max((int(path.name[5:]) for path in Path(out).glob("checkpoints/step-??????")), default=0)


def log(out):
    rows = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(STEPS)), "every step once, in order"
    return np.array([row["cross_entropy"] for row in rows])


def same(out, other):
    """Assert that two trainings came to the same, to what sums over ranks round."""
    np.testing.assert_allclose(log(out), log(other), rtol=1e-4, atol=1e-5)
    with patch.dict(os.environ, TILESPEC_PLUGINS="fault_training_net"):  # only here: workers are told by their client
        weights = [Model.load(str(model)).weights for model in (out, other)]
    for name in weights[0]:
        np.testing.assert_allclose(weights[0][name], weights[1][name], rtol=1e-3, atol=1e-4)
    assert leftovers(out) == []


def ended(numbers, seconds=15.0):
    limit = time.monotonic() + seconds
    while any(psutil.pid_exists(number) for number in numbers):
        assert time.monotonic() < limit, "a rank outlived its command"
        time.sleep(0.05)
