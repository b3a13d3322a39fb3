"""The projection of memory holds for plans of many kinds, and what it finds too large is never allocated."""

import json
import subprocess
import sys

import numpy as np
import pytest
from untrained_models import UNET, save_model

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak, resident

PLANS = {
    "opened halo": ({"name": "opened", "radius": 4, "inner": {"name": "linear"}}, ("--tile", 128)),
    "small tiles": ({"name": "linear"}, ("--tile", 64, "--overlap", 32)),
    "large tiles": ({"name": "linear"}, ("--tile", 512)),
    "unet": ({**UNET, "base_width": 16}, ("--tile", 128, "--overlap", 64)),
    "workers": ({"name": "linear"}, ("--tile", 128, "--workers", 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANS)
def test_no_run_takes_more_than_was_projected(make_scene, tmp_path, kind):
    net, options = PLANS[kind]
    scene = make_scene(tmp_path / "scene", 640, 900, 120)
    model = save_model(tmp_path / "model", scene, net=net)
    words = [sys.executable, "-m", "tilespec", "predict", model, scene, tmp_path / "out", *options, "--json", "--quiet"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["peak_memory"] <= result["projected_memory"]
    assert result["projected_memory"] < 2 * result["peak_memory"], "and what is projected is no phantasy"


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("net", [UNET, {"name": "linear"}], ids=lambda net: net["name"])
def test_a_tile_that_memory_cannot_hold_is_refused_and_not_allocated(make_scene, tmp_path, net, dry):
    scene = make_scene(tmp_path / "scene", 64, 64, 8)
    model = save_model(tmp_path / "model", scene, net=net)
    before = resident()
    with Peak(interval=0.002) as peak, pytest.raises(UserError, match=r"memory: found a projected peak"):
        api.predict(model, scene, tmp_path / "out", tile=40000, memory="1GB", dry_run=dry)
    assert peak.bytes < max(1e9, before + 100e6), "no trial takes more than the budget either"
    assert not (tmp_path / "out").exists()


def test_a_table_of_spectra_is_not_taken_for_a_square(tmp_path):
    """A stored object of a table is as wide as the table: one pixel."""
    file, table = tmp_path / "spectra.npy", tmp_path / "table"
    np.save(file, np.random.default_rng(0).random((20_000, 64), np.float32))
    api.ingest(str(file), str(table), axes="spectrum,band")
    model = save_model(tmp_path / "model", str(table), net={"name": "linear"}, classes=64, tile=1)
    before = resident()
    found = api.predict(model, table, tmp_path / "out", probabilities=True, dry_run=True)
    assert found["projected_memory"] < before + 4e8
