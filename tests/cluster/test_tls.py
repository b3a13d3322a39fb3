"""Certificates of `cluster init-tls`, schedulers that are reached with them, and connections that are refused."""

import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import dask
import distributed  # noqa: F401 - its defaults come before ours
import psutil
import pytest
import yaml
from fault_processes import Cluster, end, environment, listening, tilespec
from hypothesis import given
from hypothesis import strategies as st

from tilespec import api
from tilespec.cluster.certificates import ROLES, host_names
from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError

x509 = pytest.importorskip("cryptography.x509", reason="no package cryptography: pip install 'tilespec[cluster]'")
verification = pytest.importorskip("cryptography.x509.verification")
HOSTS = "node1,node2.example.org,10.0.0.1,fe80::1"


def read(folder, name):
    return x509.load_pem_x509_certificate((Path(folder) / f"{name}.crt").read_bytes())


def verifier(folder, host):
    """Return a verifier of servers by the rules of browsers: an oracle, which is stricter than Dask."""
    name = x509.DNSName(host) if re.search("[g-z]", host) else x509.IPAddress(ip_address(host))
    store = verification.Store([read(folder, "ca")])
    return verification.PolicyBuilder().store(store).build_server_verifier(name)


@contextmanager
def configured(file):
    """Read a file of Dask's configuration, as ``DASK_CONFIG`` would."""
    with dask.config.set(flat(yaml.safe_load(Path(file).read_text()))):
        yield


def flat(tables, above=""):
    """Return nested tables as one with dots in its keys."""
    pairs = [
        flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
        for key, value in tables.items()
    ]
    return {key: value for pair in pairs for key, value in pair.items()}


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """The result for several hosts."""
    return api.cluster_init_tls(str(tmp_path_factory.mktemp("tls") / "certificates"), hosts=HOSTS, days=3)


@pytest.fixture(scope="module")
def cluster(tls, tmp_path_factory):
    """A scheduler and a worker that need certificates."""
    folder = tmp_path_factory.mktemp("encrypted")
    with Cluster.of(folder, 1, protocol="tls", DASK_CONFIG=f"{tls['folder']}/dask.yaml") as running:
        yield running


def test_keys_are_readable_by_their_owner_alone_and_nobody_keeps_the_key_of_the_ca(tls):
    folder = Path(tls["folder"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    roles = [f"{role}.{end}" for role in ROLES for end in ("crt", "key")]
    assert tls["files"] == sorted(path.name for path in folder.iterdir()) == sorted(["ca.crt", "dask.yaml", *roles])


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_servers_are_valid_for_their_hosts_and_for_no_other(tls, role):
    for host in HOSTS.split(","):
        verifier(tls["folder"], host).verify(read(tls["folder"], role), [])
    for host in ("node3", "10.0.0.2"):
        with pytest.raises(verification.VerificationError):
            verifier(tls["folder"], host).verify(read(tls["folder"], role), [])


def test_a_certificate_of_the_client_opens_no_server_and_another_ca_signs_for_nobody(tls, tmp_path):
    with pytest.raises(verification.VerificationError):
        verifier(tls["folder"], "node1").verify(read(tls["folder"], "client"), [])
    other = api.cluster_init_tls(str(tmp_path / "other"), hosts=HOSTS)
    with pytest.raises(verification.VerificationError):
        verifier(tls["folder"], "node1").verify(read(other["folder"], "scheduler"), [])


def test_certificates_end_when_they_are_said_to(tls):
    ends = {read(tls["folder"], name).not_valid_after_utc for name in ("ca", *ROLES)}
    assert len(ends) == 1
    assert abs(ends.pop() - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=10)
    assert abs(datetime.fromisoformat(tls["expires"]) - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=10)


def test_without_hosts_they_are_valid_for_this_machine(tmp_path):
    assert api.cluster_init_tls(str(tmp_path / "here"))["hosts"] == [socket.gethostname(), "localhost", "127.0.0.1"]


def test_keys_are_never_replaced_and_a_plan_writes_nothing(tls, tmp_path):
    before = {path.name: path.read_bytes() for path in Path(tls["folder"]).iterdir()}
    with pytest.raises(UserError, match="Keys are never replaced"):
        api.cluster_init_tls(tls["folder"])
    assert {path.name: path.read_bytes() for path in Path(tls["folder"]).iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="a new or an empty folder"):
        api.cluster_init_tls(str(tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert api.cluster_init_tls(str(tmp_path / "plan"), dry_run=True)["config"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    with pytest.raises(UserError, match="Keys belong in no bucket"):
        api.cluster_init_tls("s3://bucket/keys")


@given(st.text(min_size=1, max_size=20))
def test_a_host_is_a_name_or_an_address_or_refused(text):
    try:
        names = host_names(text)
    except UserError:
        names = ()
    assert all(re.fullmatch(r"[A-Za-z0-9._:%-]+", name) for name in names)


@pytest.mark.parametrize(
    "text", ["", "a,,b", "a b", "host:8786", "tls://host", "*.example.org", "ümlaut", "a\nb", "-a"]
)
def test_what_is_no_host_is_refused(text, tmp_path):
    with pytest.raises(UserError, match="--hosts"):
        api.cluster_init_tls(str(tmp_path / "none"), hosts=text)
    assert list(tmp_path.iterdir()) == []


def started(line, port, folder):
    """Start a line that was printed, on another port and on loopback."""
    words = [
        sys.executable,
        "-m",
        *shlex.split(line.replace("\\\n", "").replace("8786", str(port))),
        "--host",
        "127.0.0.1",
    ]
    words[words.index("--dashboard-address") + 1] = "127.0.0.1:0"
    with (folder / f"{words[3]}.log").open("wb") as log:
        return subprocess.Popen(words, env=environment(), stdout=log, stderr=log, start_new_session=True)


def test_the_lines_that_are_printed_start_a_cluster_and_reach_it(tmp_path):
    folder = tmp_path / "it's a folder"
    code, result, errors = tilespec(
        tmp_path / "log", "cluster", "init-tls", folder, "--hosts", "127.0.0.1", "--json", "--quiet"
    )
    assert code == 0, errors
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [started(result[role], port, tmp_path) for role in ("scheduler", "worker")]
    setting, command = result["client"].splitlines()
    assert shlex.split(setting)[1] == f"DASK_CONFIG={folder}/dask.yaml"
    address = command.split()[-1].replace("8786", str(port))
    assert (folder / "dask.yaml").read_text() == result["config"]
    try:
        limit = time.monotonic() + 60
        while "Registered to" not in (tmp_path / "worker.log").read_text():
            assert time.monotonic() < limit, (tmp_path / "worker.log").read_text()
            time.sleep(0.2)
        with configured(folder / "dask.yaml"), connect(0, address) as client:
            assert client.submit(os.getppid).result(60) != os.getpid()
        everybody = [psutil.Process(each.pid) for each in processes]
        everybody += [child for each in everybody for child in each.children(recursive=True)]
        assert listening(everybody) == {"127.0.0.1"}
    finally:
        for process in processes:
            end(process)


def test_a_client_with_its_certificate_is_served(cluster, tls):
    with configured(f"{tls['folder']}/dask.yaml"), connect(0, cluster.address) as client:
        assert client.submit(sum, [1, 2]).result(60) == 3


def test_a_client_without_encryption_is_refused(cluster):
    plain = cluster.address.replace("tls://", "tcp://")
    with pytest.raises(UserError, match=r"no scheduler.*the certificates"), connect(0, plain):
        pass


def test_a_client_of_another_ca_is_refused(cluster, tmp_path):
    other = api.cluster_init_tls(str(tmp_path / "other"))
    with (
        configured(f"{other['folder']}/dask.yaml"),
        pytest.raises(UserError, match="certificate does not match"),
        connect(0, cluster.address),
    ):
        pass


def test_nothing_leaves_the_machine_without_encryption(cluster, tls):
    there = cluster.address.replace("tls://127.0.0.1", "tcp://10.0.0.1")
    with (
        configured(f"{tls['folder']}/dask.yaml"),
        pytest.raises(UserError, match=r"tcp:// to 10\.0\.0\.1.*init-tls"),
        connect(0, there),
    ):
        pass


def test_a_scheduler_without_encryption_is_refused_by_a_configuration_with_certificates(tls, tmp_path):
    with (
        Cluster.of(tmp_path / "plain", 0) as plain,
        configured(f"{tls['folder']}/dask.yaml"),
        pytest.raises(UserError, match="no scheduler"),
        connect(0, plain.address.replace("tcp://", "tls://")),
    ):
        pass


@pytest.mark.parametrize("missing", ["ca-file", "client.cert", "client.key"])
def test_what_is_missing_for_a_scheduler_is_named(cluster, tls, missing):
    name = f"distributed.comm.tls.{missing}"
    given_files = {"distributed.comm.tls.ca-file": "ca.crt", "distributed.comm.tls.client.cert": "client.crt"}
    given_files |= {"distributed.comm.tls.client.key": "client.key", name: "nothing"}
    files = {key: f"{tls['folder']}/{file}" for key, file in given_files.items()}
    with dask.config.set(files), pytest.raises(UserError, match=f"found {name} = [^,]*nothing, which"):
        connect(0, cluster.address).__enter__()
    with pytest.raises(UserError, match=r"no distributed\.comm\.tls\.ca-file, .*DASK_CONFIG=FOLDER/dask\.yaml"):
        connect(0, cluster.address).__enter__()


def test_workers_of_this_machine_and_their_pages_are_reachable_on_loopback_only():
    me = psutil.Process()
    others = me.children(recursive=True)
    with connect(1, None) as client:
        client.submit(sum, [1]).result(60)
        workers = [child for child in me.children(recursive=True) if child not in others]
        assert listening([me]) == listening(workers) == {"127.0.0.1"}


def test_versions_of_client_scheduler_and_worker_are_compared_before_any_work(tmp_path):
    others = {"numcodecs": "0.0.1", "cloudpickle": "9.9"}
    for name, version in others.items():
        folder = tmp_path / "others" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    path = os.pathsep.join([str(tmp_path / "others"), environment()["PYTHONPATH"]])
    with Cluster.of(tmp_path / "cluster", 1, PYTHONPATH=path) as cluster:
        cluster_has_worker(cluster)
        with pytest.raises(UserError, match="the same versions everywhere") as caught, connect(0, cluster.address):
            pass
    text = str(caught.value)
    assert re.search(r"cloudpickle \d+\.\d+\.\d+ here and 9\.9 on the scheduler", text)
    assert re.search(r"cloudpickle \d+\.\d+\.\d+ here and 9\.9 on a worker", text)
    assert re.search(r"numcodecs \d+\.\d+\.\d+ here and 0\.0\.1 on a worker", text)
    assert "numcodecs" not in text.partition("on a worker")[0]
    assert "numpy" not in text


def cluster_has_worker(cluster):
    """Wait until the first worker is there."""
    log, limit = cluster.folder / "nanny-0.log", time.monotonic() + 60
    while "Registered to" not in log.read_text():
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.1)


def test_the_verb_has_two_words_and_its_answer_is_one_object(tmp_path, capsys):
    from tilespec.cli import app

    with pytest.raises(SystemExit) as ended:
        app(["cluster", "init-tls", str(tmp_path / "keys"), "--hosts", "a", "--json", "--dry-run"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["hosts"] == ["a"]
