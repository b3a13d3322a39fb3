"""Servers that stand for Azure and for Google Cloud Storage.

Azure's is Azurite (`npm install azurite`, with `azurite-blob` on the PATH); without it the tests that need it are
skipped. Google's is a stand-in of our own.
"""

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from faulty_s3 import Faulty, serving

ACCOUNT = "devstoreaccount1"
KEY = base64.b64encode(hashlib.sha512(b"a key of our own").digest()).decode()
PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(program: str, *arguments: str, port: int, **environment: str) -> Iterator[None]:
    """Run a server until the block ends; skip the test where the program is not installed."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program} on the PATH")
    server = subprocess.Popen(
        [path, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    try:
        until = time.monotonic() + 60
        while not _listens(port):
            assert server.poll() is None, f"{program} has ended"
            assert time.monotonic() < until, f"{program} does not listen"
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


@contextmanager
def azurite() -> Iterator[int]:
    """Run Azurite on loopback with an account of our own; yield its port."""
    port = _free_port()
    flags = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--disableProductStyleUrl"]
    with running("azurite-blob", *flags, *where, port=port, AZURITE_ACCOUNTS=f"{ACCOUNT}:{KEY}"):
        yield port


class Generations(Faulty):
    """The XML interface of Google Cloud Storage in front of an S3 server: it adds what S3 lacks, generations.

    No emulator that can be installed speaks it (fake-gcs-server has the JSON interface), so this stand-in follows the
    documentation: conditions by ``x-goog-if-generation-match``, and 404 where what is deleted does not exist.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.generations: dict[str, int] = {}
        self.turn = threading.RLock()

    def hand_on(self, method, target, body, environ):
        """Pass a request on, if its condition holds."""
        path, wanted = target.partition("?")[0], environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
        environ = {key: value for key, value in environ.items() if not key.startswith("HTTP_X_GOOG")}
        with self.turn:
            now = self.generations.get(path, 0)
            if wanted is not None and int(wanted) != now:
                return "412 Precondition Failed", [("Content-Length", "0")], b""
            if method == "DELETE" and path.count("/") > 1 and not now:
                return "404 Not Found", [("Content-Length", "0")], b"<Error><Code>NoSuchKey</Code></Error>"
            status, headers, answer = super().hand_on(method, target, body, environ)
            if method == "PUT" and status.startswith("200"):
                self.generations[path] = now = time.time_ns()
            elif method == "DELETE":
                self.generations.pop(path, None)
        return status, [*headers, ("x-goog-generation", str(now))], answer


@contextmanager
def generations(port: int) -> Iterator[str]:
    """Run the stand-in for Google Cloud Storage in front of the S3 server at ``port``; yield its URL."""
    with serving(Generations(port)) as url:
        yield url


@contextmanager
def only(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the variables of a service, and remove those of all services."""
    before = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith(PREFIXES)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key in [key for key in os.environ if key.startswith(PREFIXES)]:
            del os.environ[key]
        os.environ.update(before)


@contextmanager
def azure_container(port: int) -> Iterator[str]:
    """Point the environment at a new container; yield its URL."""
    name, date, version = f"container-{uuid4().hex[:12]}", formatdate(usegmt=True), "2021-12-02"
    signed = "\n".join(
        ["PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}", f"/{ACCOUNT}/{ACCOUNT}/{name}"]
    )
    signed += "\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()).decode()
    head = {"x-ms-date": date, "x-ms-version": version, "Authorization": f"SharedKey {ACCOUNT}:{signature}"}
    urlopen(Request(f"http://127.0.0.1:{port}/{ACCOUNT}/{name}?restype=container", method="PUT", headers=head)).close()
    variables = {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
    }
    with only(variables):
        yield f"az://{name}"


@contextmanager
def gcs_bucket(server: str) -> Iterator[str]:
    """Point the environment at a new bucket; yield its URL."""
    name = f"bucket-{uuid4().hex[:12]}"
    urlopen(Request(f"{server}/{name}", method="PUT")).close()
    with only({"GOOGLE_BASE_URL": server, "GOOGLE_BEARER_TOKEN": "opensesame"}):
        yield f"gs://{name}"
