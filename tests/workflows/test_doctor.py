"""`doctor` measures what is there, leaves nothing behind, and gives advice where something limits the work."""

import json
import tomllib
from types import SimpleNamespace

import pytest
from command_line import tilespec
from locations import ROOT

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.workflows import doctor


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(doctor, "SIZE", 1 << 20)
    monkeypatch.setattr(doctor, "SIDE", 64)


def test_rates_are_measured_and_nothing_is_left(tmp_path):
    found = api.doctor(folder=str(tmp_path))
    assert found.storage["folder"] == str(tmp_path)
    assert min(found.storage["written_bytes_per_second"], found.storage["read_bytes_per_second"]) > 0
    assert found.per_second["float32_gigaflop"] > 0
    assert found.machine["cores"] >= 1
    assert list(tmp_path.iterdir()) == []


def test_a_scene_takes_a_pass_at_least_and_a_pca_takes_longer(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 70, 50, 6)
    work = api.doctor(scene, folder=str(tmp_path)).scene
    warm, cold, pca = (row["seconds"] for row in work["at_least"])
    assert work["decoded_bytes"] == 70 * 50 * 6 * 4
    assert 0 < warm <= cold < pca
    assert work["stored_share"] > 0
    assert warm == pytest.approx(work["decoded_bytes"] / work["decoded_bytes_per_second"], rel=1e-3)


def test_the_extras_are_those_of_the_project_and_none_that_are_for_developers(monkeypatch):
    monkeypatch.setattr(doctor, "_is_installed", lambda _: False)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor._missing_extras()) == set(declared) - {"test", "lint", "docs", "browser"}
    monkeypatch.setattr(doctor, "_is_installed", lambda _: True)
    assert doctor._missing_extras() == {}


@pytest.mark.parametrize(
    ("kind", "said"), [("nfs4", "lies on another machine"), ("fuse.sshfs", "another machine"), ("tmpfs", "is memory")]
)
def test_file_systems_that_limit_are_named(tmp_path, monkeypatch, kind, said):
    inner, outer = (
        SimpleNamespace(mountpoint=str(place), fstype=fs) for place, fs in ((tmp_path, kind), ("/", "ext4"))
    )
    monkeypatch.setattr(doctor.psutil, "disk_partitions", lambda **_: [outer, inner])
    assert any(said in note for note in api.doctor(folder=str(tmp_path)).notes)
    assert api.doctor(folder=str(tmp_path)).storage["file_system"] == kind


def test_what_limits_a_scene_is_said(make_scene, tmp_path, monkeypatch):
    scene = make_scene(tmp_path / "scene", 70, 50, 6)
    quiet = api.doctor(scene, folder=str(tmp_path)).notes
    monkeypatch.setattr(doctor, "usable", lambda: 1000)
    monkeypatch.setattr(doctor, "SMALL", 60_000)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(doctor, "cores", lambda: 4)
    notes = api.doctor(scene, folder=str(tmp_path)).notes
    for said in ("every verb streams", "are small", "fewer threads than the 4 cores"):
        assert any(said in note for note in notes), said
        assert not any(said in note for note in quiet), said


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*a folder with .* to spare"):
        api.doctor(folder=str(tmp_path / "nowhere"))


def test_the_scene_may_be_left_out_on_the_command_line(tmp_path):
    ran = tilespec("doctor", "--json", "--quiet", cwd=tmp_path)
    assert ran.returncode == 0
    assert "scene" not in json.loads(ran.stdout)
    missing = tilespec("doctor", "nowhere", cwd=tmp_path)
    assert missing.returncode == 2
    assert "nowhere" in missing.stderr
