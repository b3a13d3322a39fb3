"""A real Slurm of one node, which tests start.

It needs root, and `slurm-wlm` and `munge` of Debian (or the same programs elsewhere). It listens on this machine only.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_processes import environment

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
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=3
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4096 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A Slurm of one node that runs."""

    folder: Path
    start: Callable[[str], subprocess.Popen]
    """The function that starts one of its daemons."""
    daemons: dict[str, subprocess.Popen]

    def restart(self, name):
        """End a daemon and start it again; its jobs run on."""
        self.daemons[name].terminate()
        self.daemons[name].wait()
        self.start(name)

    def ask(self, *words, **options):
        """Run one of its commands and return what it prints."""
        env = environment(SLURM_CONF=str(self.folder / "slurm.conf"), **options)
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    def state(self, job):
        """Return the state of a job, such as ``RUNNING``, and how often it was queued again."""
        words = dict(word.partition("=")[::2] for word in self.ask("scontrol", "show", "job", job).split())
        return words["JobState"], int(words["Restarts"])

    def running(self):
        """Return the numbers of jobs that run."""
        return self.ask("squeue", "-h", "-t", "running", "-o", "%A").split()

    def idle(self):
        """Return whether the node has nothing to do, nor to clean up."""
        return self.ask("sinfo", "-h", "-o", "%T").strip() == "idle"

    def until(self, condition, seconds=180):
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, (self.folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.2)


def job_settings(slurm, **others):
    """Return the environment of a command whose workers are jobs of one core."""
    chosen = {"cores": 1, "memory": "1GB", "processes": 1, "interface": "lo", "walltime": "00:30:00"}
    chosen |= {"log_directory": str(slurm.folder / "logs")} | others
    named = {f"DASK_JOBQUEUE__SLURM__{key.upper()}": str(value) for key, value in chosen.items()}
    return named | {"SLURM_CONF": str(slurm.folder / "slurm.conf")}


def driver_in(folder, program="-m tilespec"):
    """Return a command like `tilespec` that runs this interpreter."""
    driver = folder / "tilespec"
    driver.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    driver.chmod(0o755)
    return driver


def free(number):
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in found]


@contextmanager
def one_node(folder):
    """Yield a Slurm of one node in a new folder; skip the test where its programs or the rights are missing."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: install slurm-wlm and munge")
    if os.geteuid() != 0:
        pytest.skip("a Slurm of one's own needs root")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for above in (folder, *folder.parents[:2]):
        above.chmod(above.stat().st_mode | 0o755)  # munge refuses what others cannot reach
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONFIG.format(host=host, folder=folder, ports=free(2)))
    plain = ["--force", "-F", "-S", f"{folder}/munge.socket", f"--key-file={key}", f"--pid-file={folder}/munged.pid"]
    plain += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
    conf = ["-D", "-f", f"{folder}/slurm.conf"]
    commands = {"munged": plain, "slurmctld": conf, "slurmd": [*conf, "-N", host]}
    with ExitStack() as stack:

        def start(name):
            log = stack.enter_context((folder / f"{name}.log").open("ab"))
            found.daemons[name] = process = subprocess.Popen(
                [name, *commands[name]], stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            time.sleep(1)

        found = Slurm(folder=folder, start=start, daemons={})
        for name in commands:
            start(name)
        found.until(found.idle, 60)
        yield found
