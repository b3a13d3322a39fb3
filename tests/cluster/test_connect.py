"""Only encrypted addresses leave the machine, no mistake in one is a traceback, and workers import no script."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from distributed import Client, get_worker
from distributed.comm import CommClosedError
from hypothesis import given
from hypothesis import strategies as st
from untrained_models import save_model

from tilespec.cluster import connect as module
from tilespec.cluster.connect import connect
from tilespec.cluster.worker_plugin import Settings, UserModules
from tilespec.core.errors import IncompleteError, UserError

PLAIN = st.sampled_from(["ws", "wss", "ucx", "ucxx", "inproc", "http", "https", "udp", "tcp+x", "TCPS", "file"])
AWAY = st.sampled_from(["10.0.0.1:8786", "127.0.0.2:8786", "example.com:8786", "localhost.evil:1", "[fe80::1]:9"])


def refused(address, why=""):
    """An address is refused as such, and not because nobody answers there."""
    with pytest.raises(UserError, match=rf"^--cluster .*{why}") as caught, connect(0, address):
        pass
    assert "SECRET" not in str(caught.value)


@given(PLAIN, st.sampled_from(["127.0.0.1:9", "localhost:9"]) | AWAY)
def test_no_other_scheme_is_spoken(scheme, host):
    refused(f"{scheme}://{host}", "found the scheme")


@given(AWAY)
def test_nothing_plain_leaves_the_machine(host):
    refused(f"tcp://{host}", "another machine")


@pytest.mark.parametrize(
    "address",
    [
        "tcp://user:SECRET@127.0.0.1:9",
        "tls://user:SECRET@host:9",
        "tls://host",
        "tls://host:port",
        "tls://host:99999999",
        "tcp://",
        "://",
        "tcp://[::1",
        "tls://host:9/path",
        "tls://host:9?token=SECRET",
        "os:getcwd",
        "os:environ",
        "math:sqrt",
    ],
)
def test_an_address_that_is_none_and_a_path_that_is_no_cluster_are_messages(address):
    refused(address)


def dying(monkeypatch, deaths):
    """Let a worker die as each of the first calls asks all workers."""
    whole, asked = Client.register_plugin, []

    def register(client, plugin):
        asked.append(type(plugin).__name__)
        if len(asked) <= deaths:
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            raise CommClosedError("Stream is closed")
        return whole(client, plugin)

    monkeypatch.setattr(Client, "register_plugin", register)
    return asked


def test_a_worker_that_dies_while_all_are_told_is_started_again_and_told(monkeypatch):
    asked = dying(monkeypatch, deaths=1)
    with connect(1, None) as client:
        assert {Settings.name, UserModules.name} <= set(client.submit(lambda: list(get_worker().plugins)).result(60))
    assert asked == ["Settings", "Settings", "UserModules"]


def test_workers_that_die_whenever_they_are_told_are_a_message(monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    dying(monkeypatch, deaths=10)
    with pytest.raises(IncompleteError, match="again and again"), connect(2, None):
        pass


SCRIPT = """
from tilespec import api
print(api.predict({model!r}, {scene!r}, {out!r}, workers=2, tile=16)["status"])
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("source", ["file", "standard input"])
def test_workers_need_no_main_guard(make_scene, tmp_path, source):
    scene = make_scene(tmp_path / "scene", 48, 40, 5)
    text = SCRIPT.format(model=save_model(tmp_path / "model", scene), scene=scene, out=str(tmp_path / "out"))
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    word, given_text = (str(script), None) if source == "file" else ("-", text)
    words = [sys.executable, word]
    done = subprocess.run(words, check=False, input=given_text, capture_output=True, text=True, timeout=150)
    assert (done.returncode, done.stdout) == (0, "complete\n"), done.stderr
