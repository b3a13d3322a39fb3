"""What an earlier commit began is finished by this one: the same fingerprints, the same bytes. See `begin.py`."""

import json
import shutil
import tarfile
from contextlib import chdir
from pathlib import Path

import begin
import numpy as np
import pytest
import zarr

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The archive, unpacked; where commands were begun stands the folder in which they go on."""
    folder = tmp_path_factory.mktemp("continuity")
    with tarfile.open(begin.ARCHIVE) as files:
        files.extractall(folder, filter="data")
    place = str(folder / "begun")
    for path in folder.rglob("*.json*"):
        before = path.read_text()
        path.write_text(before.replace(begin.PLACE, place))
        if path.name == "settings.json" and begin.PLACE in before:  # where its sources lie decides the fingerprint
            records = path.parent / fingerprint(json.loads(before))
            records.rename(path.parent / fingerprint(json.loads(path.read_text())))
    return folder


@pytest.fixture(scope="module")
def expected(archive):
    return json.loads((archive / "expected.json").read_text())


def contents(folder):
    """Return the files of a product, or of a model: all but what a training keeps to go on."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in begin.written(folder) if p.name != "lock.json"}


def values(folder):
    """Return all arrays of a product, or the weights of a model."""
    if (folder / "model.safetensors").exists():
        from safetensors.numpy import load_file

        return load_file(folder / "model.safetensors")
    return {name: array[:] for name, array in zarr.open_group(str(folder), mode="r").arrays()}


def same(folder, finished, exact):
    """Assert that a product is the finished one: its bytes on the hardware of then, else its values to rounding."""
    if exact:
        found = contents(folder)
        assert {name: found[name] for name in contents(finished)} == contents(finished)
        return
    for name, array in values(finished).items():
        np.testing.assert_allclose(values(folder)[name], array, rtol=1e-3, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("name", begin.UNFINISHED)
def test_what_was_begun_is_finished_with_the_same_fingerprint_and_the_same_bytes(archive, expected, name):
    with chdir(archive / "begun"):
        before = {path: path.stat().st_mtime_ns for path in Path(name).glob("*/c/*/*/*") if path.is_file()}
        result = begin.run(name)
        assert all(path.stat().st_mtime_ns == written for path, written in before.items()), "rows were written again"
        assert name != "trained" or result["resumed_from"] == 3
        exact = begin.same_hardware(expected["hardware"])
        same(Path(name), archive / "finished" / name, exact)
        found, then = begin.facts(name), expected["facts"][name]
        assert found.get("settings") == then.get("settings")
        if exact:  # a digest is that of the bytes
            assert found == then


@pytest.mark.parametrize("name", ["recipe", "model", "plsda.model", "plsda"])
def test_recipes_models_and_products_of_then_keep_their_digests(archive, expected, name):
    with chdir(archive / "begun"):
        assert begin.facts(name) == expected["facts"][name]


def test_recipes_models_and_products_of_then_are_read(archive, expected):
    from tilespec.models.model import Model
    from tilespec.spectra.recipe import Recipe

    with chdir(archive / "begun"):
        for name in ("model", "plsda.model"):
            assert Model.load(name).digest == expected["facts"][name]["digest"]
        assert Recipe.load("recipe").digest == expected["facts"]["recipe"]["digest"]
        assert api.verify("plsda")["whole"]
        assert api.predict("plsda.model", "scene", "plsda")["fingerprint"] == api.status("plsda")["fingerprint"]


def test_another_fingerprint_is_refused(archive):
    """The law above can fail: a product that was begun with other settings is not gone on with."""
    with chdir(archive / "begun"):
        shutil.copytree("predicted", "other")
        shutil.copytree("predicted.tilespec", "other.tilespec")
        with pytest.raises(UserError, match="overlap"):
            api.predict("model", "tall", "other", tile=32, overlap=8, probabilities=True)
