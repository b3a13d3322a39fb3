"""Every kind of place keeps the laws of a store: a folder, buckets of three services, and a class of a user's own."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import shelf_store
from emulators import azure_container, gcs_bucket, generations
from object_store import contents, reached

from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS
from tilespec.storage import heartbeat
from tilespec.storage.audit import status, verify
from tilespec.storage.backends.paths import store_path
from tilespec.storage.lock import holder, locked
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

HOLD = """
import sys, time
from tilespec.storage.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["folder", "bucket", "gs", "az", "shelf"])
def root(request, tmp_path):
    """The URL below which a test writes."""
    if request.param == "folder":
        yield str(tmp_path)
    elif request.param == "bucket":
        with reached(request.getfixturevalue("server")) as (_, url):
            yield url
    elif request.param == "gs":
        with generations(request.getfixturevalue("server")) as server, gcs_bucket(server) as url:
            yield url
    elif request.param == "az":
        with azure_container(request.getfixturevalue("azure")) as url:
            yield url
    else:
        yield request.getfixturevalue("shelf")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The URL of a store whose class the user has named."""
    monkeypatch.setenv("SHELF", str(tmp_path))
    monkeypatch.setenv(PLUGINS, "shelf_store")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(Path(shelf_store.__file__).parent), *sys.path)))
    return "shelf://objects"


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("local") / "scene", 96, 80, 6)


def test_a_scene_written_anywhere_has_the_bytes_and_the_digest_of_one_on_disk(root, scene, make_scene):
    remote = make_scene(f"{root}/a/scene", 96, 80, 6)
    assert contents(remote) == contents(scene)
    assert Scene.open(remote).digest == Scene.open(scene).digest
    assert {key: json.loads(text) for key, text in contents(f"{remote}.tilespec").items()} == {
        key: json.loads(text) for key, text in contents(f"{scene}.tilespec").items()
    }


def test_a_product_that_was_interrupted_and_resumed_has_the_bytes_of_one_that_was_not(
    root, scene, make_scene, monkeypatch
):
    kept = Product.write

    def dies(self, row, *args, **options):
        if row == 1:
            raise KeyboardInterrupt
        kept(self, row, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Product, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            make_scene(f"{root}/scene", 96, 80, 6)
    told = status(f"{root}/scene")
    assert (told["status"], told["rows_done"], told["panels"][0]["missing"]) == ("writing", 1, [1, 2])
    make_scene(f"{root}/scene", 96, 80, 6)
    assert contents(f"{root}/scene") == contents(scene)


def test_a_product_of_other_settings_or_a_strange_store_is_not_written_over(root, make_scene):
    make_scene(f"{root}/scene", 32, 32, 4)
    with pytest.raises(UserError, match="a product of other settings"):
        make_scene(f"{root}/scene", 32, 32, 4, seed=5)
    store_path(f"{root}/other").mkdir()
    (store_path(f"{root}/other") / "notes.txt").write_bytes(b"mine")
    with pytest.raises(UserError, match="was not begun by tilespec"):
        make_scene(f"{root}/other", 32, 32, 4)


def test_two_prefixes_of_one_beginning_are_two_products(root, make_scene):
    make_scene(f"{root}/a", 32, 32, 4)
    make_scene(f"{root}/ab", 32, 32, 4, seed=1)
    before = contents(f"{root}/ab")
    assert verify(f"{root}/a")["unrecorded"] == []
    store_path(f"{root}/a").clear()
    assert contents(f"{root}/ab") == before


def test_a_second_run_is_refused_and_a_killed_one_blocks_nobody(root):
    run = subprocess.Popen([sys.executable, "-c", HOLD, f"{root}/p"], stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=rf"another run that writes it: process {run.pid} on "),
            locked(f"{root}/p"),
        ):
            pass
        assert holder(f"{root}/p")["alive"]
    finally:
        run.kill()
        run.communicate()
    with locked(f"{root}/p"):
        assert holder(f"{root}/p")["pid"] == os.getpid()
    assert holder(f"{root}/p") is None
    assert contents(f"{root}/p.tilespec") == {}


def test_a_lock_of_another_machine_holds_as_long_as_it_is_touched(root, monkeypatch):
    lock = store_path(f"{root}/p.tilespec") / "lock"
    lock.parent.mkdir()
    lock.write_bytes(json.dumps({"host": "far", "realm": "far", "pid": 1, "token": "t"}).encode())
    with pytest.raises(UserError, match="process 1 on far"), locked(f"{root}/p"):
        pass
    now = heartbeat.now
    monkeypatch.setattr(heartbeat, "now", lambda folder: now(folder) + heartbeat.TTL + 5)
    with locked(f"{root}/p"):
        pass


def test_one_of_many_breaks_a_lock_and_a_touch_in_time_keeps_it(root):
    lock = store_path(f"{root}/p.tilespec") / "lock"
    lock.parent.mkdir()
    assert [lock.claim(b"1"), lock.claim(b"2")] == [True, False]
    tag = lock.tag()
    assert [lock.swap(b"3", tag), lock.swap(b"4", tag)] == [True, False]
    assert lock.read_bytes() == b"3"


def test_a_heartbeat_changes_the_lock_and_ends_when_it_is_taken(root, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    lock = store_path(f"{root}/p.tilespec") / "lock"
    with locked(f"{root}/p"):
        before = lock.tag()
        until = time.monotonic() + 10
        while lock.tag() == before and time.monotonic() < until:
            time.sleep(0.05)
        assert lock.tag() != before
        assert json.loads(lock.read_text())["beats"] >= 1
        while not lock.swap(b'{"token": "theirs"}', lock.tag()):
            pass
    assert json.loads(lock.read_text()) == {"token": "theirs"}


def test_of_many_threads_that_find_a_stale_lock_one_wins(root):
    lock, gate = store_path(f"{root}/p.tilespec") / "lock", threading.Barrier(4)
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(json.dumps({**heartbeat.identity(), "started": "1", "token": "t"}).encode())

    def attempt(_):
        gate.wait()
        try:
            with locked(f"{root}/p"):
                time.sleep(1)
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False] * 3 + [True]


def test_damage_is_found_wherever_the_store_lies(root, make_scene):
    url = make_scene(f"{root}/scene", 96, 80, 6)
    whole, store = contents(url), store_path(url)
    assert verify(url)["whole"]
    torn, gone, flipped = "labels/c/0/0", "labels/c/2/0", "cube/c/0/0/0"
    (store / torn).write_bytes(whole[torn][:-3])
    (store / gone).unlink()
    (store / flipped).write_bytes(bytes([whole[flipped][0] ^ 1]) + whole[flipped][1:])
    (store / "stranger").write_bytes(b"")
    result = verify(url)
    assert {entry["object"]: entry["found"] for entry in result["damaged"]} == {
        torn: f"{len(whole[torn]) - 3} bytes instead of {len(whole[torn])}",
        gone: "missing",
        flipped: "other bytes",
    }
    assert result["unrecorded"] == ["stranger"]
    assert status(url)["panels"][0]["missing"] == [0, 2]


def test_objects_are_listed_put_compared_and_deleted_alike(root):
    place = store_path(f"{root}/p")
    assert (place.exists(), place.is_dir(), place.sizes(), (place / "a").tag()) == (False, False, {}, None)
    for name in ("a", "b.json", "deep/c"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        assert (place / name).write_bytes(b"12") == 2
    assert (place.exists(), place.is_dir(), (place / "a").is_dir()) == (True, True, False)
    assert place.sizes() == {"a": 2, "b.json": 2, "deep/c": 2}
    assert [str(path) for path in place.glob("*.json")] == [f"{root}/p/b.json"]
    assert (b"".join((place / "a").blocks(1)), (place / "a").read_text()) == (b"12", "12")
    there = place.presence()
    assert [there("a", 2), there("a", 3), there("gone", 2)] == [True, False, False]
    assert place.outside(["a", "../other", "deep/../../other"]) == ["../other", "deep/../../other"]
    tag = (place / "a").tag()
    assert (place / "a").swap(b"34", tag)
    assert not (place / "gone").swap(b"34", tag)
    (place / "a").withdraw(tag)
    assert (place / "a").read_bytes() == b"34"
    (place / "a").withdraw((place / "a").tag())
    assert not (place / "a").exists()
    assert store_path(f"{root}/elsewhere/lock").claim(b"")
    place.discard(["b.json", "gone"])
    assert place.sizes() == {"deep/c": 2}
    assert ((place / "deep/c").name, (place / "b.json").stem) == ("c", "b")
    assert (place / "deep/c").parent == place / "deep"
    assert store_path(str(place)) == place
    assert hash(store_path(str(place))) == hash(place)
    assert pickle.loads(pickle.dumps(place)) == place
    with pytest.raises(FileNotFoundError):
        (place / "gone").modified()


def test_a_class_of_the_users_own_is_imported_only_where_the_user_named_its_module(shelf, monkeypatch):
    dotted = "shelf_store:ShelfPath://objects"
    assert (str(store_path(shelf)), str(store_path(dotted))) == (shelf, dotted)
    monkeypatch.delenv(PLUGINS)
    with pytest.raises(UserError, match="which a file names and you did not"):
        store_path(dotted)
    with pytest.raises(UserError, match="found the scheme shelf://; expected a path of this machine, or s3://"):
        store_path(shelf)
