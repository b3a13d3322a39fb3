"""Buckets of three services: their URLs, their credentials, and that nothing of these is said or stored."""

import json

import numpy as np
import pytest
from emulators import azure_container, gcs_bucket, generations, only
from object_store import contents, reached
from short_trainings import config

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.models.model import Model
from tilespec.spectra.fit import fit
from tilespec.storage.backends import buckets
from tilespec.storage.backends.paths import store_path
from tilespec.storage.scene import Scene
from tilespec.training.train import train

SECRET = "c2VjcmV0c2VjcmV0"
NOWHERE = "http://127.0.0.1:9"
WITH = {
    "s3": {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": NOWHERE},
    "gs": {"GOOGLE_BEARER_TOKEN": SECRET, "GOOGLE_BASE_URL": NOWHERE},
    "az": {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_SAS_KEY": f"sv=2021&sig={SECRET}",
        "AZURE_STORAGE_ENDPOINT": f"{NOWHERE}/account",
    },
}


@pytest.fixture(params=["s3", "gs", "az"])
def bucket(request, server):
    """Return the URL of a bucket of each service."""
    if request.param == "s3":
        with reached(server) as (_, url):
            yield url
    elif request.param == "gs":
        with generations(server) as face, gcs_bucket(face) as url:
            yield url
    else:
        with azure_container(request.getfixturevalue("azure")) as url:
            yield url


@pytest.mark.parametrize("scheme", WITH)
def test_a_url_is_read_and_written_back(scheme):
    place = store_path(f"{scheme}://bucket/a/b.zarr/")
    assert str(place) == f"{scheme}://bucket/a/b.zarr"
    assert (place.name, place.stem, str(place.parent)) == ("b.zarr", "b", f"{scheme}://bucket/a")
    assert store_path(str(place)) == place
    assert hash(store_path(str(place))) == hash(place)
    assert len({store_path(f"{each}://bucket/a") for each in WITH}) == len(WITH)


@pytest.mark.parametrize("scheme", WITH)
def test_without_credentials_the_message_says_which_are_missing(scheme):
    with only({"AZURE_STORAGE_ACCOUNT_NAME": "account"}), pytest.raises(UserError) as error:
        Scene.open(f"{scheme}://bucket/scene")
    assert f"{scheme}://bucket: found no credentials; expected one of {buckets.SERVICES[scheme].keys[0]}" in str(
        error.value
    )


def test_an_azure_account_has_to_be_named():
    with (
        only({"AZURE_STORAGE_ACCOUNT_KEY": SECRET}),
        pytest.raises(UserError, match="found no account; expected one of"),
    ):
        Scene.open("az://container/scene")


@pytest.mark.parametrize("scheme", WITH)
def test_a_server_that_does_not_answer_is_said_without_the_credentials(scheme, monkeypatch):
    monkeypatch.setattr(buckets, "RETRIES", 0)
    buckets._open_store.cache_clear()
    with only(WITH[scheme]), pytest.raises(UserError, match="no answer") as error:
        Scene.open(f"{scheme}://bucket/scene")
    assert SECRET not in f"{error.value!r} {error.value}"
    buckets._open_store.cache_clear()


@pytest.mark.parametrize(
    ("scheme", "variable", "value"),
    [
        ("gs", "GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps({"private_key": SECRET})),
        ("gs", "GOOGLE_SERVICE_ACCOUNT_KEY", SECRET),
        ("az", "AZURE_STORAGE_ACCOUNT_KEY", f"{SECRET}!"),
    ],
)
def test_credentials_that_cannot_be_used_are_not_quoted(scheme, variable, value, tmp_path):
    named = {"AZURE_STORAGE_ACCOUNT_NAME": "account"} if scheme == "az" else {}
    with only({variable: value, **named}), pytest.raises(UserError, match="credentials that cannot be used") as error:
        Scene.open(f"{scheme}://bucket/scene")
    assert SECRET not in f"{error.value!r} {error.value} {error.value.__cause__!r}"


@pytest.mark.parametrize("scheme", WITH)
def test_plain_http_is_for_this_machine_only(scheme):
    name = buckets.SERVICES[scheme].endpoints[0]
    variables = {
        key: value for key, value in WITH[scheme].items() if value != NOWHERE and not value.startswith(NOWHERE)
    }
    with only({**variables, name: "http://storage.example.org"}), pytest.raises(UserError, match="plain http"):
        Scene.open(f"{scheme}://bucket/scene")


def test_a_bucket_that_does_not_exist_is_said(bucket):
    with pytest.raises(UserError, match=r"found no (bucket|container) of that name"):
        Scene.open(f"{bucket}x/scene")


def test_source_recipe_and_training_in_a_bucket_are_those_of_a_disk(bucket, make_scene, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((40, 30, 5), np.float32))
    store_path(f"{bucket}/raw/a.npy").write_bytes((tmp_path / "a.npy").read_bytes())
    ingest(f"{bucket}/raw/a.npy", f"{bucket}/scene")
    ingest(str(tmp_path / "a.npy"), str(tmp_path / "scene"), shards="auto")
    assert Scene.open(f"{bucket}/scene").digest == Scene.open(str(tmp_path / "scene")).digest
    assert contents(f"{bucket}/scene") == contents(str(tmp_path / "scene"))
    labelled = make_scene(str(tmp_path / "labelled"), 48, 40, 6, seed=1)
    for out in (f"{bucket}/out", str(tmp_path / "out")):
        fit(labelled, f"{out}-recipe", steps="snv,pca=2")
        train(config(labelled, train={"steps": 2}), out)
    assert contents(f"{bucket}/out-recipe") == contents(str(tmp_path / "out-recipe"))
    assert Model.load(f"{bucket}/out").digest == Model.load(str(tmp_path / "out")).digest
    everything = contents(f"{bucket}/out") | contents(f"{bucket}/scene.tilespec") | contents(f"{bucket}/scene")
    secrets = (b"opensesame", buckets.os.environ.get("AZURE_STORAGE_ACCOUNT_KEY", "opensesame").encode())
    assert not [key for key, data in everything.items() if any(secret in data for secret in secrets)]
