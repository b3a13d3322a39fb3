import json

import pytest

from tilespec.output.report.inputs import Runs
from tilespec.output.report.page import report
from tilespec.output.report.training import losses, of_training, validations
from tilespec.spectra.recipe import Recipe
from tilespec.training.validation.history import write

LOG = [
    {
        "step": i,
        "cross_entropy": 1 / (i + 1),
        "rate": 1e-3,
        "seconds": i,
        "speed": {"starvation": 0.1},
        "norms": {"generator": 1.0},
    }
    for i in range(40)
]
HISTORY = [
    {"step": 10, "iou": 0.5, "oa": 0.9, "seconds": 1.0},
    {"step": 20, "iou": 0.75, "oa": 0.8, "seconds": 1.0},
    {"step": 30, "iou": None, "oa": None, "seconds": 1.0},
    {"step": 40, "iou": 0.75, "oa": 0.95, "seconds": 1.0},
]


@pytest.fixture
def run(tmp_path):
    def of(log=LOG, validated=(), settings=None):
        folder = tmp_path / "m"
        folder.mkdir(exist_ok=True)
        Recipe.empty(4, None).save(str(folder / "recipe"))
        (folder / "model.json").write_text(
            json.dumps({"format": 1, "net": {"name": "unet"}, "provenance": {"steps": 20}})
        )
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        if validated:
            write(folder, validated)
        if settings is not None:
            (folder / "config.json").write_text(settings)
        return Runs.open([str(folder)]).models[0]

    return of


def titles(section):
    return [picture.title for row in section.rows for picture in row.pictures]


def test_losses_rate_and_validations_are_drawn(run):
    section = of_training(run(validated=HISTORY))
    assert titles(section) == ["Losses", "Validation", "Learning rate"]
    assert section.lead.endswith(
        "Of 4 validations the best is that after 20 steps: iou 0.750. The model is that of step 20."
    )
    assert [key.text for key in section.rows[0].legend] == ["cross_entropy"]
    assert [key.text for key in section.rows[1].legend] == ["iou, which is compared", "oa"]


def test_what_is_no_number_is_left_out(run):
    found = run(validated=HISTORY)
    assert validations(found) == {"iou": ([10, 20, 40], [0.5, 0.75, 0.75]), "oa": ([10, 20, 40], [0.9, 0.8, 0.95])}
    assert list(losses(found)) == ["cross_entropy"]


def test_the_metric_that_was_asked_for_is_the_one_that_is_told(run):
    found = run(validated=HISTORY, settings=json.dumps({"validate": {"metric": "oa"}}))
    assert list(validations(found)) == ["oa", "iou"]
    assert "best is that after 40 steps: oa 0.950" in of_training(found).lead


@pytest.mark.parametrize("settings", ["{", "{}", '{"validate": null}', '{"validate": {"metric": null}}'])
def test_settings_that_do_not_say_leave_it_to_the_first_metric(run, settings):
    assert list(validations(run(validated=HISTORY, settings=settings))) == ["iou", "oa"]


def test_a_training_without_validations_shows_its_losses_and_rate(run):
    section = of_training(run())
    assert titles(section) == ["Losses", "Learning rate"]
    assert section.lead == "The terms of the objective over 40 steps."


def test_validations_without_a_number_are_not_drawn(run):
    section = of_training(run(validated=[{"step": 10, "iou": None, "seconds": 1.0}]))
    assert titles(section) == ["Losses", "Learning rate"]


def test_a_method_that_is_solved_at_once_has_no_training(run):
    assert of_training(run(log=())).empty


def test_the_same_logs_give_the_same_pictures(run):
    assert of_training(run(validated=HISTORY)) == of_training(run(validated=HISTORY))


def test_a_training_that_goes_on_is_shown_as_far_as_it_is(run, tmp_path):
    run(validated=HISTORY)
    for name in ("model.json", "recipe/recipe.json"):
        (tmp_path / "m" / name).unlink()
    out = report([str(tmp_path / "m")], str(tmp_path / "r.html"))
    page = (tmp_path / "r.html").read_text()
    assert "over 40 steps so far: there is no model yet." in page
    assert "best is that after 20 steps: iou 0.750." in page
    assert out["recipes"] == []
