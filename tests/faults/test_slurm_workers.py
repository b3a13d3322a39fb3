"""Workers that are jobs of a real Slurm: one is cancelled, another takes its place, and the bytes are the same."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from fault_processes import Arena, Run, contents, leftovers, listening, predict, records
from hypothesis import given
from hypothesis import strategies as st
from slurm_node import job_settings, one_node

from tilespec.cluster.slurm import job_options, seconds_of
from tilespec.core.errors import UserError

pytest.importorskip("dask_jobqueue", reason="no package dask-jobqueue: pip install 'tilespec[cluster]'")
NAME = "tile $(touch canary) `touch canary`"
SETTINGS = {"cores": 2, "memory": "4GB", "walltime": "01:00:00"}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_node(tmp_path_factory.mktemp("slurm")) as node:
        yield node


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("jobs"), make_scene)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_job_that_is_cancelled_is_replaced_and_the_bytes_are_those_of_one_process(slurm, arena, tmp_path):
    out, logs = arena.folder / "out", tmp_path / "log"
    asked = predict(arena, out, "--cluster", "slurm", "--workers", 2)
    quick = {"tilespec.cluster.slurm.EVERY": 1.0}
    run = Run.start(logs, *asked, sleep=0.8, constants=quick, **job_settings(slurm, name=NAME))
    assert run.until(lambda: records(out) >= 2, 200), run.err.read_text()
    first = slurm.running()
    assert slurm.ask("squeue", "-h", "-o", "%j").splitlines()[0] == NAME
    everybody = [psutil.Process(run.process.pid), *workers_of(run)]
    assert listening(everybody) == {"127.0.0.1"}
    slurm.ask("scancel", "--signal=KILL", "--full", first[0])
    assert run.until(lambda: len(set(slurm.running()) - {*first}) == 1, 100), run.err.read_text()
    code, result, errors = run.wait(300)
    assert code == 0, errors
    assert result["status"] == "complete"
    assert contents(out) == arena.whole
    assert leftovers(out) == []
    slurm.until(lambda: slurm.ask("squeue", "-h") == "", 60)
    assert not [path for path in Path.cwd().iterdir() if path.name.startswith((".tilespec-slurm", "canary"))]


def workers_of(run):
    """Return the processes of jobs, which are children of Slurm's and not of the command."""
    named = [each for each in psutil.process_iter(["cmdline"]) if "dask_worker" in " ".join(each.info["cmdline"] or [])]
    port = {one.laddr.port for one in psutil.Process(run.process.pid).net_connections("inet") if one.status == "LISTEN"}
    ours = [each for each in named if any(f":{number} " in " ".join(each.info["cmdline"]) for number in port)]
    assert len(ours) >= 2
    return [process for each in ours for process in (each, *each.children(recursive=True)) if listens(process)]


def listens(process):
    return any(one.status == "LISTEN" for one in process.net_connections("inet"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("others", "code", "said"),
    [
        ({"queue": "no $(touch canary)"}, 2, "a job that Slurm does not take.*invalid partition"),
        ({"python": "/bin/false"}, 3, "ended before a worker came.*logs"),
    ],
    ids=["a partition that does not exist", "workers that cannot start"],
)
def test_jobs_that_cannot_work_are_a_message(slurm, arena, tmp_path, others, code, said):
    asked = predict(arena, tmp_path / "out", "--cluster", "slurm", "--workers", 1)
    quick = {"tilespec.cluster.slurm.EVERY": 1.0}
    chosen = job_settings(slurm, name=NAME, **others)
    found, _, errors = Run.start(tmp_path / "log", *asked, constants=quick, **chosen).wait(200)
    assert found == code, errors
    assert re.search(said, errors), errors
    assert not Path("canary").exists()


@given(st.integers(0, 40), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_time_is_read_as_slurm_writes_it(days, hours, minutes, seconds):
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert seconds_of(f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}") == whole
    assert seconds_of(f"{days}-{hours}:{minutes}") == whole - seconds
    assert seconds_of(f"{days}-{hours}") == whole - seconds - 60 * minutes
    assert seconds_of(f"{hours}:{minutes:02d}:{seconds:02d}") == whole - 86400 * days
    assert seconds_of(f"{minutes}:{seconds}") == 60 * minutes + seconds
    assert seconds_of(str(minutes)) == 60 * minutes


def test_workers_end_before_their_job_and_a_life_time_of_the_users_own_counts():
    extra = job_options(SETTINGS)["worker_extra_args"]
    life, spread = (int(extra[extra.index(word) + 1][:-1]) for word in ("--lifetime", "--lifetime-stagger"))
    assert life + spread < 3600 - 60, "a minute at least is left for what is in flight"
    own = job_options(SETTINGS | {"worker-extra-args": ["--lifetime", "5m"]})["worker_extra_args"]
    assert own[:2] == ["--lifetime", "5m"]
    assert own.count("--lifetime") == 1
    assert "--lifetime" not in job_options(SETTINGS | {"walltime": None})["worker_extra_args"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\\"), min_size=1))
def test_names_are_one_word_whatever_they_hold(name):
    options = job_options(SETTINGS | {"name": name, "queue": name, "account": name})
    assert [shlex.split(options[key]) for key in ("job_name", "queue", "account")] == [[name]] * 3


@pytest.mark.parametrize("key", ["name", "queue", "account"])
@pytest.mark.parametrize("name", ["a\nrm -rf /", "a\\b", "", "a\x00b"])
def test_a_name_of_two_lines_is_refused(key, name):
    with pytest.raises(UserError, match=rf"jobqueue\.slurm\.{key}: found"):
        job_options(SETTINGS | {key: name})


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"cores": None}, r"no jobqueue\.slurm\.cores in Dask"),
        ({"cores": None, "memory": None}, r"cores, no jobqueue\.slurm\.memory.*a table of all settings"),
        ({"walltime": "tomorrow"}, r"jobqueue\.slurm\.walltime: found 'tomorrow'"),
    ],
)
def test_settings_that_are_missing_or_wrong_are_named(others, said):
    with pytest.raises(UserError, match=said):
        job_options(SETTINGS | others)


def test_dashboards_are_on_loopback_even_where_the_settings_have_them_elsewhere():
    options = job_options(SETTINGS | {"scheduler-options": {"dashboard_address": ":8787", "port": 8786}})
    assert options["scheduler_options"] == {"dashboard_address": "127.0.0.1:0", "port": 8786}
    extra = options["worker_extra_args"]
    assert extra[extra.index("--dashboard-address") + 1] == "127.0.0.1:0"


def test_the_script_of_a_job_has_names_that_no_shell_runs(tmp_path):
    """The shell that runs the script of a job sees names in comments only: a canary stays away."""
    from dask_jobqueue.slurm import SLURMJob

    canary = tmp_path / "canary"
    bad = f"$(touch {canary}) `touch {canary}`; touch {canary} #"
    options = job_options(SETTINGS | {"name": bad, "queue": bad, "account": bad, "python": "/bin/true"})
    names = {key: options[key] for key in ("job_name", "queue", "account", "python", "worker_extra_args")}
    script = SLURMJob("tls://127.0.0.1:9", name="worker", cores=1, memory="1GB", **names).job_script()
    assert sum(line.startswith("#SBATCH") and str(canary) in line for line in script.splitlines()) == 3
    done = subprocess.run(
        ["bash"], input=script, text=True, check=False, cwd=tmp_path, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 0
    assert not canary.exists()
    assert sys.executable not in script
