"""A real Slurm of one node, started here: the script of `cluster/` trains, heeds its notice, and goes on.

Needs root, and `slurm-wlm` and `munge` of Debian (or the same programs elsewhere). It listens on this machine only.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_processes import environment
from fault_trainings import SLOW, Lesson, same, steps
from locations import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
SCRIPT = ROOT / "cluster" / "train.sbatch"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "sinfo")
CONFIG = """
ClusterName=tilespec
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
KillWait=3
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A Slurm of one node that runs."""

    folder: Path

    def ask(self, *words, **options):
        """Run one of its commands and return what it prints."""
        env = environment(SLURM_CONF=str(self.folder / "slurm.conf"), **options)
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    def state(self, job):
        """Return the state of a job, such as ``RUNNING``, and how often it was queued again."""
        words = dict(word.partition("=")[::2] for word in self.ask("scontrol", "show", "job", job).split())
        return words["JobState"], int(words["Restarts"])

    def idle(self):
        """Return whether the node has nothing to do, nor to clean up."""
        return self.ask("sinfo", "-h", "-o", "%T").strip() == "idle"

    def until(self, condition, seconds=180):
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, (self.folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.2)


def free(number):
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in found]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: install slurm-wlm and munge")
    if os.geteuid() != 0:
        pytest.skip("a Slurm of one's own needs root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)  # munge refuses what others cannot reach
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONFIG.format(host=host, folder=folder, ports=free(2)))
    plain = ["--force", "-F", "-S", f"{folder}/munge.socket", f"--key-file={key}", f"--pid-file={folder}/munged.pid"]
    plain += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
    conf = ["-D", "-f", f"{folder}/slurm.conf"]
    commands = [["munged", *plain], ["slurmctld", *conf], ["slurmd", *conf, "-N", host]]
    found = Slurm(folder=folder)
    with ExitStack() as stack:
        for command in commands:
            log = stack.enter_context((folder / f"{command[0]}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            time.sleep(1)
        found.until(found.idle, 60)
        yield found


@pytest.fixture(scope="module")
def lesson(tmp_path_factory, make_scene):
    return Lesson.learned(tmp_path_factory.mktemp("lesson"), make_scene)


def test_a_job_heeds_its_notice_is_queued_again_and_goes_on(slurm, lesson, tmp_path):
    out, log = lesson.folder / "model", tmp_path / "log"
    driver = tmp_path / "tilespec"
    driver.write_text(f'#!/bin/sh\nexec {sys.executable} -m tilespec "$@"\n')
    driver.chmod(0o755)
    asked = ["--parsable", "--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", f"--output={log}"]
    command = [str(word) for word in lesson.command(out) if word != "--json"]
    job = slurm.ask("sbatch", *asked, str(SCRIPT), *command[1:], sleep=SLOW, TILESPEC=str(driver)).strip()
    slurm.until(lambda: steps(out) >= 4 or slurm.state(job)[0] in {"FAILED", "COMPLETED"})
    assert slurm.state(job)[0] == "RUNNING", log.read_text()
    slurm.ask("scancel", "--signal=USR1", job)
    slurm.until(lambda: slurm.state(job) == ("PENDING", 1) and slurm.idle())
    said = log.read_text()
    assert "SIGUSR1: finishing what is in flight" in said
    assert "not done (exit 130): queued again" in said
    before = steps(out)
    assert before >= 4
    slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    slurm.until(lambda: slurm.state(job)[0] in {"FAILED", "COMPLETED"}, 300)
    assert slurm.state(job)[0] == "COMPLETED", log.read_text() + (slurm.folder / "slurmctld.log").read_text()[-3000:]
    (result,) = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert (result["ranks"], result["resumed_from"], len(result["hosts"])) == (2, before, 2)
    same(out, lesson.whole)
