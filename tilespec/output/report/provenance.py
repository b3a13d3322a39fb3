"""Provenance: the digests and settings of everything on the page."""

from collections.abc import Mapping
from typing import Any

from tilespec import __version__
from tilespec.output.report.inputs import Runs, name_of
from tilespec.output.report.page_parts import Section, plain

SCENE = ("simulation", "provenance", "source")
MODEL = ("net", "task", "tile", "digest", "provenance")
PREDICTION = ("method", "model_digest", "scene_digest", "fingerprint", "grid", "train_regions")


def of_provenance(runs: Runs) -> Section:
    """Return digests, settings and regions by product."""
    facts = [("tilespec", __version__)]
    facts += [(f"scene {name_of(s.url)}", plain({"digest": s.digest, **_some(s.attrs, SCENE)})) for s in runs.scenes]
    facts += [(f"model {run.name}", plain(_some(run.card, MODEL))) for run in runs.models]
    facts += [(f"prediction {run.name}", plain(_some(run.map.attrs, PREDICTION))) for run in runs.predicted]
    lead = "What decides every pixel above: equal digests mean equal bytes."
    return Section(key="provenance", title="Provenance", lead=lead, facts=tuple(facts))


def _some(attrs: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return those of ``keys`` that exist."""
    return {key: attrs[key] for key in keys if key in attrs}
