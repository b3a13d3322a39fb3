"""A run that is killed while it publishes leaves what the next one publishes as if nothing had happened."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import write_scene

from tilespec.storage import product


class KilledError(Exception):
    """The end of a process at once."""


@given(st.integers(1, 5))
def test_whenever_a_publication_is_killed_the_next_one_writes_the_same(tmp_path_factory, steps):
    place = tmp_path_factory.mktemp("scene")
    write_scene(place / "scene", 32, 32, 3)
    file, done = place / "scene" / "zarr.json", 0
    whole = file.read_bytes()
    root = json.loads(whole)
    root.pop("consolidated_metadata")
    root["attributes"].pop(product.LAYOUT)
    file.write_text(json.dumps(root, indent=2))
    write = product.write_atomic

    def dies(*words):
        nonlocal done
        done += 1
        if done == steps:
            raise KilledError
        write(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "write_atomic", dies)
        for _ in range(2):
            try:
                product.publish(str(place / "scene"), {"tilespec_status": "complete"})
            except KilledError:
                continue
    assert json.loads(file.read_bytes()) == json.loads(whole)
