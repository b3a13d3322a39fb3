"""Slurm: workers are jobs, by dask-jobqueue; jobs that end are replaced, and every connection is encrypted.

All settings are those of dask-jobqueue, in the section ``jobqueue.slurm`` of Dask's configuration;
docs/many-machines.md has a table. This file adds what they lack: certificates, an end before Slurm's, and new jobs for
lost ones.
"""

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tilespec.cluster.certificates import EXTRA, ROLES, certificates, host_names
from tilespec.cluster.security import cluster_security, has_certificates
from tilespec.cluster.submit import PATIENCE_KEY
from tilespec.core.errors import IncompleteError, UserError

SECTION: Final = "jobqueue.slurm"
"""The section of Dask's configuration with the settings."""
PAGES: Final = "127.0.0.1:0"
"""The address of dashboards: any free port, on loopback only."""
NAMES: Final = {"name": "job_name", "queue": "queue", "account": "account"}
"""The settings that are names, and the arguments of dask-jobqueue for them."""
UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\\]")
"""What no name may have: Slurm reads a line for each option, and drops backslashes."""
EVERY: Final = 10.0
"""The seconds between two looks for jobs that have ended."""
DAYS: Final = 30
"""The days for which temporary certificates are valid."""
SHARE: Final = 0.9
"""Workers end by themselves after this share of the time of their job."""
STAGGER: Final = 0.05
"""The share of that time by which they end earlier or later, so that not all of them end at the same moment."""
WAIT: Final = 7 * 24 * 3600
"""The seconds for which the work waits without any worker, because its jobs wait in the queue."""
CLOCK: Final = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
"""How Slurm writes a span of time."""


@contextmanager
def slurm(workers: int) -> Iterator[Any]:
    """Yield a client of ``workers`` workers, or some more, in jobs of Slurm, as soon as the first worker is there.

    Raises:
        UserError: dask-jobqueue is missing, or a setting is missing or unfit.
        IncompleteError: all jobs ended before a worker came.
    """
    import dask
    from distributed import Client

    cluster_class = _cluster_class()
    with ExitStack() as stack:
        settings = {
            key.replace("_", "-"): value for key, value in dask.config.get(SECTION).items()
        }  # of the environment
        stack.enter_context(dask.config.set({PATIENCE_KEY: dask.config.get(PATIENCE_KEY, WAIT)}))
        shared = settings["shared-temp-directory"] or str(Path.cwd())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".tilespec-slurm-", dir=shared))
        options = job_options(settings) | {"security": _security(), "shared_temp_directory": folder}
        _check_words(folder, options["security"])
        cluster = stack.enter_context(cluster_class(silence_logs="critical", **options))
        _check_job(cluster.job_script())
        cluster.scale(workers)
        stack.enter_context(_replacing(cluster, workers))
        client = stack.enter_context(Client(cluster))
        _wait_for_worker(cluster, client, settings["log-directory"])
        yield client


def _cluster_class() -> Any:
    """Return the class of clusters of dask-jobqueue."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise UserError(
            "--cluster slurm", found="no package `dask-jobqueue`", expected="the extra `cluster`", do=EXTRA
        ) from error
    return SLURMCluster


def job_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `dask_jobqueue.SLURMCluster` that differ from the settings as they are.

    Names are quoted for the lines of Slurm, and the interpreter for the shell; workers end before their jobs do.

    Raises:
        UserError: cores or memory are missing, or a name or the time of a job is unfit.
    """
    missing = [f"no {SECTION}.{name}" for name in ("cores", "memory") if settings.get(name) is None]
    if missing:
        raise UserError(
            "--cluster slurm",
            found=f"{', '.join(missing)} in Dask's configuration",
            expected="the cores and the memory of one job",
            do="Set them in ~/.config/dask/jobqueue.yaml, or in the environment, such as "
            "DASK_JOBQUEUE__SLURM__CORES=8; docs/many-machines.md has a table of all settings.",
        )
    names = {argument: _name(key, settings.get(key)) for key, argument in NAMES.items()}
    extra = list(settings.get("worker-extra-args") or [])
    extra += [] if "--lifetime" in extra else life_time(settings.get("walltime"))
    return {
        **{argument: name for argument, name in names.items() if name is not None},
        "python": shlex.quote(settings.get("python") or sys.executable),
        "worker_extra_args": [*extra, "--dashboard-address", PAGES],
        "scheduler_options": {**(settings.get("scheduler-options") or {}), "dashboard_address": PAGES},
        "protocol": "tls://",
    }


def life_time(walltime: object) -> list[str]:
    """Return the arguments that end a worker before Slurm ends its job after ``walltime``; none without a limit."""
    if walltime is None:
        return []
    seconds = seconds_of(str(walltime))
    return ["--lifetime", f"{SHARE * seconds:.0f}s", "--lifetime-stagger", f"{STAGGER * seconds:.0f}s"]


def seconds_of(walltime: str) -> int:
    """Return the seconds of a span of time as Slurm writes it.

    It writes ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` or ``D-H:M:S``.

    Raises:
        UserError: it is none.
    """
    match = CLOCK.fullmatch(walltime.strip())
    if match is None:
        raise UserError(
            f"{SECTION}.walltime",
            found=repr(walltime),
            expected="a time as Slurm writes it, such as 02:00:00 or 1-12",
            do="Quote it in YAML, which takes 2:00 for a number.",
        )
    parts = [int(part) for part in match.group("first", "second", "third") if part is not None]
    if match["days"] is None and len(parts) < 3:  # minutes, and perhaps seconds
        parts = [0, *parts]
    hours, minutes, seconds = [*parts, 0, 0][:3]
    return ((int(match["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _name(key: str, name: str | None) -> str | None:
    """Return a name as one word of a line of Slurm's, whatever it holds."""
    if name is not None and (UNFIT.search(str(name)) or not str(name)):
        raise UserError(
            f"{SECTION}.{key}",
            found=repr(name),
            expected="a name on one line without a backslash",
            do="Correct it in Dask's configuration.",
        )
    return None if name is None else shlex.quote(str(name))


def _security() -> Any:
    """Return the certificates that Dask's configuration names, or those of a new CA for this run alone."""
    from distributed import Security

    if has_certificates():
        return cluster_security("slurm", tuple(ROLES))
    files = {name: data.decode() for name, data in certificates(host_names(None), DAYS).items()}
    parts = {f"tls_{role}_cert": files[f"{role}.crt"] for role in ROLES}
    parts |= {f"tls_{role}_key": files[f"{role}.key"] for role in ROLES}
    return Security(require_encryption=True, tls_ca_file=files["ca.crt"], **parts)


def _check_words(folder: str, security: Any) -> None:
    """Refuse paths of certificates that are more than one word for the shell of a job: dask-jobqueue quotes none."""
    files = security.get_tls_config_for_role("worker")
    paths = [folder, *(files[key] for key in ("ca_file", "cert", "key") if files[key] and "\n" not in files[key])]
    for path in paths:
        if shlex.quote(path) != path:
            raise UserError(
                "--cluster slurm",
                found=f"certificates for the jobs in {path!r}",
                expected="a path without blanks and quotes",
                do=f"Set {SECTION}.shared-temp-directory to a folder that all nodes see, or move the certificates.",
            )


def _check_job(script: str) -> None:
    """Refuse a job that Slurm would not take; nothing is submitted."""
    program = shutil.which("sbatch")
    if program is None:
        raise UserError("--cluster slurm", found="no sbatch", expected="Slurm", do="Run this on a machine of a Slurm.")
    words = [program, "--test-only"]
    done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)  # noqa: S603 - Slurm's own
    if done.returncode:
        raise UserError(
            "--cluster slurm",
            found=f"a job that Slurm does not take: {done.stderr.strip()}",
            expected="a job with a partition, an account, a time and resources that exist",
            do=f"Correct {SECTION} in Dask's configuration.",
        )


@contextmanager
def _replacing(cluster: Any, workers: int) -> Iterator[None]:
    """Open a block in which jobs that have ended, however they did, are replaced by new ones."""

    async def replace_ended() -> None:
        while True:
            await asyncio.sleep(EVERY)
            for name in await _ended(cluster):
                cluster.workers.pop(name, None)
                cluster.worker_spec.pop(name, None)
            cluster.scale(workers)

    async def start() -> Any:
        return asyncio.ensure_future(replace_ended())

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    task = cluster.sync(start)
    try:
        yield
    finally:
        cluster.sync(end)


async def _ended(cluster: Any) -> list[Any]:
    """Return the names of jobs that Slurm does not know, or did not take; none when Slurm does not answer."""
    jobs = {name: job.job_id for name, job in cluster.workers.items()}  # before Slurm is asked: it knows none of later
    try:
        process = await asyncio.create_subprocess_exec(
            *("squeue", "--noheader", "--me", "--format=%A"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        out, _ = await process.communicate()
    except OSError:
        return []
    known = out.decode().split()
    return [name for name, job in jobs.items() if job not in known] if process.returncode == 0 else []


def _wait_for_worker(cluster: Any, client: Any, logs: str | None, pause: Callable[[float], None] = time.sleep) -> None:
    """Wait until a worker has come, as long as a job waits or runs."""
    first = _jobs(cluster)
    while not client.scheduler_info(n_workers=-1)["workers"]:
        pause(1.0)
        first = first or _jobs(cluster)
        if first and not set(first) & set(_jobs(cluster)):
            raise IncompleteError(
                f"all jobs of Slurm ({', '.join(map(str, first.values()))}) ended before a worker came. "
                f"Their output is in {logs or 'slurm-JOB.out of this folder'}: look there why."
            )


def _jobs(cluster: Any) -> dict[Any, Any]:
    """Return the names of jobs that were submitted, and their numbers in Slurm."""
    return {name: job.job_id for name, job in dict(cluster.workers).items() if job.job_id}
