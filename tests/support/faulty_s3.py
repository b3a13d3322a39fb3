"""An S3 server that fails on demand: a small WSGI proxy in front of a real one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection

from werkzeug.serving import WSGIRequestHandler, make_server

DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no</Message></Error>',
    {"AccessDenied": "403 Forbidden", "RequestTimeTooSkewed": "403 Forbidden", "SlowDown": "503 Slow Down"},
)
HOPS = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Faulty:
    """A WSGI application that hands requests on to the server at ``port``, but for those that meet a fault."""

    port: int
    faults: list[tuple[str, str, int]] = field(default_factory=list)
    """Method and end of a path ("GET c/0/0/0"; "" is any), what happens, how often."""
    met: list[str] = field(default_factory=list)
    """What happened, in order."""
    asked: list[str] = field(default_factory=list)
    """All requests."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ, start_response):
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        fault = self._fault(method, path)
        if fault in DENIED[1]:
            start_response(DENIED[1][fault], [("Content-Type", "application/xml")])
            return [b"" if method == "HEAD" else DENIED[0] % fault.encode()]
        status, headers, answer = self.hand_on(method, path + (f"?{query}" if query else ""), body, environ)
        if fault == "timeout":  # it was done, and nobody heard
            time.sleep(1.2)
        start_response(status, headers)
        return [b"" if method == "HEAD" else answer[: len(answer) // 2] if fault == "truncated" else answer]

    def _fault(self, method, path):
        with self.lock:
            self.asked.append(f"{method} {path}")
            for i, (where, what, left) in enumerate(self.faults):
                wanted, _, end = where.partition(" ")
                if left and wanted in {"", method} and path.endswith(end):
                    self.faults[i] = (where, what, left - 1)
                    self.met.append(what)
                    return what
        return None

    def hand_on(self, method, target, body, environ):
        headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
        headers |= {"content-type": environ["CONTENT_TYPE"]} if environ.get("CONTENT_TYPE") else {}
        link = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            link.request(method, target, body or None, headers)
            found = link.getresponse()
            answer = found.read()
        finally:
            link.close()
        kept = [(k, v) for k, v in found.getheaders() if k.lower() not in HOPS]
        if method != "HEAD" and "content-length" not in {k.lower() for k, _ in kept}:
            kept.append(("Content-Length", str(len(answer))))
        return f"{found.status} {found.reason}", kept, answer


class _Silent(WSGIRequestHandler):
    def log(self, *_args):
        """Say nothing."""


@contextmanager
def faulty(port: int) -> Iterator[tuple[Faulty, str]]:
    """Yield a proxy of the server at ``port`` and its URL."""
    app = Faulty(port)
    with serving(app) as url:
        yield app, url


@contextmanager
def serving(app: Faulty) -> Iterator[str]:
    """Serve an application on loopback; yield its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
