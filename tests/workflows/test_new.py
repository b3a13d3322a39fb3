"""New: what it writes trains as it stands, and suits the data."""

import io
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.training.config import resolve
from tilespec.workflows.config_file import plain_tables
from tilespec.workflows.proposal import RULES, DataFacts, proposed

SIDE, BANDS = 80, 20


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return the URLs of a scene with labels, of half of its size, with other bands, and of a table."""
    at, draw = tmp_path_factory.mktemp("new"), np.random.default_rng(0)
    labels = draw.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
    labels[draw.random(labels.shape) < 0.5] = 0
    cube = (labels[..., None] * 0.1 + draw.uniform(0.2, 0.4, (SIDE, SIDE, BANDS))).astype(np.float32)
    np.savez(at / "whole.npz", cube=cube, gt=labels, fewer=cube[..., ::2], half=cube[::2, ::2])
    file = str(at / "whole.npz")
    named = {"labels": f"{file}:gt", "class_names": "soil,leaf,stone"}
    options = {"whole": {"variable": "cube", **named}, "fewer": {"variable": "fewer"}, "half": {"variable": "half"}}
    for name, values in options.items():
        api.ingest(file, str(at / name), **values)
    rows = np.column_stack([labels.reshape(-1)[:400].astype(str), cube.reshape(-1, BANDS)[:400].astype(str)])
    header = ",".join(["class", *(str(500 + 5 * k) for k in range(BANDS))])
    np.savetxt(at / "table.csv", rows, fmt="%s", delimiter=",", header=header, comments="")
    api.ingest(str(at / "table.csv"), str(at / "table"), wavelength_unit="nm")
    return {name: str(at / name) for name in (*options, "table")}


CASES = {
    "segment": ("whole", None),
    "classify": ("table", None),
    "denoise": ("whole", "whole"),
    "calibrate": ("whole", "fewer"),
    "reconstruct": ("fewer", "whole"),
    "superres": ("half", "whole"),
}
"""The scene and the target by task."""


def test_every_task_with_a_rule_has_a_case():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("task", CASES)
def test_what_is_proposed_trains_and_predicts_as_it_stands(stores, tmp_path, task):
    scene, target = CASES[task]
    given = {} if target is None else {"target": stores[target]}
    out = tmp_path / "new.toml"
    found = api.new(str(out), task=task, scene=stores[scene], **given)
    assert tomllib.loads(out.read_text()) == found["config"]
    quick = {"train.steps": 2, "train.batch": 2, "train.warmup": 0, "validate.every": 2}
    known = {key: value for key, value in quick.items() if key.split(".")[0] in found["config"]}
    api.train(str(out), str(tmp_path / "model"), overrides=known)
    api.predict(str(tmp_path / "model"), stores[scene], str(tmp_path / "map"))
    assert "rmse" in api.evaluate(str(tmp_path / "map"), stores[target or scene], patches=1) or target is None


def facts(**changes):
    """Return the facts of a labelled scene."""
    plain = DataFacts(
        task="segment",
        sources={"scene": "s.zarr"},
        shape=(400, 300, 100),
        table=False,
        rows=320,
        counts=(1000, 900),
        channels=2,
        scale=1,
        memory=1 << 34,
    )
    return replace(plain, **changes)


def test_a_proposal_suits_what_is_known():
    wide, narrow = proposed(facts()), proposed(facts(shape=(400, 40, 100)))
    assert (wide["net"]["name"].value, wide["data"]["patch"].value) == ("unet", 128)
    assert (narrow["net"]["name"].value, narrow["data"]["patch"].value) == ("resunet", 1)
    assert proposed(facts(shape=(400, 40, 6)))["net"]["name"].value == "mlp"
    assert proposed(facts(counts=(1000, 10)))["data"]["balance"].value == "sqrt"
    assert wide["data"]["balance"].value == "labelled"


def test_less_memory_gives_smaller_batches_and_never_none():
    batches = [proposed(facts(memory=1 << k))["train"]["batch"].value for k in (34, 31, 29, 20)]
    assert batches == sorted(batches, reverse=True)
    assert (batches[-1], len(set(batches))) == (1, 4)


def test_every_proposed_table_is_a_configuration():
    for task, case in CASES.items():
        tables = proposed(facts(task=task, counts=() if case[1] else (5, 5)))
        resolve(plain_tables(tables))


def test_an_input_is_added_to_only_if_the_answer_has_its_channels():
    for bands, name in ((100, "residual"), (31, "rcan")):
        net = plain_tables(proposed(facts(task="superres", counts=(), channels=bands)))["net"]
        assert (net["name"], net.get("inner", net)["width"]) == (name, 64)


def test_rows_are_held_out_only_if_no_part_lacks_a_class(stores, tmp_path):
    assert api.new(str(tmp_path / "a.toml"), task="segment", scene=stores["whole"])["config"]["validate"]
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[-3:] = 1
    np.savez(tmp_path / "sorted.npz", cube=np.ones((SIDE, SIDE, 4), np.float32), gt=labels)
    source = str(tmp_path / "sorted.npz")
    api.ingest(source, str(tmp_path / "sorted"), variable="cube", labels=f"{source}:gt", class_names="a,b")
    found = api.new(str(tmp_path / "b.toml"), task="segment", scene=str(tmp_path / "sorted"))["config"]
    assert (found["data"]["rows"], "validate" in found) == (f"0:{SIDE}", False)


def test_a_file_that_is_there_is_replaced_on_request_only(stores, tmp_path):
    out = tmp_path / "mine.toml"
    out.write_text("# mine")
    with pytest.raises(UserError, match="free path"):
        api.new(str(out), task="segment", scene=stores["whole"])
    assert out.read_text() == "# mine"
    api.new(str(out), task="segment", scene=stores["whole"], overwrite=True)
    assert "[net]" in out.read_text()


@pytest.mark.parametrize("given", [{}, {"task": "segment"}, {"task": "denoise", "scene": "s"}, {"task": "paint"}])
def test_what_is_missing_is_named_where_nobody_can_be_asked(tmp_path, given):
    with pytest.raises(UserError, match=r"--(task|scene|target)"):
        api.new(str(tmp_path / "new.toml"), **given)


@pytest.mark.parametrize(("task", "other"), [("segment", "target"), ("denoise", "labels")])
def test_a_store_that_the_task_has_no_use_for_is_refused(stores, tmp_path, task, other):
    with pytest.raises(UserError, match=f"--{other}.*for task {task}"):
        api.new(str(tmp_path / "new.toml"), task=task, scene=stores["whole"], **{other: stores["whole"]})


def test_what_is_missing_is_asked_at_a_terminal(stores, tmp_path, monkeypatch, capsys):
    answers = io.StringIO(f"segment\n{stores['whole']}\n")
    answers.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", answers)
    assert api.new(str(tmp_path / "new.toml"))["config"]["task"]["name"] == "segment"
    asked = capsys.readouterr().err
    assert "What is to be predicted?" in asked
    assert "superres" in asked


def test_a_plan_writes_nothing(stores, tmp_path):
    assert api.new(str(tmp_path / "new.toml"), task="segment", scene=stores["whole"], dry_run=True)["config"]
    assert list(tmp_path.iterdir()) == []
