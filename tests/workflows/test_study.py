"""Studies: grids and folds as values, means weighted by pixels, and one table however often the work was cut."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupts import After
from spectral_scenes import write_cube
from typer.testing import CliRunner

from tilespec import api
from tilespec.cli import app
from tilespec.core.errors import UserError
from tilespec.storage.scene import Scene
from tilespec.workflows.study.run import Results, averaged
from tilespec.workflows.study.splits import StudyScene, among, folds_of, groups_of, read_folds, under
from tilespec.workflows.study.variants import _toml, values_of, variants_of

SMALL = {
    "data": {"patch": 16, "patches": 4},
    "recipe": {"steps": "pca=2,scale"},
    "net": {"name": "unet", "base_width": 4, "n_down": 1, "norm": "channel", "init": "kaiming"},
    "objective": {"name": "supervised"},
    "train": {"steps": 2, "batch": 2, "warmup": 1},
}
SPLIT = {"data.rows": "24:48", "data.test_rows": "0:24"}

plain = st.one_of(
    st.integers(-99, 99),
    st.booleans(),
    st.floats(-9, 9, width=16),
    st.text(st.sampled_from("abc=,[]{} #'\"\\"), max_size=6),
)


@given(
    values=st.lists(plain | st.lists(plain, max_size=3) | st.dictionaries(st.sampled_from("xyz"), plain), min_size=1)
)
def test_values_part_where_toml_parts_them(values):
    text = ", ".join(map(_toml, values))
    parts = values_of(f"[{text}]")
    assert [tomllib.loads(f"v = {part}")["v"] for part in parts] == values
    assert len(values) == 1 or values_of(text) == parts


def test_values_as_they_are_typed():
    assert values_of("1,2, 3") == ["1", "2", "3"]
    assert values_of('["vsn,pca=4", "snv"]') == ['"vsn,pca=4"', '"snv"']
    assert values_of("channel,batch") == ["channel", "batch"]
    assert values_of("{ name = 1, x = 2 },step") == ["{ name = 1, x = 2 }", "step"]


def test_every_combination_is_a_variant_and_names_tell_them_apart():
    grid = variants_of(["preset:a", "b.toml"], {"net.n": [1, 2], "train.rate": ["1e-3"]}, ["plsda"], {})
    assert [one.name for one in grid] == [
        "a, n=1, rate=1e-3",
        "a, n=2, rate=1e-3",
        "b, n=1, rate=1e-3",
        "b, n=2, rate=1e-3",
        "plsda",
    ]
    assert grid[1].changes == {"net.n": "2", "train.rate": "1e-3"}
    assert (grid[4].baseline, grid[4].config) == ("plsda", "preset:a")
    assert [one.name for one in variants_of(["preset:a"], {}, [], {})] == ["a"]
    more = variants_of(
        ["preset:a"], {}, [], {}, [{"name": "flips", "predict": {"flips": True}, "changes": {"net.n": 3}}]
    )
    assert (more[1].changes, more[1].config) == ({"net.n": "3"}, "preset:a")
    for wrong in ({"baselines": ["x", "x"], "vary": {}}, {"baselines": [], "vary": {"net.n": []}}):
        with pytest.raises(UserError):
            variants_of(["preset:a"], wrong["vary"], wrong["baselines"], {})


names = st.lists(st.integers(0, 99).map("scene{}".format), min_size=2, max_size=20, unique=True)


@given(names=names, data=st.data())
def test_no_scene_teaches_where_it_is_judged_and_two_folds_are_one_swapped(names, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(names) - 1), min_size=1, max_size=4)))
    groups = {f"g{i}": names[a:b] for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(names)], strict=True))}
    folds = folds_of(groups, lambda name: StudyScene(name=name, scene=name, truth=None))
    for fold in folds:
        assert not {i.scene for i in fold.train} & {i.scene for i in fold.test}
        assert {i.scene for i in fold.train} | {i.scene for i in fold.test} == set(names)
    assert sorted(i.scene for fold in folds for i in fold.test) == sorted(names)
    if len(folds) == 2:
        assert (folds[0].train, folds[0].test) == (folds[1].test, folds[1].train)


@pytest.fixture(scope="module")
def scenes(make_scene, tmp_path_factory):
    """Return a folder of three labelled scenes; one has fewer labels."""
    root = tmp_path_factory.mktemp("stores")
    for i, (rows, unlabelled) in enumerate([(48, 0.0), (40, 0.5), (32, 0.1)]):
        make_scene(root / f"s{i}.zarr", rows, 32, 5, seed=i, unlabelled=unlabelled)
    return root


def test_lists_are_read_as_people_write_them_and_a_missing_name_is_named(scenes, tmp_path):
    (tmp_path / "a.csv").write_text(
        "\ufeffName;x\nName,site\n".partition("\n")[2] + "s0.mat,north\n\n# later\ns1,south\n"
    )
    (tmp_path / "b.txt").write_text("s2.zarr\n")
    groups = groups_of([str(tmp_path / "a.csv"), str(tmp_path / "b.txt")], [])
    assert groups == {"a": ["s0.mat", "s1"], "b": ["s2.zarr"]}
    folds = folds_of(groups, under(str(scenes), str(scenes)))
    assert [item.name for item in folds[1].train] == ["s0.mat", "s1"]
    assert folds[0].train[0].truth == str(scenes / "s2.zarr")
    (tmp_path / "c.txt").write_text("s0\ns7\n")
    with pytest.raises(UserError, match=r"'s7'.*s7\.zarr"):
        folds_of(groups_of([str(tmp_path / "c.txt")], ["b=s1"]), under(str(scenes), None))
    with pytest.raises(UserError, match="names, not paths"):
        under(str(scenes), None)("../stores/s0")
    for files, told in (([], ["A"]), ([], ["A=s0", "A=s1"]), ([str(tmp_path / "none.txt")], []), ([], ["A=,"])):
        with pytest.raises(UserError):
            groups_of(files, told)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match="no name"):
        groups_of([str(tmp_path / "empty.txt")], [])


def test_a_scene_on_both_sides_is_refused(scenes):
    items = [StudyScene(name=f"s{i}", scene=str(scenes / f"s{i}.zarr"), truth=None) for i in range(3)]
    with pytest.raises(UserError, match=r"fold B.*s0, which is in A already"):
        folds_of({"A": ["s0", "s1"], "B": ["s2", "s0.zarr"]}, among(items))
    (one,) = folds_of({"A": ["s0"]}, among(items), items)
    assert [item.name for item in one.train] == ["s1", "s2"]
    with pytest.raises(UserError, match="no scene to train on"):
        folds_of({"A": ["s0"]}, among(items))
    with pytest.raises(UserError, match=r"'s9'.*one of s0, s1, s2"):
        among(items)("s9")


def test_folds_told_in_full(scenes, tmp_path):
    file = tmp_path / "folds.toml"
    file.write_text('[[fold]]\nname = "0"\ntrain = ["s0", "s1"]\ntest = ["s2"]\n')
    (fold,) = read_folds(str(file), under(str(scenes), None))
    assert ([i.name for i in fold.train], [i.name for i in fold.test]) == (["s0", "s1"], ["s2"])
    for text, message in (
        ('[[fold]]\nname = "0"\ntrain = ["s0"]\ntest = ["s0"]\n', "already"),
        ('[[fold]]\nname = "0"\ntrain = ["s0"]\n', "name, train and test"),
        ('[[fold]]\nname = "0"\ntrain = []\ntest = ["s0"]\n', "train on"),
        ("fold = 3 4", "no TOML"),
        ("", "0 folds"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_folds(str(file), under(str(scenes), None))


lines = st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1) | st.none()), min_size=1, max_size=9)


@given(lines=lines)
def test_means_are_weighted_by_valid_pixels(lines):
    told = [{"weight": weight, "scores": {"gfc": value}} for weight, value in lines]
    if not sum(weight for weight, _ in lines):
        with pytest.raises(UserError, match="without a valid pixel"):
            averaged(told)
        return
    found = averaged(told)
    known = [(value, weight) for weight, value in lines if value is not None]
    assert found["pixels"] == sum(weight for weight, _ in lines)
    if sum(weight for _, weight in known):
        assert found["scores"]["gfc"] == pytest.approx(np.average(*np.array(known).T[:1], weights=np.array(known).T[1]))
    else:
        assert "gfc" not in found["scores"]


def test_the_weighted_mean_of_parts_is_the_figure_of_the_whole(scenes, make_scene, tmp_path):
    pred = make_scene(tmp_path / "p", 48, 32, 5, noise=0.2)
    truth = str(scenes / "s0.zarr")
    told = {"patch_size": 5, "patches": 5, "illuminant": "none"}
    parts = [api.evaluate(pred, truth, rows=rows, **told) for rows in ("0:13", "13:48")]
    whole = api.evaluate(pred, truth, **told)
    found = averaged([{"weight": part["pixels"], "scores": part} for part in parts])
    assert found["pixels"] == whole["pixels"]
    for name in ("rmse_pixel", "rmse_relative", "gfc", "sam"):
        assert found["scores"][name] == pytest.approx(whole[name], rel=1e-9)


def split(scenes, out, **options):
    """A study of one scene, cut into two regions: two widths, two seeds."""
    told = {**SPLIT, "data.scene": str(scenes / "s0.zarr")}
    grid = {"vary": {"net.base_width": [4, 6]}, "seeds": 2, "overrides": told}
    return api.study(SMALL, str(out), **{**grid, **options})


@pytest.fixture(scope="module")
def undisturbed(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "s"
    return out, split(scenes, out)


def test_the_table_has_mean_and_spread_of_what_evaluate_says(undisturbed, scenes):
    out, result = undisturbed
    assert (result["status"], result["failed"], result["runs"]) == ("complete", [], 4)
    assert [(row["variant"], row["fold"], row["seeds"]) for row in result["scores"]] == [
        ("base_width=4", "all", 2),
        ("base_width=6", "all", 2),
    ]
    kept = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    narrow = [line["scores"]["oa"] for line in kept if line["variant"] == "base_width=4"]
    row = result["scores"][0]
    assert len(set(narrow)) == 2
    assert row["mean"]["oa"] == pytest.approx(np.mean(narrow))
    assert row["std"]["oa"] == pytest.approx(np.std(narrow, ddof=1))
    assert row["pixels"] == 24 * 32
    (pred,) = sorted((out / "maps").glob("*/s0.zarr"))[:1]
    judged = json.loads(Path(f"{pred}.tilespec/evaluation.json").read_text())
    assert judged["oa"] in [line["scores"]["oa"] for line in kept]
    assert judged["overlaps_training"] is False
    assert judged["region"]["rows"] == [0, 24]
    text = (out / "table.csv").read_text().splitlines()
    assert text[0].startswith("variant,fold,seeds,pixels,iou_mean,iou_mean_std")
    assert f"{row['mean']['oa']}" in text[1]
    assert "| base_width=4 | all | 2 |" in result["table"]
    assert json.loads((out / "table.json").read_text()) == result["scores"]


def test_a_study_that_was_cut_has_the_table_of_one_that_was_not(undisturbed, scenes, tmp_path):
    cut = 0
    for units in (1, 3, 40, 60, 90):
        try:
            split(scenes, tmp_path / "s", progress=After(units))
        except KeyboardInterrupt:
            cut += 1
    assert cut >= 2
    torn = tmp_path / "s" / "results.jsonl"
    torn.write_text((torn.read_text() if torn.exists() else "") + '{"key": "half a li')
    split(scenes, tmp_path / "s")
    for name in ("table.json", "table.csv", "table.md"):
        assert (tmp_path / "s" / name).read_bytes() == (undisturbed[0] / name).read_bytes()


def test_what_is_done_is_not_done_again_and_a_grown_grid_does_what_is_new(undisturbed, scenes, tmp_path, monkeypatch):
    seen = []
    for verb in ("train", "predict", "evaluate"):
        told = getattr(api, verb)
        monkeypatch.setattr(
            api,
            verb,
            lambda *a, _verb=verb, _told=told, **k: (k.get("dry_run") or seen.append(_verb), _told(*a, **k))[1],
        )
    before, out = undisturbed[1], shutil.copytree(undisturbed[0], tmp_path / "s")  # the table of others stays
    again = split(scenes, out)
    assert seen == []
    assert again["scores"] == before["scores"]
    more = split(scenes, out, vary={"net.base_width": [4, 6, 8]}, seeds=1, discard=True)
    assert seen == ["train", "predict", "evaluate"]
    assert [row["seeds"] for row in more["scores"]] == [1, 1, 1]
    assert len(list((out / "maps").glob("*/s0.zarr"))) == 4
    seen.clear()
    split(
        scenes,
        out,
        seeds=1,
        vary={},
        evaluate={"patches": 7},
        overrides={**SPLIT, "net.base_width": 4, "data.scene": str(scenes / "s0.zarr")},
    )
    assert set(seen) <= {"train", "predict", "evaluate"}
    assert json.loads((out / "results.jsonl").read_text().splitlines()[-1])["scores"]["oa"] == pytest.approx(
        json.loads((out / "results.jsonl").read_text().splitlines()[0])["scores"]["oa"]
    )


def test_a_run_that_fails_is_kept_as_an_error_and_tried_again(scenes, tmp_path, monkeypatch):
    predict = api.predict

    def broken(model, *args, **options):
        if json.loads((Path(model) / "model.json").read_text())["net"]["base_width"] == 4:
            raise RuntimeError("the disk is full")
        return predict(model, *args, **options)

    monkeypatch.setattr(api, "predict", broken)
    result = split(scenes, tmp_path / "s", seeds=1)
    assert result["status"] == "incomplete"
    assert [line["error"] for line in result["failed"]] == ["RuntimeError: the disk is full"]
    assert [row["seeds"] for row in result["scores"]] == [0, 1]
    assert "base_width=4 / all / seed 0 failed" in result["notes"][0]
    monkeypatch.setattr(api, "predict", predict)
    mended = split(scenes, tmp_path / "s", seeds=1)
    assert (mended["status"], mended["failed"]) == ("complete", [])
    assert len(Results(path=tmp_path / "s" / "results.jsonl").lines()) == 2


def test_two_folds_are_judged_on_each_other_and_weighted_by_pixels(scenes, tmp_path, monkeypatch):
    lists = []
    for name, members in (("A", ["s0"]), ("B", ["s1", "s2"])):
        (tmp_path / f"{name}.txt").write_text("\n".join(members))
        lists.append(str(tmp_path / f"{name}.txt"))
    predict, seen, gone = api.predict, [], {"s2"}

    def counted(model, scene, *args, **options):
        seen.append(Path(scene).stem)
        if seen[-1] in gone:
            raise OSError("gone")
        return predict(model, scene, *args, **options)

    monkeypatch.setattr(api, "predict", counted)
    told = {"folds": lists, "root": str(scenes), "seeds": 1}
    assert len(api.study(SMALL, str(tmp_path / "s"), **told)["failed"]) == 1
    gone.clear()
    seen.clear()
    result = api.study(SMALL, str(tmp_path / "s"), **told)
    assert seen == ["s2"]  # what was judged before is judged
    a, b, both = result["scores"]
    assert (a["fold"], b["fold"], both["fold"]) == ("A", "B", "all folds")
    known = [int((Scene.open(str(scenes / f"s{i}.zarr")).labels() != 255).sum()) for i in range(3)]
    assert (a["pixels"], b["pixels"], both["pixels"]) == (known[0], known[1] + known[2], sum(known))
    weighed = (a["mean"]["oa"] * a["pixels"] + b["mean"]["oa"] * b["pixels"]) / both["pixels"]
    assert both["mean"]["oa"] == pytest.approx(weighed)
    lines = [json.loads(line) for line in (tmp_path / "s" / "results.jsonl").read_text().splitlines()]
    assert [[scene["scene"] for scene in line["scenes"]] for line in lines] == [["s0"], ["s1", "s2"]]
    assert [line["scenes"][0]["weight"] for line in lines] == known[:2]
    regions = [json.loads(p.read_text())["provenance"] for p in (tmp_path / "s" / "models").glob("*/model.json")]
    assert sorted(len(region["train_regions"]) for region in regions) == [1, 2]


def test_baselines_stand_in_the_same_table(scenes, tmp_path):
    result = split(scenes, tmp_path / "s", vary={}, seeds=1, baselines=["sam"], predict={"tile": 16, "overlap": 4})
    assert [row["variant"] for row in result["scores"]] == ["configuration", "sam"]
    assert all(row["mean"]["oa"] > 0 for row in result["scores"])
    with pytest.raises(UserError, match="one scene"):
        api.study(SMALL, str(tmp_path / "t"), fold=["A=s0", "B=s1,s2"], root=str(scenes), baselines=["plsda"])


@pytest.fixture(scope="module")
def pairs(scenes, make_scene, tmp_path_factory):
    """Return folders of spectra and of what three broad bands make of them, under the same names."""
    root = tmp_path_factory.mktemp("pairs")
    broad = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1]], np.float32).T / 3
    for i in range(2):
        spectra = Scene.open(str(scenes / f"s{i}.zarr"))
        cube = spectra.read(spectra.roi)
        cube[:, 28:] = 0  # padding
        write_cube(root / "hs" / f"s{i}.zarr", cube, nm=spectra.spectral.values)
        write_cube(root / "rgb" / f"s{i}.zarr", cube @ broad, nm=(450.0, 550.0, 650.0))
    return root


REBUILD = {
    "data": {"patch": 16, "patches": 4},
    "task": {"name": "reconstruct"},
    "net": {"name": "unet", "base_width": 4, "n_down": 1, "norm": "none", "init": "kaiming"},
    "objective": {"name": "supervised", "loss": "l1"},
    "train": {"steps": 3, "batch": 2, "warmup": 1},
}


def test_spectra_from_rgb_are_studied_by_folds_beside_a_regression(pairs, tmp_path):
    roots = {"root": str(pairs / "rgb"), "target_root": str(pairs / "hs")}
    told = {"seeds": 1, "baselines": ["linear"], "evaluate": {"peak": 1, "illuminant": "none"}}
    result = api.study(REBUILD, str(tmp_path / "s"), fold=["A=s0", "B=s1"], **roots, **told)
    assert result["failed"] == []
    assert [(row["variant"], row["fold"], row["pixels"]) for row in result["scores"]] == [
        ("configuration", "A", 48 * 28),
        ("configuration", "B", 40 * 28),
        ("configuration", "all folds", 88 * 28),
        ("linear", "A", 48 * 28),
        ("linear", "B", 40 * 28),
        ("linear", "all folds", 88 * 28),
    ]
    for row in result["scores"]:
        assert row["mean"]["rmse_pixel"] > 0
        assert 0 < row["mean"]["gfc"] <= 1
    net, linear = (row["mean"]["rmse_pixel"] for row in result["scores"] if row["fold"] == "all folds")
    assert linear < net  # three steps teach nothing
    missing = {"root": str(pairs / "rgb"), "target_root": str(scenes_without(tmp_path))}
    with pytest.raises(UserError, match="'s0'"):
        api.study(REBUILD, str(tmp_path / "t"), fold=["A=s0", "B=s1"], **missing)


def scenes_without(tmp_path):
    """Return an empty folder."""
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_spectra_from_rgb_are_studied_on_two_regions_of_one_scene(pairs, tmp_path):
    told = {"data.scene": str(pairs / "rgb" / "s0.zarr"), "data.target": str(pairs / "hs" / "s0.zarr"), **SPLIT}
    judged = {"illuminant": "none"}
    result = api.study(REBUILD, str(tmp_path / "s"), overrides=told, seeds=1, baselines=["linear"], evaluate=judged)
    assert [(row["variant"], row["pixels"]) for row in result["scores"]] == [
        ("configuration", 24 * 28),
        ("linear", 24 * 28),
    ]
    kept = sorted((tmp_path / "s" / "maps").glob("*/s0.zarr.tilespec/evaluation.json"))
    assert len(kept) == 2
    for path in kept:
        facts = json.loads(path.read_text())
        assert facts["pixels_black"] == 24 * 4
        assert facts["overlaps_training"] is False
        assert facts["region"]["rows"] == [0, 24]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": {"data.scene": "S"}}, "no test region"),
        ({"seeds": 0}, "--seeds"),
        ({"vary": {"net.n_branchez": [1, 2]}}, "n_branchez"),
        ({"vary": {"train.seed": [1, 2]}}, "--seeds"),
        ({"vary": {"train.stepz": "1,2"}}, "stepz"),
        ({"predict": {"tyle": 3}}, "--predict tyle"),
        ({"evaluate": {"peek": 3}}, "--evaluate peek"),
        ({"baselines": ["plsda", "nope"]}, "nope"),
        ({"root": "S"}, "lists of names"),
        ({"target_root": "S"}, "--root too"),
        ({"overrides": {**SPLIT, "data.scene": "S", "data.rows": "20:48"}}, "test region"),
        ({"overrides": {**SPLIT, "data.scene": "S", "data.test_rows": "0:99"}}, "99"),
    ],
)
def test_mistakes_are_told_before_anything_is_run(scenes, tmp_path, options, message):
    scene = str(scenes / "s0.zarr")
    if "overrides" in options:
        options = {"overrides": {k: scene if v == "S" else v for k, v in options["overrides"].items()}}
    with pytest.raises(UserError, match=message):
        split(scenes, tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_the_command_says_its_plan_its_table_and_what_failed(undisturbed, scenes, tmp_path, monkeypatch):
    words = [
        "study",
        "preset:tiny",
        "--out",
        str(tmp_path / "s"),
        "--set",
        f"data.scene={scenes / 's0.zarr'}",
        "--quiet",
    ]
    words += ["--rows", "24:48", "--test-rows", "0:24", "--seeds", "1", "--vary", "train.steps=1,2", "--json"]
    words += ["--set", "train.warmup=0"]
    plan = CliRunner().invoke(app, [*words, "--dry-run"])
    told = json.loads(plan.stdout)
    assert [run["done"] for run in told["runs"]] == [False, False]
    assert told["variants"] == ["steps=1", "steps=2"]
    assert not (tmp_path / "s").exists()
    predict = api.predict
    monkeypatch.setattr(api, "predict", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("gone")))
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 3
    assert len(json.loads(failed.stdout)["failed"]) == 2
    monkeypatch.setattr(api, "predict", predict)
    done = CliRunner().invoke(app, words[: words.index("--json")] + words[-2:])
    assert done.exit_code == 0
    assert "| steps=2 | all | 1 |" in done.stdout
    wrong = CliRunner().invoke(app, [*words, "--vary", "train.steps"])
    assert wrong.exit_code == 2
