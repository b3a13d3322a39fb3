"""A list of scenes goes on after a bad one, and says which could not be predicted."""

import shutil

import pytest
from distributed import LocalCluster
from untrained_models import save_model, stored

from tilespec import api
from tilespec.core.errors import UserError


@pytest.fixture
def work(make_scene, tmp_path):
    scenes = [make_scene(tmp_path / name, 40, 40, 5) for name in ("one", "two")]
    return save_model(tmp_path / "model", scenes[0]), scenes, make_scene(tmp_path / "other", 40, 40, 6)


def test_the_scenes_beside_a_bad_one_are_predicted(work, tmp_path):
    model, (one, two), other = work
    result = api.predict(model, [one, other, str(tmp_path / "nowhere"), two], tmp_path / "out")
    assert result.status == "incomplete"
    assert sorted(result.failed) == sorted([other, str(tmp_path / "nowhere")])
    assert [stored(tmp_path / "out" / name).shape for name in ("one", "two")] == [(40, 40)] * 2
    assert all(any(name in note for note in result.notes) for name in result.failed)
    assert not (tmp_path / "out" / "other").exists()


def test_a_list_of_bad_scenes_is_the_users_mistake(work, tmp_path):
    model, _, other = work
    with pytest.raises(UserError, match=r"2 scenes: found none that can be predicted"):
        api.predict(model, [other, tmp_path / "nowhere"], tmp_path / "out")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_the_workers_of_a_list_start_once(work, tmp_path, monkeypatch):
    model, scenes, _ = work
    started = []

    def counted(*words, **options):
        started.append(words)
        return LocalCluster(*words, **options)

    monkeypatch.setattr("distributed.LocalCluster", counted)
    result = api.predict(model, scenes, tmp_path / "out", workers=1)
    alone = api.predict(model, scenes, tmp_path / "alone")
    assert len(started) == 1
    assert [one["workers"] for one in result.scenes.values()] == [1, 1]
    for name in ("one", "two"):
        assert (stored(tmp_path / "out" / name) == stored(tmp_path / "alone" / name)).all()
    assert alone.status == result.status == "complete"
