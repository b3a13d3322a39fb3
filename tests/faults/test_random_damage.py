"""Products that are damaged at random: every verb that reads one refuses it by name, or comes to what it did before."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGE

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.audit import verify


def exchange(path, other):
    held = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(held)


FAULTS = {name: lambda path, other, of=of: of(path, other.read_bytes()) for name, (of, _) in DAMAGE.items()} | {
    "exchanged": exchange,
    "a folder": lambda path, _: (path.unlink(), path.mkdir()),
    "a pipe": lambda path, _: (path.unlink(), os.mkfifo(path)),
    "a link to another object": lambda path, other: (path.unlink(), path.symlink_to(other)),
}
VERBS = {
    "fit": lambda at: api.fit(at / "scene", at / "recipe", steps="snv,pca=2") and text(at / "recipe/recipe.json"),
    "transform": lambda at: api.transform(at.parent / "recipe", at / "scene", at / "scores") and objects(at / "scores"),
    "predict": lambda at: api.predict(at.parent / "model", at / "scene", at / "new") and objects(at / "new"),
    "evaluate": lambda at: api.evaluate(at / "map", at / "scene", patches=2, patch_size=32)["confusion"],
    "measure": lambda at: api.measure(at / "map", at / "scene", at / "t.csv", by="labels") and text(at / "t.csv"),
    "export": lambda at: api.export(at / "map", at / "map.hdr") and data(at / "map.hdr"),
    "export of a cube": lambda at: api.export(at / "scene", at / "scene.hdr") and data(at / "scene.hdr"),
    "ingest": lambda at: api.ingest(at / "scene", at / "again") and objects(at / "again", "cube"),
    "report": lambda at: len(api.report([at / "scene", at / "map"], at / "page.html")) > 0,
    "info": lambda at: {name: api.info(at / name)["shape"] for name in ("scene", "map")},
}


def text(path):
    return path.read_text()


def data(header):
    """Return the bytes beside an ENVI header."""
    (path,) = (p for p in header.parent.glob(f"{header.stem}.*") if p.is_file() and p != header)
    return path.read_bytes()


def objects(store, *names):
    """Return the stored objects of a product, or of some of its arrays."""
    paths = [path for path in sorted(store.rglob("*")) if path.is_file() and "/c/" in path.as_posix()]
    return {
        str(p.relative_to(store)): p.read_bytes() for p in paths if not names or p.relative_to(store).parts[0] in names
    }


def result(verb, at):
    """Return what a verb comes to, or None where it refuses by name."""
    try:
        return VERBS[verb](at)
    except UserError as error:
        assert str(at) in str(error), f"{verb}: {error} names no file"  # noqa: PT017 - a refusal is one of two answers
        return None


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_scene):
    """A scene, a model of it and a prediction, each with its records; and what every verb makes of them."""
    at = tmp_path_factory.mktemp("made")
    make_scene(at / "whole/scene", 130, 100, 6, unlabelled=0.1)
    api.baseline("plsda", at / "whole/scene", at / "first", components=2)
    shutil.move(f"{at / 'first'}.model", at / "model")
    api.predict(at / "model", at / "whole/scene", at / "whole/map", probabilities=True)
    api.fit(at / "whole/scene", at / "recipe", steps="snv,pca=2")
    shutil.copytree(at / "whole", at / "right")
    return at, {verb: result(verb, at / "right") for verb in VERBS}


def damaged(made, seed):
    """Damage a copy of both stores at random; return what used it silently, or overlooked it."""
    (at, right), rng = made, np.random.default_rng(seed)
    copy = Path(shutil.copytree(at / "whole", at / f"copy-{seed}"))
    store = copy / str(rng.choice(["scene", "map"]))
    paths = sorted(path for path in store.rglob("*") if path.is_file())
    alike = [path for path in paths if path.parent.parent != store] or paths
    path, other = (alike[i] for i in rng.choice(len(alike), 2, replace=False))
    fault, whole = str(rng.choice(list(FAULTS))), path.read_bytes()
    FAULTS[fault](path, other)
    results = {verb: result(verb, copy) for verb in VERBS}
    silent = [verb for verb, got in results.items() if got is not None and got != right[verb]]
    same = path.is_file() and not path.is_symlink() and path.read_bytes() == whole
    if not same and verify(store)["intact"]:
        silent.append("verify")
    shutil.rmtree(copy)
    return [f"{verb} of {fault} at {path.relative_to(copy)}" for verb in silent]


def test_all_verbs_come_to_something_of_whole_stores(made):
    assert [verb for verb, got in made[1].items() if got is None] == []


def test_no_verb_uses_a_damaged_product_silently(made):
    assert damaged(made, 0) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_damaged_products_are_never_used_silently(made):
    assert [line for seed in range(1, 101) for line in damaged(made, seed)] == []
