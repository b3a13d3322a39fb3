"""Certificates of one run: what a scheduler, its workers and its clients need to speak TLS with each other."""

import pytest

ROLES = ("SCHEDULER", "WORKER", "CLIENT")
FIELDS = "DASK_DISTRIBUTED__COMM__TLS__"


def certificates(folder):
    """Write an authority with one certificate into a folder; return the variables by which all of Dask finds it."""
    pytest.importorskip("cryptography")
    from distributed.security import Security

    made = Security.temporary()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    key.touch(0o600)
    key.write_text(made.tls_client_key)
    certificate.write_text(made.tls_client_cert)
    names = {f"{role}__KEY": key for role in ROLES} | {f"{role}__CERT": certificate for role in ROLES}
    files = {f"{FIELDS}{name}": str(path) for name, path in {**names, "CA_FILE": certificate}.items()}
    return {**files, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
