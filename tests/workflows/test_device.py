"""What a device computes equals what NumPy does: the path of tensors on the processor, as a GPU takes it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr
from generators import CLASSES, generator
from hypothesis import given, settings
from hypothesis import strategies as st
from untrained_models import APPROXIMATE, UNET, objects, save_model, stored

from tilespec import api
from tilespec.core import device
from tilespec.core.arrays import cut, on_host
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene

TENSORS = (
    "tilespec.predict.planning.device_of",
    "tilespec.spectra.fit.device_of",
    "tilespec.spectra.transform.device_of",
    "tilespec.predict.synth.device_of",
    "tilespec.evaluate.evaluate.device_of",
)
DROPOUT = {**UNET, "dropout": 0.3}


@pytest.fixture
def tensors(monkeypatch):
    """Return the function that makes every verb compute with tensors on the processor from now on."""

    def use():
        for name in TENSORS:
            monkeypatch.setattr(name, lambda *_, **__: "cpu")

    return use


@pytest.fixture(params=["float32", "uint16"])
def scene(request, make_scene, tmp_path):
    return make_scene(tmp_path / "scene", 110, 75, 7, nan=0.03, dtype=request.param)


def both(tensors, verb, *args, out, **options):
    """Return the output of a verb with NumPy and with tensors."""
    results = verb(*args, f"{out}-host", **options), (tensors(), verb(*args, f"{out}-tensors", **options))[1]
    return (f"{out}-host", f"{out}-tensors"), results


@pytest.mark.parametrize(
    ("net", "options"),
    [
        (UNET, {"probabilities": True}),
        (APPROXIMATE, {"probabilities": True, "overlap": 8, "disagreement": True}),
        (APPROXIMATE, {"probabilities": True, "norm": "frozen"}),
        (DROPOUT, {"probabilities": True, "samples": 3, "flips": True, "disagreement": True}),
        (UNET, {"probabilities": True, "rows": "13:90", "cols": "5:70", "tile": 24, "overlap": 3, "window": "linear"}),
    ],
)
def test_a_prediction(scene, tmp_path, tensors, net, options):
    model = save_model(tmp_path / "model", scene, net=net)
    outs, results = both(tensors, api.predict, model, scene, out=tmp_path / "out", **options)
    for name in ("probability", *(["disagreement"] if "disagreement" in options else [])):
        host, on_device = (stored(out, name) for out in outs)
        assert np.isnan(host).any()
        np.testing.assert_allclose(on_device, host, rtol=2e-4, atol=2e-5)
    apart = stored(outs[0]) != stored(outs[1])
    assert apart.mean() < 1e-3, "classes differ only where two are as probable"
    assert [result["nodata"] for result in results] == [results[0]["nodata"]] * 2
    assert results[0]["tiles"] == results[1]["tiles"]


def model_behind(recipe, scene, folder):
    """Save an untrained model behind a recipe."""
    plain, fitted = Model.load(save_model(folder, scene)), Recipe.load(str(recipe))
    torch.manual_seed(1)
    net = build("unet", fitted.bands_out, 2, **{key: value for key, value in UNET.items() if key != "name"})
    replace(plain, recipe=fitted, channels=(fitted.bands_out, 2), weights=net.state_dict()).save(str(folder / "behind"))
    return str(folder / "behind")


@pytest.mark.parametrize("steps", ["vsn,pca=4", "snv,sg=5:2:1", "drop=400:450,msc,minmax", "mnf=3", "absorbance,mean"])
def test_a_recipe_fitted_applied_and_predicted_behind(scene, tmp_path, tensors, steps):
    api.fit(scene, tmp_path / "recipe", steps=steps)
    model = model_behind(tmp_path / "recipe", scene, tmp_path / "plain")
    (host, other), _ = both(tensors, api.predict, model, scene, out=tmp_path / "map", probabilities=True)
    np.testing.assert_allclose(stored(other, "probability"), stored(host, "probability"), rtol=1e-3, atol=1e-3)
    (host, other), results = both(lambda: None, api.transform, tmp_path / "recipe", scene, out=tmp_path / "t")
    assert objects(host) == objects(other), "both with tensors: the same bits"
    plain = Recipe.load(str(tmp_path / "recipe")).apply(Scene.open(scene).read(Scene.open(scene).roi).reshape(-1, 7))
    found = np.asarray(zarr.open_group(other, mode="r")["cube"]).reshape(plain.shape)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(plain))
    np.testing.assert_allclose(found, plain, rtol=1e-3, atol=1e-4 * np.nanmax(np.abs(plain)))
    assert results[0]["invalid_pixels"] == np.isnan(plain[:, 0]).sum()


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        ("snv,pca=3", {}),
        ("snv,pca=3", {"mask": "labels", "weights": "labels"}),
        ("minmax,mean", {"mask": "labels"}),
        ("mnf=2", {}),
    ],
)
def test_a_fit(scene, tmp_path, tensors, steps, options):
    outs, results = both(tensors, api.fit, scene, out=tmp_path / "recipe", steps=steps, **options)
    host, other = (Recipe.load(out) for out in outs)
    for ours, theirs in zip(host.steps, other.steps, strict=True):
        for name, values in vars(ours).items():
            np.testing.assert_allclose(getattr(theirs, name), values, rtol=2e-3, atol=2e-4 * np.abs(values).max())
    assert [r.get("invalid_pixels") for r in results] == [results[0].get("invalid_pixels")] * 2


def test_several_models_and_their_spread(scene, tmp_path, tensors):
    models = [save_model(tmp_path / "a", scene), save_model(tmp_path / "b", scene, net=APPROXIMATE)]
    (host, other), _ = both(
        tensors, api.predict, models, scene, out=tmp_path / "out", probabilities=True, disagreement=True, overlap=8
    )
    for name in ("probability", "disagreement"):
        np.testing.assert_allclose(stored(other, name), stored(host, name), rtol=2e-4, atol=2e-5)


def test_workers_and_parts_have_the_same_bytes_as_one_process(scene, tmp_path, tensors):
    tensors()
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    for workers in (0, 2):
        api.predict(model, scene, tmp_path / f"out{workers}", workers=workers, overlap=8, probabilities=True)
    assert objects(tmp_path / "out0") == objects(tmp_path / "out2")


def test_another_device_is_another_product_and_a_tile_that_fails_is_nodata_there_too(scene, tmp_path, tensors):
    model = save_model(tmp_path / "model", scene)
    api.predict(model, scene, tmp_path / "out", rows="0:40")
    tensors()
    with pytest.raises(UserError, match="backend"):
        api.predict(model, scene, tmp_path / "out", rows="0:40")


def test_synthetic_spectra(make_scene, tmp_path, tensors):
    scene = make_scene(tmp_path / "s", 60, 50, 7, classes=CLASSES)
    gan = generator(tmp_path / "gan", scene)
    (host, other), _ = both(tensors, api.synth, gan, out=tmp_path / "t", count=50)
    a, b = (np.asarray(zarr.open_group(out, mode="r")["cube"]) for out in (host, other))
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"ssim": True, "floor": 0.3}, {"bootstrap": 20, "block_size": 32}])
def test_scores_of_channels(make_scene, tmp_path, tensors, options):
    truth, other = (make_scene(tmp_path / f"s{seed}", 90, 70, 7, seed=seed, nan=0.02) for seed in (0, 1))
    host = api.evaluate(other, truth, **options)
    tensors()
    on_device = api.evaluate(other, truth, **options)
    assert _numbers(host) == pytest.approx(_numbers(on_device), rel=1e-9, nan_ok=True)


def test_scores_of_classes(scene, tmp_path, tensors):
    model = save_model(tmp_path / "model", scene)
    api.predict(model, scene, tmp_path / "map")
    host = api.evaluate(tmp_path / "map", scene)
    tensors()
    assert _numbers(api.evaluate(tmp_path / "map", scene)) == _numbers(host)


def _numbers(result):
    """Return all figures of an evaluation but those of the run."""
    left = {key: value for key, value in result.items() if key not in ("seconds", "peak_memory")}
    flat = {"": left}
    numbers = {}
    while flat:
        name, value = flat.popitem()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            flat |= {f"{name}/{key}": inner for key, inner in items}
        elif isinstance(value, int | float):
            numbers[name] = value
    return numbers


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "mps", "cuda:-1", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(UserError, match=r"--device.*cpu, cuda, cuda:N or auto"):
        device.device_of(name)


def test_the_names_of_devices(monkeypatch):
    monkeypatch.setattr(device, "_gpus", lambda: 2)
    names = {name: device.device_of(name) for name in ("cpu", "cuda", "cuda:1", "auto")}
    assert names == {"cpu": None, "cuda": "cuda", "cuda:1": "cuda:1", "auto": "cuda"}
    with pytest.raises(UserError, match="2 GPUs"):
        device.device_of("cuda:2")
    assert device.device_of("cuda:2", elsewhere=True) == "cuda:2"
    monkeypatch.setattr(device, "_gpus", lambda: 0)
    assert device.device_of("auto") is None
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=f"--device: found {name}, where torch sees 0 GPUs"):
            device.device_of(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_every_verb_refuses_one_and_writes_nothing(scene, tmp_path):
    model = save_model(tmp_path / "model", scene)
    api.fit(scene, tmp_path / "recipe", steps="snv")
    for verb, inputs in (
        (api.predict, (model, scene)),
        (api.fit, (scene,)),
        (api.transform, (tmp_path / "recipe", scene)),
    ):
        with pytest.raises(UserError, match="sees 0 GPUs"):
            verb(*inputs, tmp_path / "out", device="cuda")
    assert not list(tmp_path.glob("out*"))


def test_a_batch_beyond_the_memory_of_a_device_is_a_clear_error(scene, tmp_path, tensors, monkeypatch):
    tensors()
    model = save_model(tmp_path / "model", scene)
    from tilespec.predict.predictor import TorchPredictor

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(TorchPredictor, "_averaged", full)
    with pytest.raises(UserError, match=r"too little memory for tiles of .*smaller --tile"):
        api.predict(model, scene, tmp_path / "out")


runs = st.integers(0, 5).flatmap(
    lambda a: st.integers(a + 1, 6).flatmap(
        lambda b: st.sampled_from([slice(a, b), slice(b - 1, a - 1 if a else None, -1)])
    )
)


@given(runs, runs)
@settings(max_examples=60)
def test_slices_go_backwards_in_tensors_too(y, x):
    values = np.arange(6 * 6 * 2).reshape(6, 6, 2)
    np.testing.assert_array_equal(on_host(cut(torch.from_numpy(values), (y, x))), values[y, x])


def test_the_record_of_a_product_says_the_device(scene, tmp_path):
    api.predict(save_model(tmp_path / "model", scene), scene, tmp_path / "out")
    command = json.loads((tmp_path / "out.tilespec" / "command.json").read_text())
    assert command["options"]["device"] == "cpu"
