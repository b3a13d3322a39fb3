import json

import pytest
import torch

from tilespec.models.model import Model
from tilespec.models.tasks import task
from tilespec.storage.scene import Scene
from tilespec.training.config import resolve
from tilespec.training.data.patches import PatchStream
from tilespec.training.data.training_set import open_training_set
from tilespec.training.train import train


def lines(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("rows", "cols", "bands", "classes", "dtype"),
    [(64, 64, 3, 2, "float32"), (64, 64, 30, 5, "uint16"), (17, 40, 1, 2, "float32"), (9, 20, 4, 3, "float32")],
)
def test_tiny_trains_on_any_labelled_scene(make_scene, tmp_path, rows, cols, bands, classes, dtype):
    scene = make_scene(tmp_path / "s.zarr", rows, cols, bands, seed=5, classes=classes, dtype=dtype)
    result = train("preset:tiny", str(tmp_path / "m"), overrides={"data.scene": scene})
    model = Model.load(str(tmp_path / "m"))
    assert len(model.classes) == classes
    assert model.tile <= min(rows, cols)
    assert result["seconds"] < 60
    assert lines(tmp_path / "m")[-1]["cross_entropy"] < lines(tmp_path / "m")[0]["cross_entropy"]


@pytest.mark.parametrize(
    ("head", "objective"),
    [
        ("logits", {"name": "supervised"}),
        ("tanh", {"name": "cgan", "loss": "l1", "fidelity": 100.0, "adversarial": 1.0, "separate": True}),
    ],
)
def test_two_patches_are_learned_by_heart(make_scene, tmp_path, head, objective):
    scene = make_scene(tmp_path / "s.zarr", 64, 128, 6, seed=5, noise=0.2)
    if objective["name"] == "cgan":
        objective["discriminator"] = {"base_width": 4, "n_layers": 2, "norm": "channel", "init": "kaiming"}
    settings = {
        "data": {"scene": scene, "patch": 64, "patches": 2, "augment": False},
        "recipe": {"steps": "pca=3,scale"},
        "task": {"name": "segment", "head": head},
        "net": {"base_width": 8, "n_down": 4, "norm": "channel", "head": head, "dropout": 0.0, "init": "kaiming"},
        "objective": objective,
        "train": {"steps": 150, "rate": 5e-3, "warmup": 10, "checkpoint_every": 1000},
    }
    result = train(settings, str(tmp_path / "m"))
    log = lines(tmp_path / "m")
    loss = "l1" if head == "tanh" else "cross_entropy"
    assert result["losses"][loss] < 0.5 * log[0][loss]
    assert min(_iou(tmp_path / "m", scene, settings)) > 0.9


def _iou(folder, url, settings):
    model, scene = Model.load(str(folder)), Scene.open(url)
    stream = PatchStream.of(resolve(settings), open_training_set(resolve(settings)))
    segment, net = task(model.task), model.module()
    for k in range(2):
        place = (slice(stream.patch(k).y, stream.patch(k).y + 64), slice(stream.patch(k).x, stream.patch(k).x + 64))
        cube = scene.read(scene.roi)[place]
        x = torch.from_numpy(model.recipe.apply(cube.reshape(-1, cube.shape[2])).reshape(64, 64, -1))
        with torch.no_grad():
            raw = segment.activate(net(x.permute(2, 0, 1)[None]))[0].permute(1, 2, 0)
        said, truth = segment.decode(raw.numpy()) == 1, scene.labels()[place] == 1
        yield (said & truth).sum() / (said | truth).sum()
