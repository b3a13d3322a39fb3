"""The verbs of the command line as functions, with the same names, options and results.

>>> from tilespec import api
>>> api.simulate("scene", rows=512, cols=512, raw=True)  # doctest: +SKIP
>>> api.ingest("scene/raw.hdr", "scene.zarr", white="scene/white.hdr", dark="scene/dark.hdr")  # doctest: +SKIP

Every verb returns plain data, what ``--json`` prints; ``dry_run=True`` returns the plan and writes nothing;
``progress`` takes a `tilespec.core.progress.Progress`. Verbs load their libraries when they are first used.
"""

from typing import Any

from tilespec.core.registry import load

VERBS = {
    "simulate": "tilespec.simulate.simulate:simulate",
    "ingest": "tilespec.ingest.ingest:ingest",
    "info": "tilespec.ingest.ingest:info",
    "fit": "tilespec.spectra.fit:fit",
    "transform": "tilespec.spectra.transform:transform",
    "render": "tilespec.spectra.colour.render:render",
    "train": "tilespec.training.train:train",
    "predict": "tilespec.predict.predict:predict",
    "baseline": "tilespec.baselines.baseline:baseline",
    "status": "tilespec.storage.audit:status",
    "verify": "tilespec.storage.audit:verify",
    "repair": "tilespec.workflows.repair:repair",
    "probe": "tilespec.models.probe.probe:probe",
    "evaluate": "tilespec.evaluate.evaluate:evaluate",
    "study": "tilespec.workflows.study.study:study",
    "measure": "tilespec.output.measure.measure:measure",
    "report": "tilespec.output.report.page:report",
    "export": "tilespec.output.export.export:export",
    "demo": "tilespec.workflows.demo:demo",
}


def __getattr__(name: str) -> Any:
    """Return the verb ``name`` as a function; its libraries are loaded on the first call."""
    if name not in VERBS:
        raise AttributeError(f"tilespec.api has no verb {name!r}; verbs are {', '.join(VERBS)}")
    return load(VERBS, name, "verb")


def __dir__() -> list[str]:
    """Return the names of all verbs, sorted."""
    return sorted(VERBS)
