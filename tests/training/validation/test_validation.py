import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import After, StoppedError, stop
from locations import SUPPORT
from validations import COLS, KEPT, NETS, ROWS, judge, tables, weights

from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.evaluate.evaluate import evaluate
from tilespec.evaluate.metrics.confusion import Confusion
from tilespec.models.model import Model
from tilespec.predict import predictor
from tilespec.predict.predict import predict
from tilespec.storage.scene import Scene
from tilespec.training.config import resolve
from tilespec.training.setup import prepared
from tilespec.training.train import train
from tilespec.training.validation import history
from tilespec.training.validation.held_out import held_out
from tilespec.training.validation.scratch_scenes import source
from tilespec.training.validation.validation import SCRATCH, clear


def published(of, folder, seed=0):
    """Write the model of the weights, as a training would, and return its folder."""
    Model(
        net=of.cast.net,
        task={"name": "segment", **of.config.task.model_extra},
        channels=of.cast.channels,
        classes=of.corpus.classes,
        recipe=of.recipe,
        weights=weights(of, seed),
        tile=of.config.data.patch,
        provenance={},
    ).save(str(folder))
    return str(folder)


def without_time(line):
    return {key: value for key, value in line.items() if key != "seconds"}


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 96, 64, 6, seed=1, nan=0.01, unlabelled=0.1)


@pytest.mark.parametrize("kind", NETS)
def test_what_is_validated_is_what_predict_writes_and_evaluate_says(scene, tmp_path, kind):
    net, asked = NETS[kind]
    of = judge(scene, tmp_path / "m", net=net, validate=asked)
    found = of.run(2, weights(of))
    options = {"rows": ROWS, "cols": COLS, **asked}
    out = predict(published(of, tmp_path / "p"), scene, str(tmp_path / "out.zarr"), **options)["out"]
    said = evaluate(out, scene, patches=1, patch_size=8)
    assert {key: found[key] for key in ("miou", "oa", "kappa")} == {key: said[key] for key in ("miou", "oa", "kappa")}
    assert found["iou"] == said["scene_iou"]
    assert 0 < found["oa"] < 1


def test_a_validation_loads_no_model_builds_one_net_and_hashes_its_weights_once(scene, tmp_path, model_work):
    of = judge(scene, tmp_path / "m")
    state = weights(of)
    predictor.forget()
    model_work.clear()
    of.run(2, state)
    assert model_work == {"hashes": 1, "nets": 1}


@settings(max_examples=5)
@given(
    top=st.integers(60, 80),
    left=st.integers(0, 40),
    size=st.tuples(st.integers(3, 16), st.integers(3, 24)),
    tile=st.integers(8, 40),
    data=st.data(),
)
def test_a_prediction_from_scores_equals_one_from_the_raw_scene(scene, tmp_path_factory, top, left, size, tile, data):
    folder = tmp_path_factory.mktemp("equal")
    span = {"rows": f"{top}:{top + size[0]}", "cols": f"{left}:{left + size[1]}"}
    options = {"tile": tile, "overlap": data.draw(st.integers(0, tile - 1))}
    of = judge(scene, folder / "m", net={"norm": "batch", "live": True}, validate={**span, **options})
    model = published(of, folder / "p")
    found = source(of.held.regions[0], of.recipe, of.held.classes, str(folder / "scores.zarr"), Silent())
    maps = []
    for name, url, where in (("raw", scene, span), ("scores", found.scene, found.region)):
        out = predict(model, url, str(folder / f"{name}.out"), probabilities=True, **where, **options)["out"]
        group = zarr.open_group(out, mode="r")
        maps.append({key: np.asarray(group[key][:]) for key in ("prediction", "probability")})
    for key, values in maps[0].items():
        assert values.tobytes() == maps[1][key].tobytes()


def test_a_validation_changes_nothing_that_a_training_depends_on(scene, tmp_path):
    of, before = judge(scene, tmp_path / "m"), (torch.get_num_threads(), torch.random.get_rng_state())
    state = weights(of)
    kept = {key: value.clone() for key, value in state.items()}
    torch.set_num_threads(2)
    try:
        of.run(2, state)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before[0])
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert all(torch.equal(kept[key], value) for key, value in state.items())
    assert predictor._loaded_once.cache_info().currsize == predictor._agree.cache_info().currsize == 0


def test_a_training_that_is_validated_learns_the_same(scene, tmp_path):
    net, digests = {"norm": "batch", "dropout": 0.5}, []
    for name, asked in (("with", {"keep": "last"}), ("without", {"rows": None, "cols": None})):
        train(tables(scene, net=net, validate=asked), str(tmp_path / name))
        digests.append(Model.load(str(tmp_path / name)).digest)
    assert digests[0] == digests[1]
    assert [line["step"] for line in history.read(tmp_path / "with")] == [2, 4, 6]
    assert not (tmp_path / "with" / SCRATCH).exists()


def test_it_is_the_same_every_time_and_its_line_says_what_it_returned(scene, tmp_path):
    of = judge(scene, tmp_path / "m")
    found = [of.run(step, weights(of)) for step in (2, 4)]
    assert without_time(found[0]) == without_time(found[1])
    assert history.read(of.folder) == [{"step": step, **line} for step, line in zip((2, 4), found, strict=True)]
    assert judge(scene, tmp_path / "other").run(2, weights(of))["iou"] == found[0]["iou"]


def test_the_raw_scene_is_read_once(scene, tmp_path, monkeypatch):
    read = []
    for name in ("read", "lines"):
        before = getattr(Scene, name)

        def noting(self, roi, *rest, before=before):
            read.append((self.url, roi.shape[0] * roi.shape[1]))
            return before(self, roi, *rest)

        monkeypatch.setattr(Scene, name, noting)
    of = judge(scene, tmp_path / "m")
    raw = []
    for step in (2, 4, 6):
        read.clear()
        of.run(step, weights(of, step))
        raw.append(sum(pixels for url, pixels in read if url == scene))
    pixels = of.held.regions[0].roi.shape[0] * of.held.regions[0].roi.shape[1]
    assert raw == [pixels, 0, 0]
    assert of.cost(3) == {"once": pixels * (6 * 4 + 3 * 4 + 2), "each": pixels * (3 * 4 + 3)}


def test_without_a_recipe_the_scene_itself_is_predicted(scene, tmp_path):
    of = judge(scene, tmp_path / "m", recipe={"steps": None})
    found = of.run(2, weights(of))
    assert not list((of.folder / SCRATCH).glob("scores-*"))
    out = predict(published(of, tmp_path / "p"), scene, str(tmp_path / "o.zarr"), rows=ROWS, cols=COLS)["out"]
    assert found["oa"] == evaluate(out, scene, patches=1, patch_size=8)["oa"]
    pixels = of.held.regions[0].roi.shape[0] * of.held.regions[0].roi.shape[1]
    assert of.cost(6) == {"once": 0, "each": pixels * (6 * 4 + 3)}


def test_a_store_that_says_nothing_of_its_content_is_judged_by_what_it_holds(scene, tmp_path):
    copy = Path(shutil.copytree(scene, tmp_path / "foreign.zarr"))
    card = json.loads((copy / "zarr.json").read_text())
    for key in ("tilespec_digest", "tilespec_cube"):
        card["attributes"].pop(key, None)
    (copy / "zarr.json").write_text(json.dumps(card))
    of = judge(str(copy), tmp_path / "m", recipe={"steps": None})
    found = of.run(2, weights(of))
    assert not (of.folder / SCRATCH / "scores-0.zarr").exists(), "nothing of it is copied"
    assert found["oa"] == judge(scene, tmp_path / "n", recipe={"steps": None}).run(2, weights(of))["oa"]


def test_several_scenes_are_judged_as_one_set_of_pixels(make_scene, scene, tmp_path):
    other = make_scene(tmp_path / "b.zarr", 70, 40, 6, seed=1, unlabelled=0.3)
    of = judge(scene, tmp_path / "m", validate={"scene": [scene, other], "rows": "61:70", "cols": None})
    found, total = of.run(2, weights(of)), Confusion.zero(2)
    for url in (scene, other):
        out = predict(published(of, tmp_path / "p"), url, str(tmp_path / f"out-{Path(url).name}"), rows="61:70")["out"]
        counts = evaluate(out, url, patches=1, patch_size=8)["confusion"]
        total = total + Confusion(counts=np.asarray(counts, np.int64))
    assert found["oa"] == total.finish()["oa"]
    assert found["iou"] == total.finish()["iou"][1]


def test_another_scene_may_have_its_labels_elsewhere(make_scene, scene, tmp_path):
    other = make_scene(tmp_path / "b.zarr", 40, 40, 6, seed=3)
    truth = make_scene(tmp_path / "c.zarr", 40, 40, 6, seed=4)
    asked = {"scene": other, "rows": None, "cols": None}
    of = judge(scene, tmp_path / "m", data={"rows": None}, validate={**asked, "labels": truth})
    own = judge(scene, tmp_path / "n", data={"rows": None}, validate=asked)
    assert of.run(2, weights(of))["oa"] != own.run(2, weights(own))["oa"]
    out = predict(published(of, tmp_path / "p"), other, str(tmp_path / "o.zarr"))["out"]
    mine = np.asarray(zarr.open_group(out, mode="r")["prediction"][:]) == Scene.open(truth).labels()
    assert of.run(4, weights(of))["oa"] == mine.mean()


def files(of):
    return sorted(path.name for path in (of.folder / SCRATCH).iterdir())


def test_only_scores_and_the_best_weights_stay_and_clear_removes_them(scene, tmp_path):
    of = judge(scene, tmp_path / "m")
    of.run(2, weights(of))
    assert files(of) == ["best-000002.safetensors", *KEPT]
    clear(of.folder)
    assert not (of.folder / SCRATCH).exists()
    clear(of.folder)


@pytest.fixture(scope="module")
def undisturbed(scene, tmp_path_factory):
    of = judge(scene, tmp_path_factory.mktemp("undisturbed") / "m")
    return without_time(of.run(2, weights(of)))


@pytest.mark.parametrize("at", [1, 2, 5])
def test_an_interrupted_validation_is_done_again_alike(scene, tmp_path, undisturbed, at):
    of = judge(scene, tmp_path / "m", validate={"tile": 16})
    with pytest.raises(StoppedError):
        of.run(2, weights(of), progress=After(at, stop))
    assert history.read(of.folder) == []
    assert not (of.folder / SCRATCH / "prediction.zarr").exists()
    assert without_time(of.run(2, weights(of))) == undisturbed


KILLED = """
import os, sys
sys.path.insert(0, {support!r})
from interrupts import After
from validations import judge, weights
of = judge({scene!r}, {folder!r}, validate={{"tile": 16}})
of.run(2, weights(of), progress=After({at}, lambda: os._exit(9)))
"""


def test_what_a_killed_validation_leaves_blocks_nothing(scene, tmp_path, undisturbed):
    code = KILLED.format(support=str(SUPPORT), scene=scene, folder=str(tmp_path / "m"), at=3)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    of = judge(scene, tmp_path / "m")
    assert {"model", "prediction.zarr", "scores-0.zarr"} <= set(files(of))
    assert without_time(of.run(2, weights(of))) == undisturbed
    assert files(of) == ["best-000002.safetensors", *KEPT]


def spoil_metadata(scratch):
    (scratch / "scores-0.zarr" / "zarr.json").write_text("{")


def spoil_settings(scratch):
    (scratch / "scores-0.zarr.tilespec" / "settings.json").write_text(json.dumps({"another": 1}))


def spoil_object(scratch):
    next(path for path in (scratch / "scores-0.zarr" / "cube" / "c").rglob("*") if path.is_file()).write_bytes(b"")


@pytest.mark.parametrize("spoil", [spoil_metadata, spoil_settings, spoil_object])
def test_scores_that_are_not_those_are_made_again(scene, tmp_path, undisturbed, spoil):
    of = judge(scene, tmp_path / "m")
    of.run(2, weights(of))
    spoil(of.folder / SCRATCH)
    assert without_time(of.run(2, weights(of))) == undisturbed


def scored(of, steps):
    """Judge nets of several seeds; return the history's metric by step."""
    for step, seed in steps.items():
        of.run(step, weights(of, seed))
    return {line["step"]: line["iou"] for line in history.read(of.folder)}


def test_the_best_weights_become_the_model_and_of_equals_the_earlier(scene, tmp_path):
    of = judge(scene, tmp_path / "m")
    found = scored(of, {2: 0, 4: 1, 6: 2, 8: 1, 10: 0})
    assert len(set(found.values())) == 3
    step, tensors = of.chosen()
    assert (step, found[step]) == (min(s for s in found if found[s] == found[step]), max(found.values()))
    expected = weights(of, {2: 0, 4: 1, 6: 2}[step])
    assert all(torch.equal(tensors[key], value) for key, value in expected.items())
    assert [name for name in files(of) if name.startswith("best")] == [f"best-{step:06d}.safetensors"]


def test_the_last_weights_do_where_they_are_asked_for(scene, tmp_path):
    of = judge(scene, tmp_path / "m", validate={"keep": "last"})
    of.run(2, weights(of))
    assert of.chosen() is None
    assert not list((of.folder / SCRATCH).glob("best-*"))


def test_weights_stay_as_long_as_a_checkpoint_may_go_back_to_them(scene, tmp_path):
    of = judge(scene, tmp_path / "m")
    for step in (2, 4):
        (of.folder / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
        (of.folder / "checkpoints" / f"step-{step:06d}" / "state.json").touch()
    (of.folder / "checkpoints" / "step-000006.partial").mkdir()
    found = scored(judge(scene, tmp_path / "try"), {1: 0, 2: 1, 3: 2})
    seeds = [step - 1 for step in sorted(found, key=found.get)]  # each better than the one before
    scored(of, dict(zip((2, 4, 6), seeds, strict=True)))
    assert [name for name in files(of) if name.startswith("best")] == [f"best-{s:06d}.safetensors" for s in (2, 4, 6)]
    history.rewind(of.folder, 4)
    step, tensors = of.chosen()
    assert step == 4
    assert all(torch.equal(tensors[key], value) for key, value in weights(of, seeds[1]).items())


def test_best_weights_that_are_gone_are_said_and_the_last_stand_in(scene, tmp_path):
    of = judge(scene, tmp_path / "m")
    of.run(2, weights(of))
    (of.folder / SCRATCH / "best-000002.safetensors").write_bytes(b"torn")
    with pytest.warns(UserWarning, match="the last weights stand in"):
        assert of.chosen() is None


def test_weights_that_are_not_finite_have_no_score_and_are_never_the_best(scene, tmp_path):
    of, state = judge(scene, tmp_path / "m"), {}
    for key, value in weights(of).items():
        state[key] = torch.full_like(value, math.nan) if value.is_floating_point() else value
    found = of.run(2, state)
    assert all(math.isnan(found[key]) for key in ("iou", "miou", "oa", "kappa"))
    assert history.read(of.folder)[0]["iou"] is None
    assert of.chosen() is None
    of.run(4, weights(of))
    assert of.chosen()[0] == 4


def test_nothing_held_out_is_no_validation(scene, tmp_path):
    nothing = {"rows": None, "cols": None, "every": 7}
    assert judge(scene, tmp_path / "m", validate=nothing) is None
    assert not (tmp_path / "m" / SCRATCH).exists()


def test_validations_are_due_every_so_often_and_at_the_end(scene, tmp_path):
    of = judge(scene, tmp_path / "m", train={"steps": 7}, validate={"every": 3})
    assert [done for done in range(1, 8) if of.due(done)] == [3, 6, 7]


def refused(scene, tmp_path, text, **given):
    with pytest.raises(UserError, match=text) as caught:
        judge(scene, tmp_path / "m", **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"validate": {"rows": "59:80"}}, r"found rows 59:80, columns 3:60; expected no pixel of the training region"),
        ({"data": {"rows": None}}, "no pixel of the training region"),
        ({"data": {"test_rows": "80:96"}}, r"no pixel of the test region \(rows 80:96, columns 0:64\)"),
        ({"data": {"test_cols": "59:64", "cols": "0:59"}}, "no pixel of the test region"),
        ({"validate": {"rows": "61:200"}}, "no valid regions .*A < B <= 96"),
        ({"validate": {"tile": 8, "overlap": 8}}, r"no valid regions .*0 <= overlap < tile"),
        ({"validate": {"overlap": 16}}, r"no valid regions .*0 <= overlap < tile"),
        ({"validate": {"metric": "rmse"}}, "'rmse'; expected one of the metrics of segment: iou, miou, oa, kappa"),
        ({"validate": {"norm": "frozen"}}, "nothing to freeze"),
        ({"validate": {"labels": "c.zarr"}}, "labels without validate.scene"),
        ({"validate": {"scene": "nowhere.zarr"}}, "no valid regions .*nowhere.zarr: found nothing"),
        (
            {"validate": {"row": "1:2"}},
            r"validate.row: found an unknown key; expected keys of \[validate\]: rows,",
        ),
        ({"validate": {"every": 0}}, "validate.every: found 0"),
        ({"validation": {"rows": "1:2"}}, "validation: found an unknown key; expected the tables data, .*validate"),
    ],
)
def test_a_validation_that_cannot_be_fair_is_refused(scene, tmp_path, given, text):
    refused(scene, tmp_path, text, **given)


def test_a_copy_of_the_training_region_elsewhere_is_the_training_region(scene, tmp_path):
    copy = str(shutil.copytree(scene, tmp_path / "copy.zarr"))
    refused(scene, tmp_path, "no pixel of the training region", validate={"scene": copy, "rows": "50:70"})
    assert judge(scene, tmp_path / "m", validate={"scene": copy}) is not None


def test_labels_that_mean_something_else_are_refused(make_scene, scene, tmp_path):
    three = make_scene(tmp_path / "three.zarr", 40, 40, 6, classes=3)
    none = make_scene(tmp_path / "none.zarr", 40, 40, 6, labelled=False)
    blank = make_scene(tmp_path / "blank.zarr", 40, 40, 6, unlabelled=1.0)
    bands = make_scene(tmp_path / "bands.zarr", 40, 40, 5)
    whole = {"rows": None, "cols": None}
    refused(scene, tmp_path, "validate", validate={"scene": three, **whole})
    refused(scene, tmp_path, r"no valid regions .*labels\(y, x\)", validate={"scene": none, **whole})
    refused(scene, tmp_path, "no valid regions .*without a labelled pixel", validate={"scene": blank, **whole})
    refused(scene, tmp_path, "bands", validate={"scene": bands, **whole})


def test_what_is_held_out_is_known_before_anything_is_computed(scene, tmp_path):
    config, corpus, _ = prepared(resolve(tables(scene)), 1)
    assert [str(region.roi) for region in held_out(config, corpus).regions] == ["rows 61:90, columns 3:60"]
    assert list(tmp_path.iterdir()) == []


def test_a_moved_scene_is_still_the_one_that_was_held_out(make_scene, scene, tmp_path):
    other = make_scene(tmp_path / "b.zarr", 40, 40, 6, seed=3)
    moved = str(shutil.copytree(other, tmp_path / "moved.zarr"))
    third = make_scene(tmp_path / "c.zarr", 40, 40, 6, seed=4)
    one, same, another = (resolve(tables(scene, validate={"scene": s})).deciding() for s in (other, moved, third))
    assert one == same
    assert one != another
