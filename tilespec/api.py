"""The verbs of the command line as functions, with the same names, options and results.

>>> from tilespec import api
>>> api.simulate("scene", rows=512, cols=512, raw=True)  # doctest: +SKIP
>>> api.ingest("scene/raw.hdr", "scene.zarr", white="scene/white.hdr", dark="scene/dark.hdr")  # doctest: +SKIP

Every verb returns plain data, what ``--json`` prints, as a `tilespec.core.results.Result`; ``dry_run=True`` returns the
plan and writes nothing; ``progress`` takes a `tilespec.core.progress.Progress`, and shows one in notebooks by default.
Paths may be `pathlib.Path`, and a scene or labels may be an array of NumPy or xarray. Verbs load their libraries when
they are first used, and leave the state of libraries as it was (docs/python.md).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, wraps
from typing import Any

from tilespec.core.caller import caller_state
from tilespec.core.progress import default_progress
from tilespec.core.registry import import_object, load
from tilespec.core.results import Result
from tilespec.core.values import is_array, plain

VERBS = {
    "simulate": "tilespec.simulate.simulate:simulate",
    "ingest": "tilespec.ingest.ingest:ingest",
    "info": "tilespec.ingest.ingest:info",
    "fit": "tilespec.spectra.fit:fit",
    "transform": "tilespec.spectra.transform:transform",
    "render": "tilespec.spectra.colour.render:render",
    "new": "tilespec.workflows.new:new",
    "preview": "tilespec.workflows.preview:preview",
    "import_spectrai": "tilespec.workflows.import_spectrai:import_spectrai",
    "train": "tilespec.training.train:train",
    "predict": "tilespec.predict.predict:predict",
    "synth": "tilespec.predict.synth:synth",
    "baseline": "tilespec.baselines.baseline:baseline",
    "adopt": "tilespec.models.adopt.adopt:adopt",
    "status": "tilespec.storage.audit:status",
    "verify": "tilespec.storage.audit:verify",
    "repair": "tilespec.workflows.repair:repair",
    "probe": "tilespec.models.probe.probe:probe",
    "evaluate": "tilespec.evaluate.evaluate:evaluate",
    "study": "tilespec.workflows.study.study:study",
    "measure": "tilespec.output.measure.measure:measure",
    "report": "tilespec.output.report.page:report",
    "view": "tilespec.output.view.view:view",
    "export": "tilespec.output.export.export:export",
    "demo": "tilespec.workflows.demo:demo",
    "doctor": "tilespec.workflows.doctor:doctor",
    "cluster_init_tls": "tilespec.cluster.init_tls:cluster_init_tls",
}
STORED_ARRAYS = "tilespec.storage.arrays:stored_arrays"
"""The function that stores arrays in memory where verbs can read them."""


@cache
def _verb(name: str) -> Callable[..., Any]:
    """Return the verb ``name`` as people call it: with paths, arrays, and a progress where somebody watches."""
    function = load(VERBS, name, "verb")
    parameters = inspect.signature(function).parameters
    names = list(parameters)

    @wraps(function)
    def verb(*values: Any, **given: Any) -> Any:
        with ExitStack() as stack:
            bound = dict(zip(names, values, strict=False)) if len(values) <= len(names) else {}
            arguments = {key: _argument(parameters.get(key), value) for key, value in (bound | given).items()}
            if any(map(is_array, arguments.values())):
                arguments = stack.enter_context(import_object(STORED_ARRAYS, "function")(arguments))
            if "progress" in parameters and arguments.get("progress") is None:
                arguments["progress"] = default_progress()
            stack.enter_context(caller_state())
            first = [arguments.pop(each) for each in names[: len(values)]]
            result = function(*first, *values[len(names) :], **arguments)
        return Result(result) if isinstance(result, Mapping) else result

    verb.__wrapped__ = inspect.unwrap(function)
    return verb


def _argument(parameter: inspect.Parameter | None, value: Any) -> Any:
    """Return an argument as the verb takes it; options are read by the verb itself."""
    if parameter is None or is_array(value) or parameter.name == "progress":
        return value
    value = plain(value) if parameter.kind is not inspect.Parameter.KEYWORD_ONLY else value
    return [value] if parameter.annotation == Sequence[str] and isinstance(value, str) else value


def __getattr__(name: str) -> Any:
    """Return the verb ``name`` as a function; its libraries are loaded on the first call."""
    if name not in VERBS:
        raise AttributeError(f"tilespec.api has no verb {name!r}; verbs are {', '.join(VERBS)}")
    return _verb(name)


def __dir__() -> list[str]:
    """Return the names of all verbs, sorted."""
    return sorted(VERBS)
