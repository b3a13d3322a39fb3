"""Stores on S3: the same bytes as on disk, the same promises, against a server that speaks the protocol."""

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from object_store import contents, copied, reached

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.ingest.ingest import info
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.transform import transform
from tilespec.storage.audit import status, verify
from tilespec.storage.backends import buckets
from tilespec.storage.backends.bucket_path import BucketPath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.group import open_group
from tilespec.storage.lock import holder, locked
from tilespec.storage.scene import Scene
from tilespec.workflows.repair import repair


@pytest.fixture
def store(server):
    """The URL of a bucket of its own, and the proxy in front of it, which fails on demand."""
    with reached(server) as (proxy, url):
        yield proxy, url


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("local") / "scene", 96, 80, 6)


@pytest.fixture
def bucket(store):
    return store[1]


# --- the same product -------------------------------------------------------------------------------------------


def test_a_scene_in_a_bucket_reads_as_on_disk(bucket, scene):
    remote, local = Scene.open(copied(scene, f"{bucket}/scene")), Scene.open(scene)
    roi = Roi(y0=10, y1=90, x0=5, x1=70)
    np.testing.assert_array_equal(remote.read(roi), local.read(roi))
    np.testing.assert_array_equal(remote.labels(roi), local.labels(roi))
    assert remote.spectral == local.spectral
    np.testing.assert_array_equal(remote.to_xarray().cube.values, local.to_xarray().cube.values)
    told, expected = info(f"{bucket}/scene"), info(scene)
    assert told | {"store": ""} == expected | {"store": ""}


def test_a_scene_in_a_bucket_that_is_written_again_while_it_is_read_is_refused(bucket, scene):
    opened = Scene.open(copied(scene, f"{bucket}/scene"))
    opened.check_unchanged()
    root = store_path(f"{bucket}/scene") / "zarr.json"
    root.write_bytes(root.read_bytes() + b" ")
    with pytest.raises(UserError, match="written again while it was read"):
        opened.check_unchanged()


def test_a_recipe_fitted_and_applied_in_a_bucket_is_that_of_the_disk(bucket, scene, tmp_path):
    remote = copied(scene, f"{bucket}/scene")
    fit(remote, str(tmp_path / "far"), steps="snv,pca=2")
    fit(scene, str(tmp_path / "near"), steps="snv,pca=2")
    assert Recipe.load(str(tmp_path / "far")).digest == Recipe.load(str(tmp_path / "near")).digest
    transform(str(tmp_path / "far"), remote, f"{bucket}/scores")
    transform(str(tmp_path / "near"), scene, str(tmp_path / "scores"))
    assert contents(f"{bucket}/scores") == contents(str(tmp_path / "scores"))


# --- status, verify, repair -------------------------------------------------------------------------------------


@pytest.fixture
def product(bucket, make_scene, tmp_path):
    """A product of three rows of objects whose command is known: a scene after a recipe."""
    scene, recipe = make_scene(tmp_path / "long", 300, 32, 4, chunk=128), str(tmp_path / "recipe")
    fit(scene, recipe, steps="snv,pca=2")
    transform(recipe, scene, f"{bucket}/scores")
    return f"{bucket}/scores"


def test_damage_in_a_bucket_is_found_and_repaired_and_nothing_else_is_written(store, product):
    whole, root = contents(product), store_path(product)
    assert verify(product)["whole"]
    torn, gone, flipped = "labels/c/0/0", "labels/c/2/0", "cube/c/0/0/0"
    (root / torn).write_bytes(whole[torn][:-3])
    (root / gone).unlink()
    (root / flipped).write_bytes(bytes([whole[flipped][0] ^ 1]) + whole[flipped][1:])
    (root / "stranger").write_bytes(b"")
    found = verify(product)
    assert {entry["object"]: entry["found"] for entry in found["damaged"]} == {
        torn: f"{len(whole[torn]) - 3} bytes instead of {len(whole[torn])}",
        gone: "missing",
        flipped: "other bytes",
    }
    assert found["unrecorded"] == ["stranger"]
    (root / "stranger").unlink()
    store[0].asked.clear()
    assert [entry["row"] for entry in repair(product)["rows"]] == [0, 2]
    written = [ask.rpartition("/cube/c/")[2] for ask in store[0].asked if ask.startswith("PUT") and "/cube/c/" in ask]
    assert sorted(written) == ["0/0/0", "2/0/0"]  # rows are written side by side
    assert contents(product) == whole


def test_damaged_metadata_in_a_bucket_is_written_again(product):
    whole = contents(product)
    (store_path(product) / "cube/zarr.json").write_bytes(b"{")
    (store_path(product) / "zarr.json").write_bytes(b"")
    assert not verify(product)["intact"]
    repair(product)
    assert contents(product) == whole


def test_an_object_gone_is_found_on_resuming_by_one_list_of_sizes(store, make_scene):
    proxy, bucket = store
    make_scene(f"{bucket}/scene", 96, 96, 6)
    (store_path(f"{bucket}/scene") / "cube/c/1/0/0").unlink()
    proxy.asked.clear()
    assert status(f"{bucket}/scene")["panels"][0]["missing"] == [1]
    assert not [ask for ask in proxy.asked if "/cube/c" in ask]


# --- faults -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(buckets, "TIMEOUT", timedelta(seconds=0.6))
    buckets._open_store.cache_clear()
    yield
    buckets._open_store.cache_clear()


@pytest.mark.parametrize(("fault", "times"), [("SlowDown", 3), ("timeout", 1), ("truncated", 3)])
def test_what_passes_is_tried_again_and_the_values_are_right(store, scene, quick, fault, times):
    proxy, bucket = store
    remote = Scene.open(copied(scene, f"{bucket}/scene"))
    proxy.faults[:] = [("GET cube/c/0/0/0", fault, times), ("GET cube/c/1/1/0", fault, 1)]
    np.testing.assert_array_equal(remote.read(remote.roi), Scene.open(scene).read(remote.roi))
    assert proxy.met == [fault] * (times + 1)


@pytest.mark.parametrize("fault", ["SlowDown", "timeout"])
def test_writes_are_tried_again_and_the_product_is_the_same(store, scene, make_scene, quick, fault):
    proxy, bucket = store
    for what in ("PUT cube/c/0/0/0", "PUT scene/zarr.json", "PUT row-000001.json", "PUT .tilespec/settings.json"):
        proxy.faults.append((what, fault, 1))
    make_scene(f"{bucket}/scene", 96, 80, 6)
    assert proxy.met == [fault] * 4
    assert contents(f"{bucket}/scene") == contents(scene)


@pytest.mark.parametrize(("where", "fault"), [("PUT lock", "timeout"), ("GET ", "truncated"), ("POST ", "SlowDown")])
def test_locks_lists_and_deletes_are_tried_again(store, make_scene, quick, where, fault):
    proxy, bucket = store
    proxy.faults.append((where, fault, 1))
    with locked(f"{bucket}/scene"):
        make_scene(f"{bucket}/scene", 32, 32, 4)
    assert holder(f"{bucket}/scene") is None
    assert proxy.met == [fault]
    assert verify(f"{bucket}/scene")["whole"]


@pytest.mark.parametrize(
    ("fault", "text"),
    [("AccessDenied", "that access is denied"), ("RequestTimeTooSkewed", "a clock that is minutes off")],
)
def test_what_does_not_pass_is_told_at_once(store, scene, make_scene, fault, text):
    proxy, bucket = store
    remote = copied(scene, f"{bucket}/scene")
    opened = Scene.open(remote)
    proxy.faults[:] = [("GET ", fault, 10**6), ("PUT ", fault, 10**6), ("POST ", fault, 10**6)]
    for refused in (
        lambda: open_group(remote),
        opened.labels,
        lambda: status(remote),
        lambda: verify(remote),
        lambda: make_scene(f"{bucket}/new", 32, 32, 4),
    ):
        proxy.asked.clear()
        with pytest.raises(UserError, match=text):
            refused()
        assert len(proxy.asked) <= 4


def test_a_bucket_that_is_not_there_is_told_and_never_reads_as_fill(store, scene, make_scene):
    proxy, bucket = store
    opened = Scene.open(copied(scene, f"{bucket}/scene"))
    array = opened.array
    with pytest.raises(UserError, match="no bucket of that name"):
        Scene.open(f"{bucket}-none/scene")
    with pytest.raises(UserError, match="no bucket of that name"):
        make_scene(f"{bucket}-none/scene", 32, 32, 4)
    for place in (store_path(f"{bucket}/scene"), store_path(f"{bucket}/scene.tilespec")):
        place.clear()
    proxy.hand_on("DELETE", f"/{bucket.removeprefix('s3://')}", b"", {})
    with pytest.raises(UserError, match="no bucket of that name"):
        opened.read(opened.roi)
    with pytest.raises(UserError, match="no bucket of that name"):
        array[:8, :8]


def test_an_empty_place_is_told_as_on_disk(bucket):
    with pytest.raises(UserError, match=r"found nothing; expected a Zarr v3 store"):
        Scene.open(f"{bucket}/nothing")
    with pytest.raises(UserError, match="found nothing; expected a product"):
        status(f"{bucket}/nothing")


# --- URLs and settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://bucket/key", "https://host/key", "s3://bucket", "s3:///key", "s3://b/../key"])
def test_other_urls_are_refused_with_what_is_supported(url):
    with pytest.raises(UserError, match=r"expected a path of this machine, or s3://bucket/key"):
        Scene.open(url)


def test_plain_http_is_for_loopback_only(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.example.org")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with pytest.raises(UserError, match="plain http to another machine"):
        Scene.open("s3://bucket/key")


def test_without_credentials_nothing_is_asked(monkeypatch):
    for key in buckets.SERVICES["s3"].keys:
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(UserError, match="no credentials"):
        Scene.open("s3://bucket/key")


def test_no_secret_is_stored(bucket, product):
    everything = contents(product) | contents(f"{product}.tilespec")
    assert not [key for key, data in everything.items() if b"opensesame" in data]


def test_a_forked_process_is_refused_instead_of_waiting_for_ever(bucket, scene):
    copied(scene, f"{bucket}/scene")
    code = (
        "import os, sys\n"
        "from tilespec.storage.backends.paths import store_path\nstore_path(sys.argv[1]).exists()\npid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n        store_path(sys.argv[1]).exists()\n"
        "    except ValueError as error:\n        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, f"{bucket}/scene"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "a process that was forked" in told.stdout, told.stderr


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    buckets._open_store.cache_clear()
    with pytest.raises(UserError, match=r"tilespec\[cloud\]"):
        buckets.client("bucket")


def test_keys_of_records_stay_inside_the_store(bucket):
    from tilespec.storage.stored_objects import place

    with pytest.raises(UserError, match="lies outside"):
        place(BucketPath(bucket="b", key="k"), "../other/object")
