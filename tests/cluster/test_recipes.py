"""The recipes in the folder `cluster`: their commands exist, and what they ask of Kubernetes is safe."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from locations import ROOT

from tilespec.cli import app

COMMANDS = typer.main.get_command(app).commands
SCRIPTS = sorted((ROOT / "cluster").glob("*.sbatch"))


def options(verb):
    return {option for parameter in COMMANDS[verb].params for option in parameter.opts}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs_a_verb_with_options_that_exist(script):
    (verb, rest) = re.search(
        r"(?:\"\$TILESPEC\"|\{TILESPEC:-tilespec\}\") (\w+) \"\$@\"(.*)", script.read_text()
    ).groups()
    assert set(re.findall(r"--[a-z-]+", rest)) <= options(verb)


def stages(folder, **settings):
    """Return the commands of the reference run, which a program that only prints its arguments takes."""
    program = folder / "tilespec"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >> "$COMMANDS"\n')
    program.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "COMMANDS": str(folder / "commands"), "ROOT": str(folder / "run")}
    subprocess.run(["bash", ROOT / "cluster" / "pipeline.sh"], env=env | settings, check=True, capture_output=True)
    return [shlex.split(line) for line in (folder / "commands").read_text().splitlines()]


def test_the_reference_run_goes_to_any_cluster(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = (
        stages(tmp_path / "here"),
        stages(tmp_path / "there", CLUSTER="tls://head:8786", WORKERS="8", RANKS="2"),
    )
    assert [words[0] for words in here] == [words[0] for words in there]
    assert not any("--cluster" in words for words in here)
    shared = {words[0]: words[words.index("--cluster") + 1 :] for words in there if "--cluster" in words}
    assert set(shared) == {"fit", "train", "predict", "baseline"}
    assert {rest[0] for rest in shared.values()} == {"tls://head:8786"}
    workers = {words[0]: words[words.index("--workers") + 1] for words in there if "--workers" in words}
    assert workers == {"fit": "8", "train": "2", "predict": "8", "baseline": "8"}
    for words in here + there:
        assert {word for word in words if word.startswith("--")} <= options(words[0])


def test_the_job_of_kubernetes_is_indexed_and_its_pods_predict_together_without_rights():
    job = yaml.safe_load((ROOT / "cluster" / "predict-job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] > 1
    (container,) = spec["template"]["spec"]["containers"]
    verb, *rest = container["args"]
    assert {word for word in rest if word.startswith("--")} <= options(verb)
    assert "--join" in rest
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_image_installs_what_the_project_names():
    lines = (ROOT / "cluster" / "Containerfile").read_text()
    sources = re.findall(r"^COPY (.*) \S+$", lines, re.MULTILINE)
    assert all((ROOT / name).exists() for line in sources for name in line.split())
    extra = re.search(r"/src\[(\w+)\]", lines)[1]
    assert re.search(rf"^{extra} = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert Path(ROOT / "constraints.txt").exists()


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "cluster" / "torchrun.sh"], ids=lambda path: path.name)
def test_what_is_given_to_a_script_is_no_command_of_the_shell(tmp_path, script):
    """Faults, row 40: names with ``$(...)``, blanks and quotes reach the verb as they are, and nothing of them runs."""
    said, canary = tmp_path / "said", tmp_path / "canary"
    recorder = tmp_path / "recorder"
    recorder.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > "{said}"\n')
    recorder.chmod(0o755)
    for name in ("srun", "torchrun"):  # each gets the command after its own options
        (tmp_path / name).write_text(f'#!/bin/sh\nexec "{recorder}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    evil = [f"$(touch {canary})", f"`touch {canary}`", f"; touch {canary}", "two words", "a \"quote\" 'more'", "*"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TILESPEC": str(recorder), "SLURM_JOB_ID": "1"}
    subprocess.run(["bash", str(script), *evil], check=True, env=env, cwd=tmp_path, capture_output=True)
    words = said.read_text().split("\0")
    at = words.index(evil[0])
    assert words[at : at + len(evil)] == evil
    assert not canary.exists()
