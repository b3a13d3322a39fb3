"""Chemical maps of simulated trays, whose hidden maps are known: a network beside PLS, as the benchmark does it."""

import runpy
from pathlib import Path

import numpy as np
import pytest

COMPARE = Path(__file__).parents[2] / "benchmarks" / "chemmap" / "compare.py"
SEEDS = 3
FIGURES = ("without_value", "out_of_range", "spatially_correlated_variance", "pixel_correlation", "rmse_of_means")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_network_is_calmer_in_range_and_nearer_to_the_hidden_maps_than_pls(tmp_path):
    run = runpy.run_path(str(COMPARE))["run"]
    pairs = [run(seed, {}, tmp_path / str(seed)) for seed in range(SEEDS)]
    net, pls = ({key: np.array([pair[name][key] for pair in pairs]) for key in FIGURES} for name in ("unet", "pls"))
    assert (net["without_value"] == 0).all()
    assert (net["out_of_range"] < 0.005).all()
    assert (pls["out_of_range"] > 0.1).all()
    assert (net["spatially_correlated_variance"] > np.maximum(95, pls["spatially_correlated_variance"])).all()
    assert net["pixel_correlation"].mean() > max(0.85, pls["pixel_correlation"].mean())
    assert net["rmse_of_means"].mean() < 1.1 * pls["rmse_of_means"].mean(), "equal, as far as three pairs can tell"
