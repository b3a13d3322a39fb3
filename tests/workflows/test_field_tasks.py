"""Tasks that answer spectra: less noise, another instrument, a finer grid; on scenes and on tables alike."""

import json

import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS

BANDS, HEIGHT, WIDTH, NOISE = 12, 48, 40, 0.1
QUICK = {"steps": 200, "batch": 4, "rate": 3e-2, "warmup": 1, "loaders": 0, "schedule": "cosine"}


def smooth_spectra(seed=0):
    """Return spectra of two random weights at each pixel, float32 ``y, x, band`` of about 0.2 to 0.8."""
    draw, band = np.random.default_rng(seed), np.linspace(0, 1, BANDS)
    shapes = np.stack([np.sin(3 * band), np.cos(5 * band)])
    return (0.5 + 0.15 * draw.uniform(-1, 1, (HEIGHT, WIDTH, 2)) @ shapes).astype(np.float32)


def stored(path, spectra, first=500.0):
    """Write a cube as a scene with wavelengths; return its URL."""
    source = path.with_suffix(".npy")
    np.save(source, spectra)
    last = first + 10 * (spectra.shape[2] - 1)
    api.ingest(str(source), str(path), wavelengths=f"{first:g}:{last:g}", wavelength_unit="nm")
    return str(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return the URLs of clean, noisy and offset spectra, and of a coarser grid."""
    at, clean = tmp_path_factory.mktemp("fields"), smooth_spectra()
    noise = np.random.default_rng(1).normal(0, NOISE, clean.shape).astype(np.float32)
    coarse = clean.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, BANDS).mean((1, 3))
    other = 0.1 + 0.7 * (clean[..., :-1] + clean[..., 1:]) / 2
    cubes = {"clean": clean, "noisy": clean + noise, "coarse": coarse}
    urls = {name: stored(at / name, cube) for name, cube in cubes.items()}
    return at, urls | {"other": stored(at / "other", other, first=505.0)}


def learned(stores, name, scene, target, **tables):
    """Train a net, predict the scene with it; return the figures of the prediction."""
    at, urls = stores
    out = at / f"{name}-{len(list(at.iterdir()))}"
    data = {"scene": urls[scene], "target": urls[target], "patch": 8, "patches": 800, "augment": False}
    settings = {"data": data, "task": {"name": name}, "net": {"name": "linear"}, "recipe": {"steps": ""}}
    settings |= {"objective": {"name": "supervised", "loss": "mse"}, "train": QUICK} | tables
    api.train(settings, str(out))
    api.predict(str(out), urls[scene], f"{out}.zarr")
    return api.evaluate(f"{out}.zarr", urls[target], patches=1), out


def test_a_pixelwise_net_takes_noise_away(stores):
    found, model = learned(stores, "denoise", "noisy", "clean")
    assert found["rmse"] < 0.6 * NOISE  # two of twelve directions carry signal: about .41 of the noise remains
    assert json.loads((model / "model.json").read_text())["spectral_out"]["values"][0] == 500.0


def test_spectra_of_another_instrument_have_its_bands(stores):
    found, model = learned(stores, "calibrate", "clean", "other")
    assert found["rmse"] < 0.03  # unchanged spectra would be about .15 off
    assert json.loads((model / "model.json").read_text())["spectral_out"]["values"][:2] == [505.0, 515.0]


def test_a_denoised_spectrum_has_the_bands_of_the_scene(stores):
    with pytest.raises(UserError, match=r"(?s)11 bands.*task\.name=calibrate"):
        learned(stores, "denoise", "clean", "other")


@pytest.mark.parametrize("scale", [0, 17])
def test_a_scale_without_pixels_or_beyond_use_is_refused(stores, scale):
    with pytest.raises(UserError, match=r"task\.scale"):
        learned(stores, "superres", "coarse", "clean", task={"name": "superres", "scale": scale})


def test_a_target_of_another_size_than_the_scale_says_is_refused(stores):
    with pytest.raises(UserError, match="4 times the size"):
        learned(stores, "superres", "coarse", "clean", task={"name": "superres", "scale": 4})


def test_a_finer_grid_lies_on_that_of_the_target(stores, monkeypatch):
    monkeypatch.setenv(PLUGINS, "own_tasks")
    found, model = learned(stores, "superres", "coarse", "clean", net={"name": "own_tasks:Doubles"})
    fine = np.asarray(zarr.open_group(f"{model}.zarr", mode="r")["prediction"])
    assert fine.shape == (HEIGHT, WIDTH, BANDS)
    repeated = np.repeat(
        np.repeat(smooth_spectra().reshape(HEIGHT // 2, 2, WIDTH // 2, 2, BANDS).mean((1, 3)), 2, 0), 2, 1
    )
    best = np.sqrt(np.square(repeated - smooth_spectra()).mean())  # nothing of the four pixels but their mean is known
    assert_allclose(found["rmse"], best, rtol=0.1)
