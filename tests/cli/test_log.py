"""`--log FILE` appends what a command does and how it ends, each line with its time; nothing changes on the screen."""

import re
from datetime import datetime

import pytest
from command_line import tilespec


def lines_of(file):
    """Return the texts of the lines, each of which begins with a time."""
    split = [line.partition(" ")[::2] for line in file.read_text().splitlines()]
    times = [datetime.fromisoformat(stamp) for stamp, _ in split]
    assert all(time.tzinfo for time in times)
    assert times == sorted(times)
    return [text for _, text in split]


def test_progress_and_end_are_appended(make_scene, tmp_path):
    make_scene(tmp_path / "scene", 40, 30, 5)
    loud = tilespec("fit", "scene", "first", "--steps", "pca=3", cwd=tmp_path)
    quiet = tilespec("fit", "scene", "second", "--steps", "pca=3", "--quiet", "--log", "log", cwd=tmp_path)
    assert (loud.returncode, quiet.returncode, quiet.stderr) == (0, 0, "")
    said = lines_of(tmp_path / "log")
    assert any(re.fullmatch(r"moments.*: 1 blocks in .* \(.* blocks/s\)", text) for text in said)
    assert said[-1] == "tilespec fit: done"
    again = tilespec("info", "nowhere", cwd=tmp_path)
    assert again.returncode == 2
    tilespec("fit", "scene", "third", "--steps", "pca=3", "--log", "log", cwd=tmp_path)
    assert lines_of(tmp_path / "log")[: len(said)] == said
    assert len(lines_of(tmp_path / "log")) == 2 * len(said)


def test_mistakes_are_appended_without_credentials(tmp_path):
    ran = tilespec("fit", "https://user:secret@host/scene", "out", "--log", "log", cwd=tmp_path)
    assert ran.returncode == 2
    text = (tmp_path / "log").read_text()
    assert "secret" not in text
    assert lines_of(tmp_path / "log")[-1] in ran.stderr


def test_a_log_that_cannot_be_written_is_named_before_any_work(make_scene, tmp_path):
    make_scene(tmp_path / "scene", 40, 30, 5)
    ran = tilespec("fit", "scene", "out", "--steps", "pca=3", "--log", "nowhere/log", cwd=tmp_path)
    assert ran.returncode == 2
    assert "--log: nowhere/log: No such file" in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_training_of_ranks_is_logged_too(make_scene, tmp_path, workers):
    make_scene(tmp_path / "scene", 40, 40, 5)
    small = ["--set", "data.scene=scene", "--set", "train.steps=2", "--set", "data.patch=16", "--workers", workers]
    ran = tilespec("train", "preset:tiny", "--out", "model", *small, "--log", "log", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    said = lines_of(tmp_path / "log")
    assert any(text.startswith("train: 2 steps") for text in said), said
    assert said[-1] == "tilespec train: done"
