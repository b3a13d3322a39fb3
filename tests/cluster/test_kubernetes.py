"""The Dask cluster of `cluster/predict-dask.yaml`: valid for the operator's own definition, and its commands run.

There is no Kubernetes here: the definitions in the package dask-kubernetes are what its server compares with.
"""

import copy
import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from fault_processes import end, environment
from locations import ROOT
from untrained_models import save_model

from tilespec import api

MANIFEST = yaml.safe_load((ROOT / "cluster" / "predict-dask.yaml").read_text())
CRD = "operator/deployment/helm/dask-kubernetes-operator/crds/daskjob.yaml"
UNTYPED = "x-kubernetes-preserve-unknown-fields"


def pods():
    """Return the specifications of the pods of all roles."""
    cluster = MANIFEST["spec"]["cluster"]["spec"]
    roles = {"client": MANIFEST["spec"]["job"], "scheduler": cluster["scheduler"], "worker": cluster["worker"]}
    return {role: each["spec"] for role, each in roles.items()}


def strict(schema):
    """Return a schema that refuses fields which it does not name, as `kubectl apply` with validation does."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: strict(value) for key, value in schema.items()}
    if "x-kubernetes-int-or-string" in schema:
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and not schema.get(UNTYPED) and "additionalProperties" not in schema:
        inner["additionalProperties"] = False
    return inner


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="no package jsonschema")
    found = importlib.util.find_spec("dask_kubernetes")
    if found is None:
        pytest.skip("no package dask-kubernetes, whose definitions these are: pip install --no-deps dask-kubernetes")
    definition = yaml.safe_load((Path(found.origin).parent / CRD).read_text())
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {"const": "kubernetes.dask.org/v1"}, "kind": {"const": "DaskJob"}}
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


def mistakes(validator, manifest):
    return ["/".join(map(str, error.absolute_path)) + ": " + error.message for error in validator.iter_errors(manifest)]


def test_the_manifest_is_what_the_operator_defines(validator):
    assert mistakes(validator, MANIFEST) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda spec: spec["job"]["spec"]["containers"][0].update(comand=["x"]),
        lambda spec: spec["cluster"]["spec"]["worker"].update(replicas="8"),
        lambda spec: spec["cluster"]["spec"]["scheduler"].pop("service"),
        lambda spec: spec["cluster"]["spec"]["worker"]["spec"]["containers"][0].pop("name"),
        lambda spec: spec["cluster"]["spec"]["scheduler"]["spec"]["volumes"][0]["secret"].update(mode=0o440),
    ],
    ids=["an unknown field", "a text for a number", "no service", "a container without a name", "a field of another"],
)
def test_a_mistake_in_it_is_noticed(validator, damage):
    manifest = copy.deepcopy(MANIFEST)  # anchors of YAML are one object in several places
    damage(manifest["spec"])
    assert mistakes(validator, manifest) != []


def test_each_pod_has_the_keys_of_its_role_alone_and_no_rights():
    for role, pod in pods().items():
        (container,) = pod["containers"]
        (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
        assert {item["key"] for item in secret["items"]} == {"ca.crt", f"{role}.crt", f"{role}.key"}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
        words = [*container.get("command", []), *container["args"]]
        assert "tcp://" not in " ".join(map(str, words))
        assert not [port for port in container.get("ports", []) if port["containerPort"] != 8786]


@pytest.mark.slow
def test_the_commands_of_its_pods_predict(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene.zarr", 48, 40, 5)
    save_model(tmp_path / "model", scene)
    api.cluster_init_tls(str(tmp_path / "certificates"), hosts="127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    texts = {"s3://bucket/": f"{tmp_path}/", "/certificates/": f"{tmp_path}/certificates/", "8786": port, ":8787": ":0"}
    texts |= {"tilespec-scheduler": "127.0.0.1", "$(DASK_WORKER_NAME)": "one"}
    processes = {role: started(role, texts, tmp_path) for role in ("scheduler", "worker", "client")}
    try:
        assert processes["client"].wait(200) == 0, (tmp_path / "client.log").read_text()
    finally:
        for process in processes.values():
            end(process)
    assert api.status(str(tmp_path / "map.zarr"))["status"] == "complete"


def started(role, texts, folder):
    """Start the command of a pod as a process here, on loopback."""
    (container,) = pods()[role]["containers"]
    settings = {each["name"]: each["value"] for each in container.get("env", [])}
    words = [*container.get("command", ["tilespec"]), *container["args"]]
    words += ["--host", "127.0.0.1"] if role != "client" else []
    for old, new in texts.items():
        words = [word.replace(old, new) for word in words]
        settings = {name: value.replace(old, new) for name, value in settings.items()}
    with (folder / f"{role}.log").open("wb") as log:
        env = environment() | settings
        command = [sys.executable, "-m", *words]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    if role == "scheduler":
        limit = time.monotonic() + 60
        while "Scheduler at" not in (folder / "scheduler.log").read_text():
            assert time.monotonic() < limit, (folder / "scheduler.log").read_text()
            assert process.poll() is None, (folder / "scheduler.log").read_text()
            time.sleep(0.1)
    return process
