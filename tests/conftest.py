"""Small labelled scenes for every test that needs one."""

import os
from collections.abc import Callable

import pytest
from hypothesis import settings
from scenes import write_scene

# Tests run beside each other, and idle OpenMP threads that spin take the cores of the others: torch reads this when it
# loads. The command line sets the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
settings.register_profile("busy", deadline=None)  # a law holds however busy the machine is
settings.load_profile("busy")


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., str]:
    """Return the function that writes small labelled scenes: ``make_scene(path, rows, cols, bands, seed, classes)``."""
    return write_scene
