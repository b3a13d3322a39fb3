"""Scenes, recipes and models show themselves in notebooks; what comes from files is escaped."""

import base64
import io
import re
import shutil

from PIL import Image
from untrained_models import save_model

from tilespec import api
from tilespec.models.model import Model
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene


def test_a_scene_shows_a_picture_its_axis_and_its_size(make_scene, tmp_path):
    shown = Scene.open(make_scene(tmp_path / "scene", 40, 30, 5))._repr_html_()
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
    assert height * 30 == width * 40
    assert "40 x 30 x 5 (y, x, band), float32, 24 kB" in shown
    assert re.search(r"wavelength \d+ to \d+ nm", shown)
    assert "labels" in shown


def test_a_recipe_and_a_model_say_what_they_take(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 40, 30, 5)
    api.fit(scene, tmp_path / "recipe", steps="pca=3")
    recipe = Recipe.load(str(tmp_path / "recipe"))._repr_html_()
    assert "pca=3" in recipe
    assert "5 bands" in recipe
    assert "3 channels" in recipe
    model = Model.load(save_model(tmp_path / "model", scene))
    for said in ("segment", "unet", ", ".join(model.classes), "5 to 2 channels"):
        assert said in model._repr_html_(), said


def test_names_from_files_are_escaped_and_a_scene_that_is_gone_says_so(make_scene, tmp_path):
    place = tmp_path / "<script>alert(1)"
    scene = Scene.open(make_scene(place, 40, 30, 5))
    assert "<script>" not in scene._repr_html_()
    shutil.rmtree(place)
    shown = scene._repr_html_()
    assert "<script>" not in shown
    assert "found" in shown
