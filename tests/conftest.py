"""Small labelled scenes for every test that needs one."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from scenes import write_scene

settings.register_profile("busy", deadline=None)  # a law holds however busy the machine is
settings.load_profile("busy")


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., str]:
    """Return the function that writes small labelled scenes: ``make_scene(path, rows, cols, bands, seed, classes)``."""
    return write_scene
