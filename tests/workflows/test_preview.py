"""Preview: the page shows what the first step of the training reads."""

from pathlib import Path

import pytest
from html_page import Page
from numpy.testing import assert_array_equal
from short_trainings import config

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.backends.paths import store_path
from tilespec.training.config import resolve
from tilespec.training.loop.moves import StepRunner
from tilespec.training.ranks.group import Ranks
from tilespec.training.setup import prepared, recipe_of
from tilespec.workflows.preview import first_examples


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("preview") / "scene", 40, 40, 6)


def examples_of(settings, tmp_path, count):
    """Return the examples of a page."""
    resolved, training_set, _ = prepared(resolve(settings), 1)
    recipe = recipe_of(resolved, training_set, store_path(tmp_path), Ranks())
    return list(first_examples(resolved, training_set, recipe, count))


def first_batch(settings, out, monkeypatch):
    """Return the batch that the first step of a training reads."""
    seen = []

    def step(_, batch):
        seen.append(batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(StepRunner, "step", step)
    with pytest.raises(KeyboardInterrupt):
        api.train(settings, str(out))
    return seen[0]


def test_it_shows_the_batch_of_the_first_step(scene, tmp_path, monkeypatch):
    settings = config(scene, augment={"gain": 0.2, "mixup": 0.5, "noise": 0.1}, train={"batch": 4})
    shown, read = examples_of(settings, tmp_path, 3), first_batch(settings, tmp_path / "model", monkeypatch)
    assert len(shown) == 3
    for k, one in enumerate(shown):
        assert_array_equal(one.augmented, read.x[k].numpy().transpose(1, 2, 0))
        assert_array_equal(one.target, read.y[k].numpy())


def test_a_pixel_is_followed_through_its_stages_however_its_patch_was_turned(scene, tmp_path):
    shown = examples_of(config(scene, train={"batch": 8}), tmp_path, 8)
    assert len({one.turn for one in shown}) > 3
    for one in shown:
        for y, x in ((0, 0), (3, 11), (15, 2)):
            _, before, after = one.at(y, x)
            assert_array_equal(before, after)


@pytest.mark.parametrize("patch", [16, 1])
def test_the_page_has_every_stage_and_the_classes_that_are_seen(scene, tmp_path, patch):
    net = {} if patch > 1 else {"net": {"name": "linear"}, "objective": {"name": "supervised"}}
    settings = config(scene, augment={"gain": 0.2}) | net
    settings["data"] |= {"patch": patch}
    out = tmp_path / "page.html"
    found = api.preview(settings, str(out), count=2)
    page = Page(out.read_text())
    assert (found["patches"], found["bytes"]) == (2, out.stat().st_size)
    for title in ("after the recipe", "after augmentation"):
        assert title in page.text.lower()
    assert (len(page.images()), len(page.images("svg"))) == ((8, 6) if patch > 1 else (0, 3))


def test_a_page_of_its_own_is_replaced_and_no_other_file(scene, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(UserError, match="a page"):
        api.preview(config(scene), str(out))
    assert out.read_text() == "mine"
    with pytest.raises(UserError, match=r"NAME\.html"):
        api.preview(config(scene), str(tmp_path / "page.png"))


def test_a_page_shows_at_least_one_patch(scene, tmp_path):
    with pytest.raises(UserError, match="count"):
        api.preview(config(scene), str(tmp_path / "page.html"), count=0)


def test_a_plan_writes_nothing(scene, tmp_path):
    assert api.preview(config(scene), str(tmp_path / "page.html"), dry_run=True)["dry_run"]
    assert list(Path(tmp_path).iterdir()) == []
