"""The command line's contract: verbs, options, JSON on stdout, progress on stderr, exit codes."""

import json
import signal
import subprocess
import sys
import time

import pytest

VERBS = {
    "simulate": ["--kind", "--rows", "--cols", "--bands", "--plants", "--samples", "--seed", "--raw"],
    "ingest": [
        "--white",
        "--dark",
        "--labels",
        "--dtype",
        "--wavelengths",
        "--variable",
        "--axes",
        "--ignore-label",
        "--bin",
        "--bin-bands",
    ],
    "info": [],
    "fit": ["--steps", "--rows", "--cols", "--mask", "--weights", "--update"],
    "transform": [],
    "train": ["--out", "--set", "--ranks", "--workers", "--cluster"],
    "predict": ["--tile", "--overlap", "--workers", "--cluster", "--window", "--rows", "--cols", "--probabilities"],
    "baseline": ["--recipe", "--rows", "--components", "--samples", "--threshold", "--seed"],
    "evaluate": ["--patches", "--patch-size", "--seed", "--rows", "--cols", "--layer", "--mask", "--peak"],
    "study": ["--out", "--vary", "--folds", "--fold", "--root", "--baseline", "--seeds", "--set", "--test-rows"],
    "measure": ["--by", "--polygons", "--regions", "--min-area", "--class", "--rows", "--cols", "--workers"],
    "report": [],
    "view": ["--port", "--cache", "--draw", "--browser"],
    "export": [],
    "demo": ["--out"],
}


def tilespec(*words, cwd=None):
    command = [sys.executable, "-m", "tilespec", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_options_and_json(verb):
    text = tilespec(verb, "--help").stdout
    for option in [*VERBS[verb], "--json"]:
        assert option in text
    assert verb == "info" or "--dry-run" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "missing"], "missing"),
        (["predict", "missing", "missing", "out"], "expected a Zarr v3 store"),
        (["train", "preset:nope", "--out", "out"], "nope"),
        (["train", "preset:tiny", "--out", "out", "--set", "data.scene=x", "--set", "train.stepz=3"], "stepz"),
        (["simulate", "out", "--rows", "0"], "rows"),
        (["ingest", "missing.hdr", "out"], "missing.hdr"),
        (["measure", "missing", "missing", "out"], "expected a Zarr v3 store"),
    ],
)
def test_the_users_mistake_is_exit_2_with_one_message_and_nothing_written(tmp_path, words, message):
    result = tilespec(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_json_is_one_object_on_stdout_and_progress_is_on_stderr(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 64, 64, 6)
    result = tilespec("fit", scene, str(tmp_path / "recipe"), "--steps", "snv,pca=2", "--json")
    facts = json.loads(result.stdout)
    assert facts["pixels"] == 64 * 64
    assert len(facts["explained_variance_ratio"]) == 2
    assert {"seconds", "peak_memory"} <= facts.keys()
    assert "blocks" in result.stderr


def test_a_dry_run_prints_the_plan_and_does_nothing(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 64, 64, 6)
    result = tilespec("fit", scene, str(tmp_path / "recipe"), "--steps", "vsn,pca=2", "--dry-run", "--json")
    assert json.loads(result.stdout)["passes"] == 1
    assert not (tmp_path / "recipe").exists()


def test_an_interrupted_run_exits_130_and_says_that_it_resumes(tmp_path):
    words = ["simulate", str(tmp_path / "out"), "--rows", "2000", "--cols", "2000", "--plants", "16"]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # also where tests run behind a shell
    run = subprocess.Popen([sys.executable, "-m", "tilespec", *words], stderr=subprocess.PIPE, text=True, **heard)
    limit = time.monotonic() + 60
    while not list(tmp_path.rglob("row-*")) and run.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "it resumes" in said
