"""Synthetic scenes in a training: learned from as a whole, beside the region of the measured ones."""

import numpy as np
import pytest
from generators import generator
from safetensors.numpy import load_file
from spectral_pairs import write_pair

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.training.config import resolve
from tilespec.training.data.patches import PatchStream
from tilespec.training.data.training_set import open_training_set
from tilespec.training.validation.held_out import held_out

PATCHES = {"data.patch": 16, "data.patches": 8, "net.name": "unet", "net.base_width": 2, "net.n_down": 2}
BRIEF = {**PATCHES, "train.steps": 2, "train.batch": 4, "recipe.steps": "mean"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, make_scene):
    """A measured scene, one that a generator has filled, and a table of the generator's spectra."""
    folder = tmp_path_factory.mktemp("synthetic")
    real = make_scene(folder / "real", 48, 40, 5, classes=3, unlabelled=0.1)
    gan = generator(folder, real)
    api.synth(gan, folder / "filled", labels=real)
    api.synth(gan, folder / "table", count=3)
    return real, str(folder / "filled"), str(folder / "table")


def opened(real, **more):
    config = resolve("preset:demo", {"data.scene": real, **PATCHES, **more})
    training_set = open_training_set(config)
    stream = PatchStream.of(config, training_set)
    regions = [(region.scene.url, region.roi) for region in training_set.regions]
    return regions, [stream.patch(k) for k in range(16)]


def test_without_rows_a_synthetic_scene_is_one_more_scene(scenes, tmp_path):
    real, filled, _ = scenes
    assert opened(real, **{"data.synthetic": filled}) == opened([real, filled])
    api.train("preset:demo", tmp_path / "a", overrides={"data.scene": real, "data.synthetic": filled, **BRIEF})
    api.train("preset:demo", tmp_path / "b", overrides={"data.scene": [real, filled], **BRIEF})
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_a_training_of_single_spectra_learns_from_a_table_as_from_one_more_scene(scenes, tmp_path):
    real, _, table = scenes
    single = {**BRIEF, "data.patch": 1, "net.name": "mlp", "net.hidden": [8], "data.patches": 64, "data.shares": [1, 1]}
    del single["net.base_width"], single["net.n_down"]
    config = {"data": {"scene": real}, "task": {"name": "segment"}, "net": {"name": "mlp"}}
    config["objective"] = {"name": "supervised", "loss": "cross_entropy"}
    api.train(config, tmp_path / "a", overrides={"data.synthetic": table, **single})
    api.train(config, tmp_path / "b", overrides={**single, "data.scene": [real, table]})
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_rows_and_the_test_region_are_those_of_measured_scenes(scenes):
    real, filled, _ = scenes
    regions, _ = opened(real, **{"data.synthetic": filled, "data.rows": "0:24", "data.test_rows": "24:48"})
    assert [(url, roi.shape) for url, roi in regions] == [(real, (24, 40)), (filled, (48, 40))]


def test_a_synthetic_scene_may_be_smaller_than_where_the_test_rows_begin(scenes, make_scene):
    real, _, _ = scenes
    small = make_scene(f"{real}-small", 20, 20, 5, classes=3)
    rows = {"data.rows": "0:16", "data.test_rows": "32:48", "validate.rows": "16:32"}
    config = resolve("preset:demo", {"data.scene": real, "data.synthetic": small, **PATCHES, **rows})
    assert held_out(config, open_training_set(config)).regions[0].roi.shape == (16, 40)


def test_shares_count_synthetic_scenes_last(scenes):
    real, filled, _ = scenes
    _, patches = opened(real, **{"data.synthetic": filled, "data.shares": [0.0, 1.0]})
    assert {patch.scene for patch in patches} == {1}
    with pytest.raises(UserError, match=r"and data\.synthetic, not all 0"):
        opened(real, **{"data.synthetic": filled, "data.shares": [1.0]})


def test_tables_and_tasks_without_classes_are_refused(scenes, tmp_path):
    real, _, table = scenes
    with pytest.raises(UserError, match=r"data\.synthetic: .*a table of spectra"):
        opened(real, **{"data.synthetic": table})
    rgb, spectra = write_pair(tmp_path / "pair")
    given = {"data.target": spectra, "task.name": "reconstruct", "data.synthetic": real}
    with pytest.raises(UserError, match=r"data\.synthetic"):
        opened(rgb, **given)


def test_a_training_goes_on_with_the_same_synthetic_scene_only(scenes, tmp_path):
    real, filled, _ = scenes
    given = {"data.scene": real, "data.synthetic": filled, **BRIEF}
    api.train("preset:demo", tmp_path / "a", overrides=given)
    with pytest.raises(UserError):
        api.train("preset:demo", tmp_path / "a", overrides={**given, "data.synthetic": real, "train.steps": 3})
