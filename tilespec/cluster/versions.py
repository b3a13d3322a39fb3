"""Versions: what scheduler and workers have installed is compared with what the client has, before any work."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tilespec.core.errors import UserError

EVERYBODY: Final = ("python", "dask", "distributed", "cloudpickle", "msgpack", "toolz", "tornado")
"""What client, scheduler and workers need in the same version to understand each other."""
WORKERS: Final = ("tilespec", "numpy", "scipy", "torch", "zarr", "numcodecs")
"""What decides the bytes of a result, on client and workers."""
SHOWN: Final = 3
"""The number of parts of a version that count, such as 3.11.7."""


def check_versions(where: str, versions: Callable[[], Mapping[str, Any]]) -> None:
    """Compare the versions that ``versions`` returns, the answer of ``client.get_versions(packages=WORKERS)``.

    Builds of one version (``2.13.0+cpu``, ``2.13.0+cu130``) are the same version.

    Raises:
        UserError: scheduler or workers have another version of a package; the message lists each package.
    """
    known = versions()
    client, scheduler = known["client"]["packages"], known["scheduler"]["packages"]
    others = [(scheduler, "the scheduler", EVERYBODY)]
    others += [(each["packages"], "a worker", EVERYBODY + WORKERS) for each in known["workers"].values() if each]
    differences = dict.fromkeys(
        f"{name} {_plain(client.get(name))} here and {_plain(packages.get(name))} on {whose}"
        for packages, whose, names in others
        for name in names
        if _plain(client.get(name)) != _plain(packages.get(name))
    )
    if differences:
        raise UserError(
            f"--cluster {where}",
            found="; ".join(differences),
            expected="the same versions everywhere",
            do="Install the same environment for client, scheduler and workers, or start them from one image.",
        )


def _plain(version: str | None) -> str:
    """Return a version without the name of its build, ``no version`` where a package is missing."""
    return ".".join(version.partition("+")[0].split(".")[:SHOWN]) if version else "no version"
