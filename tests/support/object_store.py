"""A real S3 server for tests, and what they ask of it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from faulty_s3 import faulty
from moto.server import ThreadedMotoServer

VARIABLES = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "opensesame", "AWS_REGION": "us-east-1"}


@contextmanager
def served() -> Iterator[int]:
    """Run an S3 server on loopback; yield its port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


@contextmanager
def reached(port: int) -> Iterator:
    """Point the environment at a proxy of the server with a new bucket; yield the proxy and the bucket's URL."""
    from tilespec.storage.backends.buckets import client

    with faulty(port) as (proxy, url):
        before = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith("AWS_")}
        os.environ.update(VARIABLES, AWS_ENDPOINT_URL=url)
        try:
            bucket = f"bucket-{uuid4().hex[:12]}"
            proxy.hand_on("PUT", f"/{bucket}", b"", {})
            client(bucket)
            yield proxy, f"s3://{bucket}"
        finally:
            for key in [key for key in os.environ if key.startswith("AWS_")]:
                del os.environ[key]
            os.environ.update(before)


def contents(url: str) -> dict[str, bytes]:
    """Return the bytes of all objects of a store, wherever it lies."""
    from tilespec.storage.backends.paths import store_path

    root = store_path(url)
    return {key: (root / key).read_bytes() for key in root.sizes()}


def copied(source: str, to: str) -> str:
    """Copy a store, and its ledger, into a bucket."""
    from tilespec.storage.backends.paths import store_path

    for end in ("", ".tilespec"):
        for path in Path(source + end).rglob("*"):
            if path.is_file():
                (store_path(to + end) / path.relative_to(source + end).as_posix()).write_bytes(path.read_bytes())
    return to


@contextmanager
def places(kind: str, folder: Path, port: int) -> Iterator:
    """Yield a place for the outputs of a test: the ``folder``, or a bucket of its own, by the name of the kind."""
    from tilespec.storage.backends.paths import store_path

    if kind == "folder":
        yield store_path(folder)
        return
    with reached(port) as (_, url):
        yield store_path(f"{url}/place")
