"""Predictions whose scene and product are in a bucket: the bytes of one on disk, however it was interrupted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
from object_store import contents, copied, reached
from untrained_models import APPROXIMATE, save_model

from tilespec.predict.predict import predict
from tilespec.storage import joined
from tilespec.storage.audit import status, verify
from tilespec.storage.backends import buckets
from tilespec.storage.backends.paths import store_path
from tilespec.storage.product import Product
from tilespec.workflows.repair import repair


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    with reached(server) as (_, url):
        yield url


@pytest.fixture
def disk(make_scene, tmp_path, monkeypatch):
    """A scene, a model, and its prediction, in objects of 32 pixels."""
    monkeypatch.setattr("tilespec.predict.output_store.OBJECTS", (32,))
    scene = make_scene(tmp_path / "scene", 90, 70, 5)
    model = save_model(tmp_path / "model", scene, net=APPROXIMATE)
    predict(model, scene, str(tmp_path / "out"))
    return model, scene, contents(str(tmp_path / "out"))


def test_a_prediction_from_a_bucket_into_a_bucket_is_that_of_the_disk(bucket, disk, tmp_path):
    model, scene, expected = disk
    url = predict(model, copied(scene, f"{bucket}/scene"), f"{bucket}/out")["out"]
    assert url == f"{bucket}/out"
    assert contents(url) == expected
    assert verify(url)["whole"]
    assert not [path for path in (tmp_path / "caches").rglob("*") if path.is_file()]


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("fault", ["SlowDown", "timeout", "truncated"])
def test_runs_that_join_meet_faults_on_the_way_and_write_what_one_does(server, disk, tmp_path, monkeypatch, fault):
    """With a timeout the request was done and nobody heard: a claim, tried again, is refused although it is ours."""
    monkeypatch.setattr(buckets, "TIMEOUT", timedelta(seconds=0.6))
    monkeypatch.setattr(joined, "POLL", 0.05)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    buckets._open_store.cache_clear()
    model, scene, expected = disk
    ends = ["out.tilespec/lock", "claim-create.json", "claim-publish.json", "000.json", "/c/0/0", "/c/1/0", "zarr.json"]
    with reached(server) as (proxy, bucket), ThreadPoolExecutor(2) as pool:
        proxy.faults += [(f"{method} {end}", fault, 1) for end in ends for method in ("PUT", "GET")]
        calls = [pool.submit(predict, model, scene, f"{bucket}/out", join=True) for _ in range(2)]
        results = [call.result() for call in calls]
        assert {result["status"] for result in results} == {"complete"}
        assert len(proxy.met) >= len(ends)
        assert len(proxy.asked) < 2000, "nothing is tried without end"
        assert contents(f"{bucket}/out") == expected
        assert sum(result["rows_done"] for result in results) == 3
        assert not [key for key in store_path(f"{bucket}/out.tilespec").sizes() if key.startswith(("joined", "lock"))]
    buckets._open_store.cache_clear()


def test_a_prediction_that_was_interrupted_resumes_and_damage_is_computed_again(bucket, disk, monkeypatch):
    model, scene, expected = disk
    kept = Product.write

    def dies(self, row, *args, **options):
        if row == 1:
            raise KeyboardInterrupt
        kept(self, row, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Product, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            predict(model, scene, f"{bucket}/out")
    assert 1 in status(f"{bucket}/out")["panels"][0]["missing"]
    predict(model, scene, f"{bucket}/out")
    assert contents(f"{bucket}/out") == expected
    (store_path(f"{bucket}/out") / "prediction/c/1/0").unlink()
    assert [entry["row"] for entry in repair(f"{bucket}/out")["rows"]] == [1]
    assert contents(f"{bucket}/out") == expected


@pytest.mark.slow
def test_workers_write_one_product_in_a_bucket(bucket, disk):
    model, scene, expected = disk
    predict(model, copied(scene, f"{bucket}/scene"), f"{bucket}/out", workers=2)
    found = contents(f"{bucket}/out")
    assert found.keys() == expected.keys()
    for key in expected:
        assert found[key] == expected[key], np.frombuffer(found[key], np.uint8)[:8]


@pytest.mark.slow
def test_frozen_norms_serve_a_product_in_a_bucket(bucket, disk, tmp_path):
    model, scene, _ = disk
    predict(model, scene, str(tmp_path / "frozen"), norm="frozen")
    predict(model, scene, f"{bucket}/frozen", norm="frozen")
    assert contents(f"{bucket}/frozen") == contents(str(tmp_path / "frozen"))
