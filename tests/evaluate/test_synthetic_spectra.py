"""Synthetic spectra against real ones: figures of spectra whose means, spreads and copies are known."""

import numpy as np
import pytest
from generators import generator
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.core.types import Roi
from tilespec.evaluate.synthetic_spectra import compare, drawn
from tilespec.storage.scene import Scene

BANDS = 8
NAMES = ("soil", "leaf", "stem")


def classes(seed, n=200, spread=1.0, shift=0.0, apart=1.0):
    """Return Gaussian spectra of three classes."""
    rng = np.random.default_rng(0)
    means = apart * rng.uniform(0.2, 0.8, (3, BANDS))
    noise = np.random.default_rng(seed).normal(0, 0.03 * spread, (3, n, BANDS))
    return {c: (means[c] + shift + noise[c]).astype(np.float32) for c in range(3)}


def test_spectra_of_the_same_kind_differ_in_nothing():
    found = compare(classes(1), classes(2), NAMES, 0)
    assert found["spread_ratio"] == pytest.approx(1, abs=0.05)
    assert max(row["mean_rmse"] for row in found["per_class"].values()) < 0.01
    assert (found["collapsed"], found["notes"]) == ([], [])
    assert set(found["svm"]) == {f"{a} to {b}" for a in ("real", "synthetic") for b in ("real", "synthetic")}
    assert min(found["svm"].values()) > 0.98
    assert found["neighbour_ratio"] == pytest.approx(1, abs=0.1)
    assert found["copies"] < 0.01


def test_a_spread_that_is_too_small_is_a_collapse_and_is_said():
    found = compare(classes(1), classes(2, spread=0.3), NAMES, 0)
    assert found["spread_ratio"] == pytest.approx(0.3, abs=0.03)
    assert found["collapsed"] == list(NAMES)
    assert "collapse" in found["notes"][0]


def test_copies_are_found():
    real = classes(1)
    copied = {c: x[:50] + np.float32(1e-5) for c, x in real.items()}
    found = compare(real, copied, NAMES, 0)
    assert found["copies"] == 1
    assert found["neighbour_ratio"] < 0.01


def test_the_error_of_a_mean_is_that_of_the_shift_in_shares_of_the_range():
    real = classes(1)
    width = max(x.max() for x in real.values()) - min(x.min() for x in real.values())
    found = compare(real, classes(1, shift=0.1), NAMES, 0)
    for row in found["per_class"].values():
        assert row["mean_rmse"] == pytest.approx(0.1 / width, rel=1e-3)


def test_spectra_that_a_classifier_cannot_use_fail_the_test_of_four_ways():
    found = compare(classes(1), {c: classes(2)[(c + 1) % 3] for c in range(3)}, NAMES, 0)["svm"]
    assert found["real to real"] > 0.98
    assert found["synthetic to synthetic"] > 0.98
    assert found["real to synthetic"] < 0.1
    assert found["synthetic to real"] < 0.1


def test_a_class_with_one_spectrum_is_left_out_and_said():
    real = classes(1)
    real[2] = real[2][:1]
    found = compare(real, classes(2), NAMES, 0)
    assert set(found["per_class"]) == {"soil", "leaf"}
    assert "stem" in found["notes"][-1]


def test_nothing_in_common_is_refused():
    with pytest.raises(UserError, match="two spectra or more"):
        compare({0: classes(1)[0]}, {1: classes(1)[1]}, NAMES, 0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("s") / "scene", 70, 60, BANDS, classes=3, unlabelled=0.2, nan=0.02)


@given(cut=st.integers(1, 69), seed=st.integers(0, 50))
@settings(max_examples=10)
def test_the_draw_of_a_region_is_that_of_its_parts(scene, cut, seed):
    opened = Scene.open(scene)

    def draw(y0, y1):
        return drawn(opened, Roi(y0=y0, y1=y1, x0=0, x1=60), 9, seed, Silent()).classes

    whole, parts = draw(0, 70), drawn(opened, Roi(y0=0, y1=cut, x0=0, x1=60), 9, seed, Silent())
    parts = parts + drawn(opened, Roi(y0=cut, y1=70, x0=0, x1=60), 9, seed, Silent())
    for number, (keys, spectra) in whole.items():
        np.testing.assert_array_equal(parts.classes[number][0], keys)
        np.testing.assert_array_equal(parts.classes[number][1], spectra)
        assert len(keys) == 9
        assert np.isfinite(spectra).all()


def test_a_table_is_evaluated_by_the_verb(scene, tmp_path):

    gan = generator(tmp_path, scene)
    api.synth(gan, tmp_path / "t", count=30)
    found = api.evaluate(tmp_path / "t", scene)
    assert set(found["per_class"]) == set(Scene.open(scene).classes())
    assert (tmp_path / "t.tilespec" / "evaluation.json").exists()
    assert api.evaluate(tmp_path / "t", scene, dry_run=True)["dry_run"]
