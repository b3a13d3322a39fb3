import numpy as np
import pytest

from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene
from tilespec.training.train import train

NET = {"name": "unet", "base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming"}


def config(scene, *, net=None, **tables):
    """Return a training of a few steps."""
    base = {
        "data": {"scene": scene, "patch": 16, "patches": 6},
        "recipe": {"steps": "pca=3,scale"},
        "net": {**NET, **(net or {})},
        "objective": {"name": "supervised"},
        "train": {"steps": 2, "batch": 2, "warmup": 1},
    }
    return {name: {**base.get(name, {}), **tables.get(name, {})} for name in {*base, *tables}}


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 64, 48, 6, seed=1, nan=0.01, unlabelled=0.1)


def test_a_scene_list_shares_one_recipe_and_one_model(make_scene, tmp_path):
    scenes = [make_scene(tmp_path / f"{i}.zarr", 32, 40, 5, seed=i) for i in range(2)]
    train(config(scenes), str(tmp_path / "m"))
    regions = Model.load(str(tmp_path / "m")).provenance["train_regions"]
    assert [r["digest"] for r in regions] == [Scene.open(s).digest for s in scenes]


def test_a_recipe_that_was_fitted_before_is_used_as_it_is(scene, tmp_path):
    fit(scene, str(tmp_path / "r"), steps="snv,pca=2")
    train(config(scene, recipe={"path": str(tmp_path / "r"), "steps": None}), str(tmp_path / "m"))
    assert Model.load(str(tmp_path / "m")).recipe.digest == Recipe.load(str(tmp_path / "r")).digest


def test_labels_of_another_store_count_instead_of_the_scenes_own(make_scene, scene, tmp_path):
    other = make_scene(tmp_path / "l.zarr", 64, 48, 2, seed=9, classes=3)
    plan = train(config(scene, data={"labels": other}), str(tmp_path / "m"), dry_run=True)
    assert plan["classes"] == ["class_0", "class_1", "class_2"]
    assert plan["labelled_pixels"] == np.bincount(Scene.open(other).labels().ravel()).tolist()


def test_training_regions_restrict_the_patches_the_recipe_and_the_counts(scene, tmp_path):
    plan = train(config(scene, data={"rows": "32:64", "cols": ":20"}), str(tmp_path / "m"), dry_run=True)
    assert plan["regions"] == ["rows 32:64, columns 0:20"]
    assert sum(plan["labelled_pixels"]) == int((Scene.open(scene).labels()[32:64, :20] != 255).sum())


class TestBadInput:
    def refused(self, settings, text, tmp_path, **options):
        with pytest.raises(UserError, match=text) as caught:
            train(settings, str(tmp_path / "m"), **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "m").exists()

    def test_no_scene(self, tmp_path):
        self.refused(config("nowhere.zarr"), "nowhere.zarr: found nothing", tmp_path)

    def test_a_region_in_training_and_test(self, scene, tmp_path):
        bad = config(scene, data={"rows": "0:40", "test_rows": "39:64"})
        self.refused(bad, "training on rows 0:40.*no pixel of the test region", tmp_path)
        train(config(scene, data={"rows": "0:40", "test_rows": "40:64"}), str(tmp_path / "n"), dry_run=True)

    def test_a_region_smaller_than_a_patch(self, scene, tmp_path):
        bad = config(scene, data={"rows": "0:15"})
        self.refused(bad, "16 pixels, in a training region of 15 x 48; expected at most 12", tmp_path)

    def test_a_region_smaller_than_any_patch(self, scene, tmp_path):
        self.refused(config(scene, data={"rows": "0:3"}), "a region of at least 4 x 4", tmp_path)

    def test_a_patch_that_does_not_halve(self, scene, tmp_path):
        self.refused(config(scene, data={"patch": 18}), "a multiple of 4.*data.patch=20", tmp_path)

    def test_rows_beyond_the_scene(self, scene, tmp_path):
        self.refused(config(scene, data={"rows": "0:65"}), "'0:65'; expected A:B with 0 <= A < B <= 64", tmp_path)

    def test_labels_of_another_size(self, make_scene, scene, tmp_path):
        other = make_scene(tmp_path / "l.zarr", 64, 47, 2)
        self.refused(config(scene, data={"labels": other}), "labels of 64 x 47 pixels; expected 64 x 48", tmp_path)

    def test_as_many_label_stores_as_scenes(self, scene, tmp_path):
        self.refused(config(scene, data={"labels": [scene, scene]}), "found 2 stores; expected 1", tmp_path)

    def test_no_labels(self, make_scene, tmp_path):
        bare = make_scene(tmp_path / "b.zarr", labelled=False)
        self.refused(config(bare), r"expected labels\(y, x\)", tmp_path)

    def test_nothing_labelled(self, make_scene, tmp_path):
        blank = make_scene(tmp_path / "b.zarr", unlabelled=1.0)
        self.refused(config(blank), "without a labelled pixel", tmp_path)

    def test_more_classes_than_the_task_has(self, make_scene, tmp_path):
        three = make_scene(tmp_path / "b.zarr", classes=3)
        self.refused(config(three, task={"name": "segment", "classes": 2}), "label 2 in the training", tmp_path)

    def test_scenes_of_other_bands(self, make_scene, scene, tmp_path):
        other = make_scene(tmp_path / "o.zarr", 64, 48, 7)
        self.refused(config([scene, other]), "7 bands.*expected 6 bands", tmp_path)

    def test_scenes_of_other_classes(self, make_scene, scene, tmp_path):
        other = make_scene(tmp_path / "o.zarr", 64, 48, 6, classes=3)
        self.refused(config([scene, other]), "class_0, class_1, class_2; expected background, plant", tmp_path)

    def test_a_recipe_of_other_bands(self, make_scene, scene, tmp_path):
        other = make_scene(tmp_path / "o.zarr", 64, 48, 7)
        fit(other, str(tmp_path / "r"), steps="pca=2")
        bad = config(scene, recipe={"path": str(tmp_path / "r"), "steps": None})
        self.refused(bad, "found 6 bands.*expected 7 bands", tmp_path)

    def test_more_components_than_bands(self, scene, tmp_path):
        self.refused(config(scene, recipe={"steps": "pca=7"}), "at most 6 components", tmp_path)

    def test_an_unknown_key_of_the_net(self, scene, tmp_path):
        bad = config(scene, net={"width": 4})
        self.refused(bad, r"net.width: found an unknown key; expected keys of \[net\]: base_width, n_down", tmp_path)

    def test_an_unknown_net(self, scene, tmp_path):
        self.refused(config(scene, net={"name": "unett"}), "one of .*identity, .*unet", tmp_path)

    def test_heads_that_differ(self, scene, tmp_path):
        self.refused(config(scene, net={"head": "tanh"}), "'tanh' and 'logits'", tmp_path)

    def test_no_ranks(self, scene, tmp_path):
        self.refused(config(scene), "found 0; expected at least 1", tmp_path, ranks=0)

    def test_a_batch_that_ranks_cannot_share(self, scene, tmp_path):
        self.refused(config(scene), "2 patches for 3 ranks.*train.batch=3", tmp_path, ranks=3)
