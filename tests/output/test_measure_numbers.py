"""Means of predicted numbers over samples: NumPy's, beside their references, in a table that can be read again."""

import csv

import numpy as np
import pytest
import zarr
from sample_scenes import trays

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.references import References


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """A scene of samples with its table, its ids, and its prediction."""
    folder = tmp_path_factory.mktemp("trays")
    scene, table, ids, _ = trays(folder, error=0.3)
    given = {"references": table, "samples_layer": "sample", "folds": 4, "recipe": "", "components": 2}
    found = api.baseline("plsr", scene, str(folder / "o"), **given)
    return scene, table, ids, str(folder / "o"), found


def test_the_table_has_the_means_of_each_sample_and_their_errors(predicted, tmp_path):
    scene, table, ids, pred, fitted = predicted
    out = tmp_path / "t.csv"
    found = api.measure(pred, scene, str(out), by="sample", references=table)
    values = zarr.open_group(pred, mode="r")["prediction"][...].astype(np.float64)
    means = np.array([values[ids == k].mean(axis=0) for k in range(1, 25)])
    read = References.read(out, ["fat", "water"])
    assert read.units == ("%", "%")
    assert read.samples == tuple(str(k) for k in range(1, 25))
    np.testing.assert_allclose(read.values, means, rtol=1e-9)
    truth = References.read(table).values
    for q, name in enumerate(("fat", "water")):
        scores = found["regressions"][name]
        assert scores["rmsep"] == pytest.approx(np.sqrt(((means - truth)[:, q] ** 2).mean()))
        assert scores["rmsep"] == pytest.approx(fitted["regressions"][name]["rmsec"], abs=1e-3)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert float(rows[4]["water_error"]) == pytest.approx((means - truth)[4, 1])
    assert float(rows[4]["fat_sd"]) == pytest.approx(values[ids == 5][:, 0].std(ddof=1))
    half = fitted["conformal_half_width"][0]
    assert float(rows[0]["fat_upper"]) - float(rows[0]["fat [%]"]) == pytest.approx(half)
    assert {(row["valid_pixels"], row["invalid_pixels"]) for row in rows} == {("256", "0")}


def test_a_scene_or_a_mask_of_it_is_one_sample(predicted, tmp_path):
    scene, _, ids, pred, _ = predicted
    values = zarr.open_group(pred, mode="r")["prediction"][...].astype(np.float64)
    for options, expected in (({}, values.mean(axis=(0, 1))), ({"mask": "sample"}, values[ids > 0].mean(axis=0))):
        api.measure(pred, scene, str(tmp_path / "t.csv"), **options)
        (row,) = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
        assert row["id"] == "trays"
        assert [float(row["fat [%]"]), float(row["water [%]"])] == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"by": "plant"}, "a layer 'plant'"),
        ({"by": "sample", "mask": "sample"}, "the mask sample together with it"),
        ({"regions": "fat"}, "--regions: found a prediction of numbers"),
        ({"references": "other"}, "expected some of fat, water of samples trays"),
        ({"references": "salt", "by": "sample"}, "quantities salt"),
    ],
)
def test_what_cannot_be_measured_is_refused(predicted, tmp_path, options, text):
    (tmp_path / "other").write_text("id,fat\nx,1\n")
    (tmp_path / "salt").write_text("id,salt\n1,1\n")
    if "references" in options:
        options = options | {"references": str(tmp_path / options["references"])}
    with pytest.raises(UserError, match=text):
        api.measure(predicted[3], predicted[0], str(tmp_path / "t.csv"), **options)
    assert not (tmp_path / "t.csv").exists()


def test_pixels_of_another_scale_belong_to_the_sample_at_their_centres(predicted, tmp_path):
    scene, _, ids, pred, _ = predicted
    values = zarr.open_group(pred, mode="r")["prediction"][...]
    half = zarr.open_group(str(tmp_path / "half"), mode="w")
    part = values[11::2, 5::2]
    names = ("y", "x", "band")
    half.create_array("prediction", shape=part.shape, dtype="float32", dimension_names=names)[...] = part
    half.attrs.update({"origin": [6, 0], "plane": [72, 108], "grid": {"scale": "1/2", "origin": 4}})
    api.measure(str(tmp_path / "half"), scene, str(tmp_path / "t.csv"), by="sample")
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    means = [part[ids[11::2, 5::2] == k].mean(axis=0, dtype=np.float64) for k in range(1, 25)]
    np.testing.assert_allclose([[float(row["0"]), float(row["1"])] for row in rows], means, rtol=1e-9)
    half.attrs["plane"] = [72, 109]
    with pytest.raises(UserError, match="a scene of 72 x 109 pixels"):
        api.measure(str(tmp_path / "half"), scene, str(tmp_path / "t.csv"), by="sample")


def test_a_table_of_something_else_is_left_alone(predicted, tmp_path):
    (tmp_path / "t.csv").write_text("mine\n")
    with pytest.raises(UserError, match="no such output"):
        api.measure(predicted[3], predicted[0], str(tmp_path / "t.csv"))
