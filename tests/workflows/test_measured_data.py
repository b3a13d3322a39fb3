"""The main job on measured data: a kernel of maize with its references, Indian Pines, a whole maize plant.

The data lie beside the project where they are at hand; they are not part of it.
"""

import numpy as np
import pytest
from locations import DATA
from PIL import Image

from tilespec import api
from tilespec.storage.scene import Scene


def measured(folder):
    path = DATA / folder
    if not path.is_dir():
        pytest.skip(f"{folder}: the measured data are not beside the project")
    return path


@pytest.fixture
def kernel(tmp_path):
    """A maize kernel, calibrated, with a mask derived from its reflectance at 850 nm."""
    folder = measured("plantcv_corn_kernel_envi")
    references = {name: str(folder / f"{name}_reference_crop.hdr") for name in ("white", "dark")}
    raw = str(folder / "corn_kernel_B73.hdr")
    api.ingest(raw, str(tmp_path / "plain.zarr"), **references)
    scene = Scene.open(str(tmp_path / "plain.zarr"))
    bright = scene.read(scene.roi)[..., scene.spectral.nearest(850)] > 0.15
    np.save(tmp_path / "mask.npy", bright.astype(np.uint8))
    out = str(tmp_path / "kernel.zarr")
    result = api.ingest(raw, out, **references, labels=str(tmp_path / "mask.npy"))
    return out, result


def test_a_maize_kernel_goes_from_counts_to_a_plsda_map(kernel, tmp_path):
    scene, ingested = kernel
    assert any("byte order is missing" in note for note in ingested["notes"])
    cube = Scene.open(scene).read(Scene.open(scene).roi)
    nearest = Scene.open(scene).spectral.nearest
    lit = cube[cube[..., nearest(850)] > 0.7]  # the side of the kernel that faces the lamp
    assert np.median(lit[:, nearest(425)]) == pytest.approx(0.16, abs=0.06)
    assert np.median(lit[:, nearest(900)]) == pytest.approx(0.87, abs=0.1)
    fitted = api.fit(scene, str(tmp_path / "recipe"), steps="crop=420:1000,vsn,pca=3", cols="0:22")
    assert fitted["pixels"] == 31 * 22
    learned = api.baseline("plsda", scene, str(tmp_path / "map"), cols="0:22", components=3)
    assert learned["calibration_accuracy"] > 0.9
    judged = api.evaluate(str(tmp_path / "map"), scene, cols="22:43", patch_size=16)
    assert judged["oa"] > 0.9
    assert judged["scene_iou"] > 0.85
    assert judged["overlaps_training"] is False


def test_indian_pines_goes_through_network_and_baseline_with_a_spatial_split(tmp_path):
    source = f"{measured('indian_pines')}/indian_pines.npz"
    scene = str(tmp_path / "pines.zarr")
    ingested = api.ingest(source, scene, variable="cube", labels=f"{source}:gt", ignore_label=0)
    assert sum(ingested["label_counts"]) == 10249
    assert ingested["unlabelled"] == 145 * 145 - 10249
    settings = {"data.scene": scene, "data.rows": "0:73", "data.test_rows": "73:145", "recipe.steps": "pca=20,scale"}
    api.train("preset:tiny", str(tmp_path / "net"), overrides=settings)
    api.predict(str(tmp_path / "net"), scene, str(tmp_path / "network"))
    learned = api.baseline("plsda", scene, str(tmp_path / "pls"), rows="0:73", components=20)
    assert learned["absent_classes"] == ["Wheat"]  # the region has none: kept in number and name, never predicted
    for name in ("network", "pls"):
        judged = api.evaluate(str(tmp_path / name), scene, rows="73:145", patch_size=48)
        assert judged["oa"] > 0.35, name  # the commonest class alone would give 0.35
        assert judged["labelled"] == 4154
        assert judged["overlaps_training"] is False


def test_a_maize_plant_is_a_picture_in_which_the_plant_stands_out(tmp_path):
    source = f"{measured('maize_plant_vnir_swir')}/maize_plant_243bands_uint8.npz"
    scene = str(tmp_path / "maize.zarr")
    api.ingest(source, scene, variable="cube", labels=f"{source}:plant_mask_derived")
    api.export(scene, str(tmp_path / "maize.png"))
    with Image.open(tmp_path / "maize.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(float)
    plant = Scene.open(scene).labels() == 1
    assert picture.shape == (*plant.shape, 3)
    redness = picture[..., 0] - picture[..., 1]
    assert redness[plant].mean() > redness[~plant].mean() + 50
