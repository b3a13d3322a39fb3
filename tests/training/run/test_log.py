import builtins
import json

import pytest

from tilespec.core.errors import UserError
from tilespec.training.run.log import TrainingLog


def line(step, loss=0.5):
    return {
        "step": step,
        "cross_entropy": loss,
        "rate": 0.1,
        "norms": {"generator": 1.0},
        "seconds": 0.1 * step,
        "speed": {"steps_per_second": 9.0},
        "validation": {"iou": 0.7, "miou": None},
    }


def written(folder):
    return [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]


def test_lines_are_there_as_soon_as_they_are_written(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        for step in range(3):
            log.write(line(step))
            assert len(written(tmp_path)) == step + 1


def test_what_is_done_again_is_said_again(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        for step in range(5):
            log.write(line(step))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "cross_en')  # torn by a kill
    with TrainingLog(tmp_path, 3) as log:
        assert log.losses == {"cross_entropy": 0.5}
        log.write(line(3, loss=0.25))
    assert [(row["step"], row["cross_entropy"]) for row in written(tmp_path)] == [
        (0, 0.5),
        (1, 0.5),
        (2, 0.5),
        (3, 0.25),
    ]


def test_a_log_that_is_whole_is_not_written_again(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        log.write(line(0))
    before = (tmp_path / "log.jsonl").stat()
    with TrainingLog(tmp_path, 1):
        pass
    after = (tmp_path / "log.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_tensorboard_reads_what_the_log_says_and_forgets_what_was_done_again(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TrainingLog(tmp_path, 0, events=True) as log:
        for step in range(4):
            log.write(line(step))
    with TrainingLog(tmp_path, 2, events=True) as log:
        for step in (2, 3):
            log.write(line(step, loss=0.25))
    seen = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in seen.Scalars("losses/cross_entropy")]
    assert losses == [(0, 0.5), (1, 0.5), (2, 0.25), (3, 0.25)]
    assert {"rate", "norms/generator", "seconds", "speed/steps_per_second", "validation/iou"} <= set(
        seen.Tags()["scalars"]
    )


def test_without_tensorboard_the_message_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **options):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError("No module named 'tensorboard'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"pip install 'tilespec\[tensorboard\]'"):
        TrainingLog(tmp_path, 0, events=True)
