"""Small labelled scenes for every test that needs one."""

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from examples import EXAMPLES
from hypothesis import settings
from scenes import write_scene

# Tests run beside each other, and idle OpenMP threads that spin take the cores of the others: torch reads this when it
# loads. The command line sets the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A law holds however busy the machine is; `make test-all` tries it on more examples.
settings.register_profile("busy", deadline=None, max_examples=EXAMPLES)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., str]:
    """Return the function that writes small labelled scenes: ``make_scene(path, rows, cols, bands, seed, classes)``."""
    return write_scene


@pytest.fixture
def model_work(monkeypatch) -> Counter[str]:
    """Return what is counted in this process from now on: models loaded, nets built with weights, weights hashed."""
    from tilespec.models import model as module

    counts: Counter[str] = Counter()
    load, build, digest = module.Model.load.__func__, module.build, vars(module.Model)["digest"]

    def counted(key, function):
        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            counts[key] += key != "nets" or not any(weight.is_meta for weight in result.parameters())
            return result

        return call

    monkeypatch.setattr(module.Model, "load", classmethod(counted("loads", load)))
    monkeypatch.setattr(module, "build", counted("nets", build))
    monkeypatch.setattr(digest, "func", counted("hashes", digest.func))
    return counts


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """Return the port of an S3 server."""
    from object_store import served

    with served() as port:
        yield port


@pytest.fixture(scope="module")
def azure() -> Iterator[int]:
    """Return the port of an Azure server."""
    from emulators import azurite

    with azurite() as port:
        yield port


@pytest.fixture(params=["folder", "bucket"])
def place(request, server, tmp_path) -> Iterator:
    """Return a place to write to: on disk, and in a bucket."""
    from object_store import places

    with places(request.param, tmp_path, server) as where:
        yield where
