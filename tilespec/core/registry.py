"""Tables of names: a plug-in is one small file and one line in a table, or a class of the user's own.

What a file says is data. A model, a recipe or the record of a command may name what tilespec's tables hold, and the
plug-ins of modules that the *user* named: in the environment variable ``TILESPEC_PLUGINS`` (modules, separated by
commas), by installing a package with an entry point of the group ``tilespec.plugins``, or by writing a dotted path
``package.module:Name`` into an option or a configuration of this very run. Nothing else is imported.

A module that the user named may hold a dictionary ``TILESPEC``, of kinds of plug-ins to names to dotted paths. It adds
these names to tilespec's tables: ``TILESPEC = {"net": {"mine": "package.module:Net"}, "export": {".csv": ...}}``.
docs/extending.md has an example of each kind.

Options of a plug-in are checked against what its constructor takes.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from tilespec.core.errors import UserError

PLUGINS = "TILESPEC_PLUGINS"
"""The environment variable that names the modules of the user's plug-ins; child processes inherit it."""

MOVED = {
    "tilespec.nets.pixelwise": "tilespec.models.nets.pixelwise",
    "tilespec.nets.regression": "tilespec.models.nets.regression",
    "tilespec.nets.opened": "tilespec.models.nets.opening",
    "tilespec.nets.unet": "tilespec.models.nets.unet",
    "tilespec.nets.branched": "tilespec.models.nets.branched",
    "tilespec.nets.branched_judge": "tilespec.models.nets.branched_discriminator",
    "tilespec.nets.mst": "tilespec.models.nets.mst",
    "tilespec.nets.patchgan": "tilespec.models.nets.patchgan",
    "tilespec.tasks.reconstruct": "tilespec.models.tasks.reconstruct",
    "tilespec.tasks.segment": "tilespec.models.tasks.segment",
    "tilespec.objectives.cgan": "tilespec.training.objectives.cgan",
    "tilespec.objectives.supervised": "tilespec.training.objectives.supervised",
    "tilespec.spectra.absorbance": "tilespec.spectra.steps.absorbance",
    "tilespec.spectra.baseline": "tilespec.spectra.steps.baseline_correction",
    "tilespec.spectra.continuum": "tilespec.spectra.steps.continuum",
    "tilespec.spectra.normalise": "tilespec.spectra.steps.normalise",
    "tilespec.spectra.resample": "tilespec.spectra.steps.resample",
    "tilespec.spectra.savgol": "tilespec.spectra.steps.savgol",
    "tilespec.spectra.scaling": "tilespec.spectra.steps.scaling",
    "tilespec.spectra.scatter": "tilespec.spectra.steps.scatter",
    "tilespec.spectra.select": "tilespec.spectra.steps.crop",
    "tilespec.pca": "tilespec.spectra.steps.pca",
    "tilespec.mnf": "tilespec.spectra.steps.mnf",
    "tilespec.cluster": "tilespec.cluster.connect",
    "tilespec.baselines.linear": "tilespec.baselines.linear_classifiers",
    "tilespec.ingest.icvl": "tilespec.ingest.datasets.icvl",
    "tilespec.ingest.cave": "tilespec.ingest.datasets.cave",
    "tilespec.ingest.arad": "tilespec.ingest.datasets.arad",
    "tilespec.models.nets.opening:Opened": "tilespec.models.nets.opening:Opening",
    "tilespec.models.nets.branched_discriminator:BranchedJudge": (
        "tilespec.models.nets.branched_discriminator:BranchedDiscriminator"
    ),
    "tilespec.training.schedules:Step": "tilespec.training.schedules:StepDecay",
    "tilespec.baselines.regression": "tilespec.baselines.least_squares",
    "tilespec.baselines.least_squares:Linear": "tilespec.baselines.least_squares:LinearRegression",
    "tilespec.baselines.least_squares:Polynomial": "tilespec.baselines.least_squares:PolynomialRegression",
    "tilespec.baselines.least_squares:Rbf": "tilespec.baselines.least_squares:RbfRegression",
}
"""The old dotted paths of plug-in modules and their new ones; paths that users wrote before remain valid."""

_records = 0
"""The number of open `only_named_before` blocks; inside them, options come from a record and not from the user."""


def load(table: Mapping[str, str], name: str, kind: str) -> Any:
    """Return the object that ``table`` lists under ``name``, or that the dotted path ``package.module:Name`` is.

    Raises:
        UserError: the table has no such name; the user did not name the module of the dotted path; or the module has
            no such object.
    """
    path = _current(table.get(name) or plugins(kind).get(name) or name)
    if ":" not in path:
        raise UserError(
            f"{kind} {name!r}",
            found="an unknown name" + "".join(f"; {module!r} in {PLUGINS} cannot be imported" for module in _absent()),
            expected=f"one of {', '.join(sorted({*table, *plugins(kind)}))}, or a dotted path package.module:Name",
            do=f"Check the spelling; {PLUGINS} names modules of your own, whose folder is in PYTHONPATH.",
        )
    if path not in table.values() and not _allowed(path):
        module = path.partition(":")[0]
        raise UserError(
            f"{kind} {name!r}",
            found=f"the module {module!r}, which a file names and you did not",
            expected=f"one of {', '.join(sorted(table))}, or a plug-in of yours",
            do=f"If you know this code and trust it, set the environment variable {PLUGINS}={module} for this command.",
        )
    return import_object(path, kind)


def plugins(kind: str) -> dict[str, str]:
    """Return the plug-ins of a kind that the user's modules list: names to dotted paths.

    A module that this process cannot import is passed over, because another process may have named it: `load` reports
    it where a name is missing. A module that a dotted path named may have no table.
    """
    names: dict[str, str] = {}
    for module in _named():
        with suppress(ImportError, ValueError):
            names |= getattr(import_module(module), "TILESPEC", {}).get(kind.rpartition(".")[2], {})
    return names


def _absent() -> list[str]:
    """Return the modules that the user named and that cannot be imported."""
    absent = []
    for module in _named():
        try:
            import_module(module)
        except (ImportError, ValueError):
            absent.append(module)
    return absent


def import_object(path: str, kind: str) -> Any:
    """Return the object at a dotted path that tilespec itself, and no file, has written."""
    module, _, attribute = path.partition(":")
    where = f"{kind} {path!r}"
    try:
        return getattr(_module(module, where), attribute)
    except AttributeError as error:
        raise UserError(
            where, found=str(error), expected=f"{attribute} in {module}", do="Check the dotted path."
        ) from error


def _module(module: str, where: str) -> Any:
    """Return a module; refuse one that cannot be imported, in the words of ``where`` it was named."""
    try:
        return import_module(module)
    except (ImportError, ValueError) as error:
        raise UserError(
            where,
            found=str(error),
            expected=f"a module {module!r} that Python can import",
            do="Check the spelling, and that its folder is in PYTHONPATH.",
        ) from error


def from_user(name: str) -> str:
    """Return ``name``, which the user wrote; the module of a dotted path may be loaded from now on.

    The processes that this one starts may load it too. In an `only_named_before` block nothing is added.

    Raises:
        UserError: the module cannot be imported.
    """
    module, colon, _ = name.partition(":")
    if colon and not _records and not _allowed(name):
        _module(module, repr(name))
        name_modules([module])
    return name


def named_modules() -> list[str]:
    """Return the modules that the user of this process named so far, for a process that starts elsewhere."""
    return [part.strip() for part in os.environ.get(PLUGINS, "").split(",") if part.strip()]


def name_modules(modules: Sequence[str]) -> None:
    """Let this process, and those that it starts, load modules that the user named in another one."""
    os.environ[PLUGINS] = ",".join(dict.fromkeys([*named_modules(), *modules]))


@contextmanager
def only_named_before() -> Iterator[None]:
    """Open a block in which options come from a record: `from_user` then adds no module."""
    global _records  # noqa: PLW0603 - the process has one user
    _records += 1
    try:
        yield
    finally:
        _records -= 1


def _current(path: str) -> str:
    """Return the present name of a dotted path or a module."""
    module, colon, attribute = path.partition(":")
    path = f"{MOVED.get(module, module)}{colon}{attribute}"
    return MOVED.get(path, path)


def _allowed(path: str) -> bool:
    """Return whether the user named the module of a dotted path."""
    return _current(path).partition(":")[0] in _named()


def _named() -> list[str]:
    """Return the modules that the user named."""
    written = map(_current, named_modules())
    return [*written, *(point.module for point in entry_points(group="tilespec.plugins"))]


def check_options(kind: Callable[..., Any], options: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """Return ``kind`` after checking that its constructor takes the ``options`` by name.

    Raises:
        UserError: an option is unknown; the message lists the known ones.
    """
    names = options_of(kind)
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise UserError(
            f"{where}.{unknown[0]}",
            found="an unknown key",
            expected=f"keys of [{where}]: {', '.join(names)}",
            do="Check the spelling in the configuration.",
        )
    return kind


def options_of(kind: Callable[..., Any]) -> list[str]:
    """Return the names of the keyword-only parameters of a constructor."""
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


def fill_options(kind: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``options`` and the defaults of those left out, so that a saved file is complete."""
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return {key: value for key, value in defaults.items() if value is not inspect.Parameter.empty} | dict(options)
