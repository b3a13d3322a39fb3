"""Init TLS: the certificates of a private cluster in a folder, and the lines that make Dask use them."""

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tilespec.cluster.certificates import CA, ROLES, certificates, host_names
from tilespec.cluster.options import ClusterInitTlsOptions
from tilespec.core.errors import UserError
from tilespec.core.options import with_options
from tilespec.core.progress import Progress

CONFIG: Final = "dask.yaml"
"""The file with the lines for Dask's configuration."""


@with_options(ClusterInitTlsOptions)
def cluster_init_tls(folder: str, *, options: ClusterInitTlsOptions, progress: Progress) -> dict[str, Any]:
    """Make a private CA and the certificates of a Dask cluster in ``folder``, and say which lines use them.

    The keys are readable by their owner only. The key of the CA is not stored. ``dask.yaml`` holds the lines for Dask's
    configuration; the environment variable ``DASK_CONFIG=FOLDER/dask.yaml`` makes Dask read it.

    Args:
        folder: The folder; it is made, or it is empty.
        options: The hosts and the days; given by name.
        progress: Nothing is counted: it takes a moment.

    Returns ``folder, files, hosts, expires, config, scheduler, worker, client``: the last four are the lines.

    Raises:
        UserError: the folder holds something, a host is none, or the package ``cryptography`` is missing.
    """
    del progress
    place = _place(folder)
    hosts = host_names(options.hosts)
    lines = lines_of(place, hosts[0])
    files = certificates(hosts, options.days) | {CONFIG: lines["config"].encode()}
    if not options.dry_run:
        write_files(place, files)
    expires = datetime.now(UTC) + timedelta(days=options.days)
    return {
        "folder": str(place),
        "files": sorted(files),
        "hosts": list(hosts),
        "expires": expires.isoformat(timespec="seconds"),
        **lines,
    }


def lines_of(place: Path, host: str) -> dict[str, str]:
    """Return the lines for Dask's configuration, and those that start scheduler, workers and client."""
    roles = "".join(
        f"      {role}: {{cert: {_at(place, role, 'crt')}, key: {_at(place, role, 'key')}}}\n" for role in ROLES
    )
    ca = f"    tls:\n      ca-file: {_quoted(place / CA)}\n"
    config = f"distributed:\n  comm:\n    require-encryption: true\n{ca}{roles}"
    address = f"tls://{f'[{host}]' if ':' in host else host}:8786"
    start = shlex.join(["dask", "scheduler", "--protocol", "tls", "--port", "8786"])
    return {
        "config": config,
        "scheduler": f"{start}{_flags(place, 'scheduler')} \\\n  --dashboard-address 127.0.0.1:8787",
        "worker": f"dask worker {address}{_flags(place, 'worker')} \\\n  --nthreads 1 --dashboard-address 127.0.0.1:0",
        "client": f"export DASK_CONFIG={shlex.quote(str(place / CONFIG))}\n"
        f"tilespec predict MODEL SCENE OUT --cluster {address}",
    }


def write_files(place: Path, files: Mapping[str, bytes]) -> None:
    """Write files that their owner alone may read, all or none, into a new or empty folder.

    Raises:
        UserError: the folder holds something.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))  # for its owner alone
    try:
        for name, data in files.items():
            with open(beside / name, "xb", opener=_private) as file:
                file.write(data)
        beside.rename(place)  # fails where the folder holds something, however it came there
    except OSError as error:
        raise _occupied(place, error.strerror) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _private(path: str, flags: int) -> int:
    """Open a file with the rights of its owner alone, whatever the umask is."""
    return os.open(path, flags, 0o600)


def _place(folder: str) -> Path:
    """Return the folder; refuse one that is none, or that holds something."""
    if "://" in folder:
        raise UserError(folder, found="an address", expected="a folder of this machine", do="Keys belong in no bucket.")
    place = Path(folder).absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise _occupied(place, "it holds something" if place.is_dir() else "it is a file")
    return place


def _occupied(place: Path, why: object) -> UserError:
    return UserError(
        place,
        found=f"no place for new keys: {why}",
        expected="a new or an empty folder",
        do="Keys are never replaced: give another folder, or remove this one if nobody uses its keys.",
    )


def _flags(place: Path, role: str) -> str:
    """Return the options of Dask's commands that name the files of a role."""
    pairs = {"ca-file": place / CA, "cert": place / f"{role}.crt", "key": place / f"{role}.key"}
    return "".join(f" \\\n  --tls-{name} {shlex.quote(str(path))}" for name, path in pairs.items())


def _at(place: Path, role: str, end: str) -> str:
    return _quoted(place / f"{role}.{end}")


def _quoted(path: Path) -> str:
    """Return a path as YAML reads it in any place."""
    return json.dumps(str(path))
