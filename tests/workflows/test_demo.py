"""The demo's order of work, without doing it: `make demo` does."""

from locations import ROOT

from tilespec import api
from tilespec.workflows.demo import format_table


def test_the_demo_goes_from_raw_counts_to_the_scores_of_every_method(tmp_path):
    plan = api.demo(str(tmp_path / "demo"), dry_run=True)
    order = [plan["stages"].index(name) for name in ("simulate", "ingest", "fit", "train", "predict", "evaluate cgan")]
    assert order == sorted(order)
    assert not (tmp_path / "demo").exists()


def test_the_table_shows_mean_and_spread_of_each_method():
    row = {"iou_mean": 0.9472, "iou_std": 0.0344, "scene_iou": 0.9402, "oa": 0.9897}
    assert "cgan               0.947 ± 0.034       0.940      0.990" in format_table({"cgan": row})


def test_the_reference_run_calls_every_stage_of_the_main_job():
    script = (ROOT / "cluster" / "pipeline.sh").read_text()
    for verb in ("simulate", "ingest", "fit", "train", "predict", "baseline", "evaluate", "report"):
        assert f" {verb} " in script
