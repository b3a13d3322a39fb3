"""The wheel holds everything that the code needs, and runs where there is no source tree."""

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "tilespec")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
WITHOUT = ("PYTHONPATH", "PYTHONHOME", "PIP_CONSTRAINT")


def run(*command, cwd):
    """Run a command without any path to the source tree, and return what it prints."""
    env = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of_the_package():
    """Return the files of the source tree, relative to its root; no caches."""
    found = (path for path in (ROOT / "tilespec").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from a copy of the sources, so that nothing is left beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("tilespec-*.whl")
    return built


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """Install the wheel into an environment of its own, which finds the other packages where this one has them.

    A line of a .pth file adds a folder and runs no .pth file inside it, so an editable installation is not found.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    scripts = Path(sysconfig.get_path("scripts", "venv", {"base": folder, "platbase": folder}))
    paths = {"base": folder, "platbase": folder}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    others = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()])
    (packages / "dependencies.pth").write_text("\n".join(others))
    run(
        *PIP,
        "--python",
        scripts / "python",
        "install",
        "--no-deps",
        "--no-index",
        "--force-reinstall",
        wheel,
        cwd=folder,
    )
    return scripts


def test_the_wheel_has_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("tilespec/")}
    assert packed == files_of_the_package()


def test_some_files_of_the_package_are_data():
    assert {Path(name).suffix for name in files_of_the_package()} >= {".css", ".html", ".json", ".npz", ".toml"}


def test_the_installed_package_is_the_one_that_is_imported(bin_folder, tmp_path):
    code = "import importlib.metadata as m, tilespec; print(tilespec.__file__); print(m.version('tilespec'))"
    path, version = run(bin_folder / "python", "-c", code, cwd=tmp_path).split()
    assert Path(path).is_relative_to(bin_folder.parent)
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_installed_command_answers_and_plans_the_demo(bin_folder, tmp_path):
    assert "predict" in run(bin_folder / "tilespec", "--help", cwd=tmp_path)
    plan = json.loads(run(bin_folder / "tilespec", "demo", "--dry-run", "--json", cwd=tmp_path))
    assert plan["stages"][0] == "simulate"
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_finds_the_data_of_the_package(bin_folder, tmp_path):
    size = ("--rows", "32", "--cols", "32", "--bands", "8", "--plants", "1")
    run(bin_folder / "tilespec", "simulate", "scene.zarr", *size, "--quiet", cwd=tmp_path)
    assert (tmp_path / "scene.zarr" / "zarr.json").exists()
