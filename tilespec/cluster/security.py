"""Security: the certificates that Dask's configuration names, for connections that are encrypted on both ends."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tilespec.core.errors import UserError

PARTS: Final = "distributed.comm.tls"
"""The place of the certificates in Dask's configuration."""
HOW: Final = (
    "`tilespec cluster init-tls FOLDER` makes them; then set DASK_CONFIG=FOLDER/dask.yaml for this command, "
    "and start scheduler and workers with the lines that it prints."
)
"""What to do without certificates."""


def cluster_security(where: str, roles: Sequence[str]) -> Any:
    """Return the `distributed.Security` from Dask's configuration, with the certificates of some roles.

    Raises:
        UserError: a certificate is not named, or its file cannot be read; the message names each.
    """
    from distributed import Security

    security = Security(require_encryption=True)
    names = {f"{PARTS}.ca-file": security.tls_ca_file}
    for role in roles:
        files = security.get_tls_config_for_role(role)
        names[f"{PARTS}.{role}.cert"] = files["cert"]
        names[f"{PARTS}.{role}.key"] = files["key"] or files["cert"]  # a key may follow its certificate
    missing = [f"no {name}" for name, file in names.items() if not file]
    missing += [f"{name} = {file}, which cannot be read" for name, file in names.items() if file and not _is_read(file)]
    if missing:
        raise UserError(
            f"--cluster {where}",
            found=f"{', '.join(missing)} in Dask's configuration",
            expected=f"the certificate of the cluster's CA, and a certificate and a key of {', '.join(roles)}",
            do=HOW,
        )
    return security


def has_certificates() -> bool:
    """Return whether Dask's configuration names certificates."""
    from distributed import Security

    return bool(Security().tls_ca_file)


def _is_read(file: str) -> bool:
    """Return whether a file can be read; a certificate in the configuration itself is one."""
    return "\n" in file or (Path(file).is_file() and os.access(file, os.R_OK))
