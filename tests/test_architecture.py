"""Layers import downward only, importing stays light, and the table below names every module."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tilespec"
LAYERS = {
    0: "types grid blend jumps spectra folds metrics residuals spectral resample errors memory progress plugins options"
    " stream stop pls cache colour",
    1: "chunks written s3 objects cloud ledger stored lock audit product shards scene choice plane placed rows"
    " ingest export picture history",
    2: "graph passes brightness applied recipe pca mnf kept predict seams evaluate measure simulate cluster workers"
    " render truth",
    3: "augment nets objectives tasks train training ranks model infer config tables tensors presets probe"
    " determinism frozen",
    4: "baselines estimators report repair study api cli demo __main__ __init__",
}
LAYER = {name: number for number, names in LAYERS.items() for name in names.split()}
ALLOWED = {
    0: {"numpy", "scipy", "jaxtyping", "psutil"},
    1: {"zarr", "numcodecs", "google_crc32c", "xxhash", "xarray", "rasterio", "rioxarray", "PIL", "h5py", "pyproj"},
    2: {"dask", "distributed", "threadpoolctl"},
    3: {"torch", "safetensors", "pydantic"},
    4: {"sklearn", "jinja2", "matplotlib", "typer", "rich"},
}
HEAVY = ("torch", "dask", "distributed", "sklearn", "rasterio", "matplotlib", "xarray", "scipy")


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def owner(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path, *, top_level):
    """Return the modules that a file imports: at its top level, or anywhere."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            if node.module == "tilespec":
                yield from (f"tilespec.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_layer_or_below(path):
    mine = LAYER[owner(path)]
    for name in imports(path, top_level=False):
        parts = name.split(".")
        if parts[0] == "tilespec" and len(parts) > 1 and parts[1] in LAYER:
            assert LAYER[parts[1]] <= mine, f"{path.name} (layer {mine}) imports {name} (layer {LAYER[parts[1]]})"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_loads_at_import_only_what_its_layer_owns(path):
    allowed = set().union(*(names for layer, names in ALLOWED.items() if layer <= LAYER[owner(path)]))
    for name in imports(path, top_level=True):
        root = name.split(".")[0]
        assert root == "tilespec" or root in sys.stdlib_module_names or root in allowed, f"{path.name}: {name}"


def loaded_after(statement):
    code = f"import sys; {statement}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("module", ["tilespec", "tilespec.api", "tilespec.cli"])
def test_importing_the_surface_loads_no_heavy_package(module):
    assert loaded_after(f"import {module}") == []


def test_the_light_import_test_can_fail():
    assert "xarray" in loaded_after("import tilespec.storage.scene")


def test_no_module_unpickles_or_evaluates():
    for path in modules():
        tree = ast.parse(path.read_text())
        names = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not names & {"eval", "exec"}, path
        assert not {"pickle", "joblib", "dill", "cloudpickle"} & set(imports(path, top_level=False)), path


def test_files_and_functions_stay_small():
    for path in modules():
        text = path.read_text()
        assert text.count("\n") <= 420, f"{path.name} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert length <= 50, f"{path.name}: {node.name} has {length} lines"


def test_the_map_of_the_readme_has_every_module_and_nothing_that_is_gone():
    text = (PACKAGE.parent / "README.md").read_text().partition("## Map")[2]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name.rstrip("/").removesuffix(".py") for row in rows for name in re.findall(r"`([\w./]+)`", row)}
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix in (".py", "") and not path.name.startswith("_")}
    outside = {"tilespec", "cluster", "tests", "notebooks", "docs", "LOG.md", "CHANGELOG.md"}
    assert there - named == set()
    assert named - there - outside == set()
