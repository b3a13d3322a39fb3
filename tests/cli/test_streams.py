"""Streams that are closed, full, or without a reader change no work; the answer that cannot be printed is a message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tilespec.core.progress import Lines, to_stderr

INFO = [sys.executable, "-m", "tilespec", "info"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("streams") / "scene", 16, 12, 5)


def shell(words, redirections):
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("redirections", "code", "said"),
    [
        (">/dev/full", 2, "No space left on device"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        (">&- 2>&- <&-", 0, ""),
    ],
)
def test_a_stream_that_takes_nothing_is_no_traceback(scene, redirections, code, said):
    done = shell([*INFO, scene], redirections)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(scene):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*INFO, scene], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_answer_in_letters_that_the_locale_lacks_is_printed(make_scene, tmp_path):
    scene = make_scene(tmp_path / "Wälder", 16, 12, 5)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([*INFO, scene], env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


class Broken:
    """A stream of every kind of failure."""

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error

    def isatty(self):
        return False


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), OSError(5, "EIO"), ValueError("closed")])
def test_progress_goes_on_in_silence(monkeypatch, error):
    monkeypatch.setattr(sys, "stderr", Broken(error))
    lines = Lines(every=0)
    lines.start("work", 3, "steps")
    lines.advance(3)
    lines.say("words")
    lines.finish()


def test_progress_needs_no_stderr_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    Lines().say("words")
    to_stderr("words")
