"""Info: what a store, a file, a model or a recipe holds, in full and without reading pixels or weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tilespec.baselines.baseline import baseline
from tilespec.core.errors import UserError
from tilespec.evaluate.evaluate import evaluate
from tilespec.ingest.ingest import info
from tilespec.models.model import Model
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.transform import transform
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_scene):
    """A scene, its recipe, its transformed scene, and a baseline of it that was evaluated."""
    root = tmp_path_factory.mktemp("info")
    scene = make_scene(root / "scene.zarr", 60, 70, 12, classes=3)
    fit(scene, str(root / "recipe"), steps="snv,pca=3")
    transform(str(root / "recipe"), scene, str(root / "scores.zarr"))
    baseline("sam", scene, str(root / "sam.zarr"), rows="0:30")
    evaluate(str(root / "sam.zarr"), scene, rows="30:60", patch_size=9)
    return root


def test_a_recipe_tells_its_steps_and_its_bands(folder):
    found, recipe = info(folder / "recipe"), Recipe.load(str(folder / "recipe"))
    assert found["steps"] == "snv,pca=3"
    assert found["takes"]["bands"] == 12
    assert found["makes"] == {
        "bands": 3,
        "spectral": {"name": "component", "unit": "1", "first": 1.0, "last": 3.0, "count": 3, "bad": 0},
    }
    assert found["fitted"]["pca=3"]["explained_variance_ratio"] == recipe.facts[1]["explained_variance_ratio"]
    assert found["digest"] == recipe.digest


def test_a_model_tells_what_it_takes_and_predicts_and_where_it_comes_from(folder):
    found, model = info(folder / "sam.zarr.model"), Model.load(str(folder / "sam.zarr.model"))
    assert found["classes"] == list(model.classes)
    assert found["method"] == "sam"
    assert found["takes"]["bands"] == 12
    assert found["takes"]["spectral"]["unit"] == "nm"
    assert found["trained_on"][0]["rows"] == [0, 30]
    assert found["parameters"] == sum(weight.numel() for weight in model.weights.values())
    assert found["digest"] == model.digest
    assert json.dumps(found)


def test_a_transformed_scene_tells_its_recipe_and_a_prediction_its_model_and_scores(folder):
    scores, prediction = info(folder / "scores.zarr"), info(folder / "sam.zarr")
    assert scores["provenance"]["recipe_steps"] == "snv,pca=3"
    assert prediction["provenance"]["method"] == "sam"
    assert prediction["provenance"]["scene_digest"] == Scene.open(str(folder / "scene.zarr")).digest
    assert prediction["classes"] == list(Scene.open(str(folder / "scene.zarr")).classes())
    kept = json.loads(Path(f"{folder / 'sam.zarr'}.tilespec/evaluation.json").read_text())
    assert prediction["evaluated"]["oa"] == kept["oa"]


def test_a_training_without_a_model_tells_how_far_it_is(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 0, "loss": 2}\n{"step": 7, "loss": 1}\n{"step": 8, "lo')
    assert info(tmp_path)["steps_taken"] == 8


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"net": 1}'])
def test_a_damaged_card_is_refused_by_name(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.json"):
        info(tmp_path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_store_of_another_program_is_told_as_ingest_reads_it(tmp_path, version):
    data = np.zeros((3, 4, 5), np.float32)
    waves = ("band", np.linspace(0.4, 0.8, 3), {"units": "um"})
    array = xr.DataArray(data, dims=("band", "y", "x"), name="reflectance", coords={"wavelength": waves})
    array.to_zarr(tmp_path / "x.zarr", zarr_format=version, consolidated=version == 2)
    found = info(tmp_path / "x.zarr")
    assert found["shape"] == [4, 5, 3]
    assert found["spectral"]["last"] == pytest.approx(800)
    assert "status" not in found
    xr.concat([array, array], "time").to_zarr(tmp_path / "t.zarr", zarr_format=version, consolidated=version == 2)
    with pytest.raises(UserError, match="more axes than y, x and band"):
        info(tmp_path / "t.zarr")


def test_the_digest_by_which_products_name_their_scene_is_told(folder):
    assert info(folder / "scene.zarr")["cube_digest"] == info(folder / "sam.zarr")["provenance"]["scene_digest"]
