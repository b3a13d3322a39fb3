"""Ingest, transform and train are killed at random moments; the same command ends the work with the same bytes."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from fault_processes import Run, contents, leftovers, tilespec

from tilespec import api
from tilespec.storage.audit import verify

RUNS = 18
"""Kills of each verb in the long test; `test_kills` has fifty of predict."""
VERBS = ("ingest", "transform", "train")
MODEL = ("model.json", "model.safetensors", "recipe/recipe.json")
"""What a training comes to; its log holds times."""


def product(verb, out):
    """Return the bytes of what a command makes; the ledger beside it holds times."""
    return {name: (out / name).read_bytes() for name in MODEL} if verb == "train" else contents(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The command of each verb, what it comes to in peace, and how long that takes from its first file."""
    at = tmp_path_factory.mktemp("made")
    api.simulate(at / "raw", rows=384, cols=384, bands=60, plants=2, raw=True)
    raw = at / "raw"
    api.ingest(raw / "raw.hdr", at / "scene", white=raw / "white.hdr", dark=raw / "dark.hdr", labels=raw / "labels.hdr")
    api.fit(at / "scene", at / "recipe", steps="snv,pca=20")
    panels = ("--white", raw / "white.hdr", "--dark", raw / "dark.hdr")
    settings = (f"data.scene={at / 'scene'}", "train.steps=60", "train.checkpoint_every=5")
    commands = {
        "ingest": ["ingest", raw / "raw.hdr", "{out}", *panels],
        "transform": ["transform", at / "recipe", at / "scene", "{out}", "--workers", 2],
        "train": ["train", "preset:tiny", "--out", "{out}", *(part for each in settings for part in ("--set", each))],
    }
    peace = {}
    for verb in VERBS:
        run = Run.start(at / "log", *filled(commands[verb], at / verb))
        assert run.until(lambda out=at / verb: begun(out))
        began = time.monotonic()
        code, _, errors = run.wait()
        assert code == 0, errors
        peace[verb] = product(verb, at / verb), time.monotonic() - began
    return at, commands, peace


def begun(out):
    """Return whether a command has written anything: imports, most of its time, are over."""
    return out.exists() or Path(f"{out}.tilespec").exists()


def filled(command, out):
    return [*(out if part == "{out}" else part for part in command), "--json", "--quiet"]


def disturb(made, verb, seed):
    """Kill a command at a random moment, run it again; return whether it was killed, and came to the same."""
    (at, commands, peace), rng = made, random.Random(seed)
    out = at / f"{verb}-{seed}"
    run = Run.start(at / "log", *filled(commands[verb], out))
    run.until(lambda: begun(out))
    time.sleep(rng.random() * peace[verb][1])
    hit = run.process.poll() is None
    if hit:
        os.killpg(run.process.pid, signal.SIGKILL)
    run.end()
    code, _, errors = tilespec(at / "log", *filled(commands[verb], out))
    assert code == 0, errors
    equal = product(verb, out) == peace[verb][0]
    assert leftovers(out) == []
    if verb != "train":
        assert verify(str(out))["whole"]
    shutil.rmtree(out)
    shutil.rmtree(f"{out}.tilespec", ignore_errors=True)
    return hit, equal


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("verb", VERBS)
def test_commands_killed_at_random_moments_come_to_the_same_bytes(made, verb):
    told = np.array([disturb(made, verb, seed) for seed in range(RUNS)])
    hit, equal = told.T
    assert equal.all()
    assert hit.sum() >= RUNS // 3, "too few were killed while they worked"
