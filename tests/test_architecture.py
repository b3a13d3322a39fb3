"""A file imports from its own room or from one further down, importing stays light, and each room has its sign."""

import ast
import builtins
import re
import subprocess
import symtable
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

import tilespec
from tilespec.core.registry import MOVED, load
from tilespec.models.nets import NETS
from tilespec.spectra.steps import STEPS

PACKAGE = Path(tilespec.__file__).parent
ROOMS = (
    "core",
    "api",
    "storage",
    "cluster",
    "spectra",
    "simulate",
    "ingest",
    "tiling",
    "models",
    "evaluate",
    "predict",
    "training",
    "baselines",
    "output",
    "workflows",
    "cli",
)
"""From the ground up."""
OUTSIDE = {"__init__", "__main__"}
"""Files of no room: the package's own name, and the way into its command line."""
BETWEEN: set[tuple[str, str]] = set()
"""Sub-rooms of one room of which the first may import the second."""
OWNED = {
    "core": {"numpy", "scipy", "jaxtyping", "psutil"},
    "storage": {"zarr", "numcodecs", "google_crc32c", "xxhash", "xarray"},
    "cluster": {"dask", "distributed", "threadpoolctl"},
    "ingest": {"h5py", "rasterio", "PIL", "pyproj"},
    "training": {"pydantic"},
    "output": {"jinja2", "matplotlib", "starlette", "uvicorn"},
    "cli": {"typer", "rich"},
}
"""Libraries that a file loads when it is imported, from the room that owns them on upward."""
LEARNING = {"torch", "safetensors"}
LEARNERS = {"models", "predict", "training", "baselines", "workflows"}
"""Rooms that load torch; no other does, whatever its number."""
ALONE = {
    "spectra/estimators.py": {"sklearn"},
    "spectra/estimator_base.py": {"sklearn"},
    "ingest/readers/spectra_text.py": {"pandas"},
    "ingest/readers/spectrum_text.py": {"pandas"},
    "workflows/spectrai_fields.py": {"yaml"},
}
"""Libraries of one file."""
PURE = (
    "core/",
    "spectra/bands.py",
    "spectra/statistics.py",
    "spectra/operators.py",
    "spectra/level_operators.py",
    "spectra/raman_operators.py",
    "spectra/pieces.py",
    "spectra/steps/",
    "spectra/numerics/",
    "spectra/colour/",
    "tiling/grid.py",
    "tiling/windows.py",
    "evaluate/metrics/",
    "evaluate/bootstrap.py",
    "baselines/pls/",
)
"""Arithmetic: NumPy and SciPy, no store, no graph, no torch."""
IMPURE = {"spectra/colour/render.py"}
TABLES = {"spectra/steps", "models/nets", "models/tasks", "training/objectives", "training/presets", "cli"}
"""Faces that hold more than a sign: tables of plug-ins with their look-up, and the entry point of the command line."""
BANNED = {"asked", "begun", "crew", "found", "judged", "kept", "learned", "made", "meeting", "moved", "noted", "opened"}
BANNED |= {"placed", "room", "said", "seat", "seats", "seen", "shelf", "taken", "told"}
"""Participles and metaphors, which say nothing of a thing; an error's ``found`` is what it is called in the message."""
HEAVY = ("torch", "dask", "distributed", "sklearn", "rasterio", "matplotlib", "xarray", "scipy")


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return str(path.relative_to(PACKAGE))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sub_room(parts):
    """Return the folder inside a room that a dotted path lies in, None for the room itself."""
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[0] / parts[1]).is_dir() else None


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
            if node.module.split(".")[0] == "tilespec":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path):
    """Return the parts, without the package's name, of what a file imports from the package."""
    for name in imports(path, top_level=False):
        parts = name.split(".")
        if parts[0] == "tilespec" and len(parts) > 1 and parts[1] in ROOMS:
            yield parts[1:]


def is_pure(path):
    return name_of(path).startswith(PURE) and name_of(path) not in IMPURE


def test_each_file_and_folder_belongs_to_a_room():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there == {*ROOMS, *OUTSIDE}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_file_imports_from_its_own_room_or_from_one_with_a_smaller_number(path):
    mine = room_of(path)
    if mine in OUTSIDE:
        return
    for parts in ours(path):
        assert ROOMS.index(parts[0]) <= ROOMS.index(mine), f"{name_of(path)} imports {'.'.join(parts)}"


def test_within_a_room_no_two_sub_rooms_import_each_other():
    found = set()
    for path in modules():
        mine = path.relative_to(PACKAGE).with_suffix("").parts
        for parts in ours(path):
            one, other = sub_room(mine), sub_room(parts)
            if parts[0] == mine[0] and one and other and one != other:
                found.add((f"{mine[0]}/{one}", f"{mine[0]}/{other}"))
    assert {pair for pair in found if pair[::-1] in found} == BETWEEN


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_file_loads_at_import_only_what_its_room_may(path):
    room = room_of(path)
    number = len(ROOMS) if room in OUTSIDE else ROOMS.index(room)
    allowed = set().union(*(names for owner, names in OWNED.items() if ROOMS.index(owner) <= number))
    allowed |= (LEARNING if room in LEARNERS else set()) | ALONE.get(name_of(path), set())
    allowed = OWNED["core"] if is_pure(path) else allowed
    for name in imports(path, top_level=True):
        root = name.split(".")[0]
        assert root == "tilespec" or root in sys.stdlib_module_names or root in allowed, f"{name_of(path)}: {name}"


def test_arithmetic_imports_arithmetic():
    for path in filter(is_pure, modules()):
        for parts in ours(path):
            target = PACKAGE.joinpath(*parts).with_suffix(".py")
            if target.is_file():
                assert is_pure(target), f"{name_of(path)} imports {'.'.join(parts)}"


def test_a_face_is_a_sign_of_at_most_fifteen_lines_without_code():
    for path in PACKAGE.glob("*/**/__init__.py"):
        body = ast.parse(path.read_text()).body
        assert ast.get_docstring(ast.parse(path.read_text())), f"{name_of(path)} has no docstring"
        if name_of(path.parent) not in TABLES:
            assert len(body) == 1, f"{name_of(path)} holds code"
            assert path.read_text().count("\n") <= 15, name_of(path)


def test_no_room_knows_what_kind_of_place_a_store_lies_in():
    kinds = {f"tilespec.storage.backends.{name}" for name in ("folder", "buckets", "bucket_path")}
    for path in modules():
        if not name_of(path).startswith("storage/backends/"):
            assert not kinds & set(imports(path, top_level=False)), name_of(path)


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
        assert text.count("\n") <= 420, f"{name_of(path)} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert length <= 50, f"{name_of(path)}: {node.name} has {length} lines"


def definitions(*kinds):
    """Yield the file, and the node, of each class or function of the package."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds):
                yield path, node


def test_a_class_name_is_defined_in_one_place():
    homes = defaultdict(list)
    for path, node in definitions(ast.ClassDef):
        homes[node.name].append(name_of(path))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_no_file_class_function_or_parameter_has_a_name_that_names_nothing():
    wrong = [name_of(path) for path in modules() if path.stem in BANNED]
    for path, node in definitions(ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef):
        names = [node.name]
        if not isinstance(node, ast.ClassDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            beside = {argument.arg for argument in arguments}
            names += beside - ({"found"} if "expected" in beside or returns_error(node) else set())
        wrong += [f"{name_of(path)}: {name}" for name in names if name.strip("_").lower() in BANNED]
    assert wrong == []


def returns_error(node):
    """Return whether a function builds, or raises, the error of which ``found`` is a part."""
    names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return any(name.endswith("Error") or name == "bad_step" for name in names)


def test_the_map_of_the_readme_has_a_row_for_each_room_in_their_order():
    text = (PACKAGE.parent / "README.md").read_text().partition("## Map")[2]
    at = [text.find(f"| `{room}.py` |" if room == "api" else f"| `{room}/` |") for room in ROOMS]
    assert -1 not in at, [room for room, place in zip(ROOMS, at, strict=True) if place == -1]
    assert all(one < other for one, other in pairwise(at))


def is_there(path):
    """Return whether a dotted path, ``package.module`` or ``package.module:Name``, names something of the package."""
    module, _, name = path.partition(":")
    file = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return file.exists() and (not name or re.search(rf"^class {name}\b", file.read_text(), re.MULTILINE) is not None)


def test_a_dotted_path_of_before_is_read_under_its_new_name():
    assert [old for old in MOVED if is_there(old)] == []
    assert [new for new in MOVED.values() if not is_there(new)] == []
    assert load(STEPS, "tilespec.pca:Pca", "step") is load(STEPS, "pca", "step")
    assert load(NETS, "tilespec.nets.opened:Opened", "net") is load(NETS, "opened", "net")
    assert load(NETS, "tilespec.nets.branched_judge:BranchedJudge", "net") is load(NETS, "branched_judge", "net")
    assert load(STEPS, "tilespec.spectra.select:Crop", "step") is load(STEPS, "crop", "step")


def undefined(table, known):
    """Yield the names that a scope, or one in it, takes from its module, which does not define them."""
    module = table.get_type() == "function" and table.get_name() == "top"  # which symtable takes for the module
    for symbol in table.get_symbols() if not module else ():
        if symbol.is_referenced() and symbol.is_global() and symbol.get_name() not in known:
            yield symbol.get_name()
    for scope in table.get_children():
        yield from undefined(scope, known)


def test_every_name_is_defined():
    """Linters cannot say so here: to them the axes in the types of arrays are undefined names too."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        table = symtable.symtable(path.read_text(), str(path), "exec")
        own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        own |= {scope.get_name() for scope in table.get_children()}
        known = own | set(dir(builtins)) | {"__file__", "__name__", "__doc__"}
        found += [(str(path.relative_to(PACKAGE)), name) for name in undefined(table, known)]
    assert found == []
