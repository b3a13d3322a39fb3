"""What a line camera stores: counts that calibrate back to reflectance, in files that look whole only when they are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from interrupts import After, StoppedError, stop
from spectral.io import envi

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.simulate import raw as files
from tilespec.simulate.sensor import PANEL, RAW_MS, WHITE_MS, sensor
from tilespec.simulate.simulate import simulate
from tilespec.storage.scene import Scene

SIZE = {"rows": 200, "cols": 150, "bands": 20, "plants": 4}
COUNTS = {"raw": (5095.46, 5712.85), "white": (12296.27, 7093.34), "dark": (420.08, 16.35)}
"""Mean and standard deviation of the stored counts."""
IMAGES = ("raw", "white", "dark", "labels", "plant", "material")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "raw"
    simulate(out, **SIZE, raw=True)
    return out


def counts(folder, name, lines):
    """Return stored counts as line, sample, band."""
    stored = np.fromfile(folder / f"{name}.bil", "<u2").reshape(lines, SIZE["bands"], SIZE["cols"])
    return stored.transpose(0, 2, 1)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_folder_holds_each_image_with_its_header_and_nothing_else(folder):
    assert set(contents(folder)) == {f"{name}.{suffix}" for name in IMAGES for suffix in ("hdr", "bil")}


def test_another_reader_finds_the_sizes_types_and_keys(folder):
    header = envi.read_envi_header(str(folder / "raw.hdr"))
    assert [int(header[key]) for key in ("lines", "samples", "bands", "data type", "byte order")] == [
        200,
        150,
        20,
        12,
        0,
    ]
    assert header["interleave"] == "bil"
    assert float(header["integration time"]) == RAW_MS
    assert "Integration time = 9.000" in header["description"]
    np.testing.assert_allclose([float(v) for v in header["wavelength"]], np.linspace(407, 997, 20), atol=1e-3)
    white = envi.read_envi_header(str(folder / "white.hdr"))
    assert float(white["integration time"]) == WHITE_MS
    assert float(white["panel reflectance"]) == PANEL
    labels = envi.read_envi_header(str(folder / "labels.hdr"))
    assert labels["file type"] == "ENVI Classification"
    assert labels["class names"] == ["background", "plant"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gdal_reads_the_same_counts(folder):
    with rasterio.open(folder / "raw.bil") as image:
        np.testing.assert_array_equal(image.read().transpose(1, 2, 0), counts(folder, "raw", 200))


def test_the_counts_are_frozen_to_a_tolerance(folder):
    stored = {name: counts(folder, name, 200 if name == "raw" else 100) for name in ("raw", "white", "dark")}
    measured = {name: (float(v.mean()), float(v.std())) for name, v in stored.items()}
    for name, (mean, spread) in COUNTS.items():
        assert measured[name] == (pytest.approx(mean, rel=2e-3), pytest.approx(spread, rel=5e-3)), name


def test_the_truth_is_that_of_the_scene(folder, tmp_path):
    out = str(tmp_path / "scene")
    simulate(out, **SIZE)
    scene = Scene.open(out)
    for name, dtype in (("labels", "u1"), ("plant", "<u2"), ("material", "u1")):
        np.testing.assert_array_equal(np.fromfile(folder / f"{name}.bil", dtype).reshape(200, 150), scene.layer(name))


def test_counts_calibrate_back_to_reflectance_within_the_noise(folder, tmp_path):
    calibrated, direct = str(tmp_path / "calibrated"), str(tmp_path / "direct")
    ingest(
        folder / "raw.hdr",
        calibrated,
        white=folder / "white.hdr",
        dark=folder / "dark.hdr",
        labels=folder / "labels.hdr",
        dtype="float32",
    )
    simulate(direct, **SIZE)
    one, other = (Scene.open(url) for url in (calibrated, direct))
    measured, noisy = one.read(one.roi), other.read(other.roi)
    device = sensor(0, SIZE["bands"])
    full = np.asarray(device.electrons)
    expected = np.sqrt(np.maximum(noisy, 0.0) / full + (8 / full) ** 2) * np.sqrt(2)
    score = (measured - noisy)[~np.isnan(measured)] / expected[~np.isnan(measured)]
    assert abs(np.median(score)) < 0.1
    assert np.quantile(np.abs(score), 0.68) == pytest.approx(1, abs=0.15)
    np.testing.assert_array_equal(one.labels(), other.labels())


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_resumes_to_the_same_files(folder, tmp_path, workers):
    out = tmp_path / "raw"
    with pytest.raises(StoppedError):
        simulate(out, **SIZE, raw=True, progress=After(0, stop))
    assert not list(out.glob("*.hdr"))
    with (out / "raw.bil.partial").open("ab") as torn:
        torn.write(b"half a line")
    simulate(out, **SIZE, raw=True, workers=workers)
    assert contents(out) == contents(folder)


def test_a_run_that_stops_between_renames_resumes_to_the_same_files(folder, tmp_path, monkeypatch):
    out = tmp_path / "raw"

    def fail(image, layout):
        if image.name == "dark":
            raise StoppedError
        return real(image, layout)

    real = files.header
    monkeypatch.setattr(files, "header", fail)
    with pytest.raises(StoppedError):
        simulate(out, **SIZE, raw=True)
    monkeypatch.undo()
    assert not (out / "raw.hdr").exists()
    simulate(out, **SIZE, raw=True)
    assert contents(out) == contents(folder)


def test_files_shorter_than_the_ledger_says_are_refused(tmp_path):
    out = tmp_path / "raw"
    with pytest.raises(StoppedError):
        simulate(out, **SIZE, raw=True, progress=After(0, stop))
    (out / "raw.bil.partial").write_bytes(b"")
    with pytest.raises(UserError, match="the ledger says"):
        simulate(out, **SIZE, raw=True)


def test_a_foreign_folder_and_other_settings_are_refused(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="was not begun by tilespec"):
        simulate(tmp_path / "mine", **SIZE, raw=True)
    with pytest.raises(UserError, match="seed was 0, is 1"):
        simulate(folder, **SIZE, raw=True, seed=1)


def test_a_second_run_changes_nothing(folder, tmp_path):
    copy = tmp_path / "raw"
    shutil.copytree(folder, copy)
    shutil.copytree(f"{folder}.tilespec", f"{copy}.tilespec")
    told = simulate(copy, **SIZE, raw=True)
    assert contents(copy) == contents(folder)
    assert json.loads(json.dumps(told))["plant_pixels"] > 0
    assert Path(f"{copy}.tilespec").is_dir()
