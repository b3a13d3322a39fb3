"""Certificates: a private CA and what it signs for scheduler, workers and client, in memory.

The key of the CA is used once and stored nowhere: nobody can sign another certificate later. Whoever holds one of the
keys belongs to the cluster, and a client's key opens no server.
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tilespec.core.errors import UserError

ROLES: Final = {"scheduler": ("server", "client"), "worker": ("server", "client"), "client": ("client",)}
"""The roles of a cluster, and the ends of a connection that each may be: workers are called, and call each other."""
CA: Final = "ca.crt"
"""The file with the certificate of the CA, which everybody compares with."""
EXTRA: Final = 'Run `pip install "tilespec[cluster]"`.'
"""What to do where a package of the extra is missing."""
EARLY: Final = timedelta(hours=1)
"""The time for which certificates are already valid when they are made: clocks of machines differ."""
LOOPBACK: Final = ("localhost", "127.0.0.1")
"""The names of a machine for itself."""
NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*")
"""How the name of a host is written."""


def host_names(text: str | None) -> tuple[str, ...]:
    """Return the names and addresses in a text with commas between them; those of this machine for None.

    Raises:
        UserError: one of them is none.
    """
    if text is None:
        return tuple(dict.fromkeys((socket.gethostname(), *LOOPBACK)))
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if _address(name) is None and not NAME.fullmatch(name):
            raise UserError(
                "--hosts",
                found=repr(name),
                expected="names and addresses with commas between, such as node1,node2.example.org,10.0.0.1",
                do="Give no port, no scheme and no wildcard.",
            )
    return names


def certificates(hosts: Sequence[str], days: int) -> dict[str, bytes]:
    """Return the files of a new CA by name, as PEM: ``ca.crt``, and ``ROLE.crt`` and ``ROLE.key`` of each role.

    Args:
        hosts: The names and addresses of scheduler and workers; `host_names` checks them.
        days: The number of days from now for which they are valid.

    Raises:
        UserError: the package ``cryptography`` is missing.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise UserError(
            "certificates", found="no package `cryptography`", expected="the extra `cluster`", do=EXTRA
        ) from error
    pem, until = serialization.Encoding.PEM, datetime.now(UTC) + timedelta(days=days)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    files = {CA: _ca(ca_key, until).public_bytes(pem)}
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        files[f"{role}.crt"] = _signed(ca_key, key.public_key(), role, hosts, until).public_bytes(pem)
        files[f"{role}.key"] = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return files


def _ca(key: Any, until: datetime) -> Any:
    """Return the certificate of a CA, signed by itself."""
    from cryptography import x509

    builder = _builder("CA", key.public_key(), key.public_key(), until)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _finished(builder.add_extension(_usage(signs=True), critical=True), key)


def _signed(ca_key: Any, public_key: Any, role: str, hosts: Sequence[str], until: datetime) -> Any:
    """Return the certificate of a role, signed by the CA; servers have the names of their hosts."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ends = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    builder = _builder(role, public_key, ca_key.public_key(), until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ends[end] for end in ROLES[role]]), critical=False)
    if "server" in ROLES[role]:
        names = [
            x509.DNSName(host) if _address(host) is None else x509.IPAddress(ipaddress.ip_address(host))
            for host in hosts
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _finished(builder, ca_key)


def _builder(name: str, public_key: Any, ca_public_key: Any, until: datetime) -> Any:
    """Return what all certificates have: who, which key, whose signature, and from when until when."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tilespec {text}")])

    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("CA")).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC) - EARLY).not_valid_after(until)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_public_key)
    return builder.add_extension(issuer, critical=False)


def _usage(*, signs: bool) -> Any:
    """Return what a key may do: sign certificates, or sign in the handshake of a connection."""
    from cryptography import x509

    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    no = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **no)


def _finished(builder: Any, key: Any) -> Any:
    """Return a certificate with its signature."""
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _address(name: str) -> Any:
    """Return an IP address, or None for any other text."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
