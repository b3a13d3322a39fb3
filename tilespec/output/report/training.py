"""Training: losses, validations and learning rate over the steps, from the logs in a model's folder."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tilespec.evaluate.metrics.table import METRICS
from tilespec.output.report import plots
from tilespec.output.report.inputs import ModelRun
from tilespec.output.report.page_parts import Key, Picture, Row, Section
from tilespec.output.report.scores import digits
from tilespec.training.run.log import NOT_LOSSES
from tilespec.training.validation.history import best

POINTS: Final = 1500
"""The largest number of points of a curve."""
Curve = tuple[list[float], list[float]]
"""The steps and the values of a curve."""


def of_training(run: ModelRun) -> Section:
    """Return losses, validations and learning rate of a training; empty for a method without training steps."""
    title, key = f"Training: {run.name}", f"training-{run.name}"
    terms = losses(run)
    if not terms:
        return Section(key=key, title=title, lead="")
    keys = tuple(Key.of(_colour(i), name) for i, name in enumerate(terms))
    caption = "Each step thin, their running mean thick."
    plot = Picture(source=plots.curves(terms), title="Losses", caption=caption, plot=True)
    so_far = "" if run.card else " so far: there is no model yet"
    lead = f"The terms of the objective over {int(run.log[-1]['step']) + 1} steps{so_far}."
    rows = (Row(pictures=(plot,), legend=keys, columns=1), *_below(run))
    return Section(key=key, title=title, lead=f"{lead} {_summary(run)}".rstrip(), rows=rows)


def losses(run: ModelRun) -> dict[str, Curve]:
    """Return the curve of every loss in a training's log, without values that are NaN or infinite."""
    lines = run.log[:: max(1, len(run.log) // POINTS)]
    return _curves(lines, [key for line in lines for key in line if key not in NOT_LOSSES])


def validations(run: ModelRun) -> dict[str, Curve]:
    """Return the curves of a training's validations: the compared metric, with all others if they are shares."""
    names = [key for line in run.validations for key in line if key not in NOT_LOSSES]
    shares = run.metric in METRICS and METRICS[run.metric].truth == "classes"
    return _curves(run.validations, [run.metric, *names] if shares else [run.metric])


def _best(run: ModelRun) -> int | None:
    """Return the step of the best validation; None where there is none, or nobody here knows the metric."""
    return best(run.validations, METRICS[run.metric]) if run.metric in METRICS else None


def _below(run: ModelRun) -> list[Row]:
    """Return the plots below the losses, side by side."""
    pictures: list[Picture] = []
    keys: tuple[Key, ...] = ()
    metrics, rate = validations(run), _curves(run.log[:: max(1, len(run.log) // POINTS)], ["rate"])
    if metrics:
        top = _best(run)
        caption = "On pixels that are held out, predicted in tiles as users predict. The broken line marks the best."
        source = plots.points(metrics, ylabel="score", mark=top)
        pictures.append(Picture(source=source, title="Validation", caption=caption, plot=True))
        keys = tuple(Key.of(_colour(i), _named(name, run)) for i, name in enumerate(metrics))
    if rate:
        source = plots.points(rate, ylabel="rate", dots=False)
        pictures.append(Picture(source=source, title="Learning rate", caption="Of every step.", plot=True))
    return [Row(pictures=tuple(pictures), legend=keys)] if pictures else []


def _summary(run: ModelRun) -> str:
    """Return a sentence on the results of the validations."""
    top = _best(run)
    if top is None:
        return ""
    value = next(line[run.metric] for line in run.validations if line["step"] == top)
    count = len(run.validations)
    many, steps = "" if count == 1 else "s", (run.card.get("provenance") or {}).get("steps")
    remark = "" if steps is None else f" The model is that of step {steps}."
    return f"Of {count} validation{many} the best is that after {top} steps: {run.metric} {digits(value)}.{remark}"


def _named(name: str, run: ModelRun) -> str:
    """Return a metric's name in the legend."""
    return f"{name}, which is compared" if name == run.metric else name


def _curves(lines: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Curve]:
    """Return the curves of some names in their order, without values that are NaN or infinite."""
    curves: dict[str, Curve] = {}
    for name in dict.fromkeys(names):
        points = [(line["step"], line[name]) for line in lines if _number(line.get(name))]
        if points:
            curves[str(name)] = [float(step) for step, _ in points], [float(value) for _, value in points]
    return curves


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _colour(index: int) -> str:
    return plots.COLOURS[index % len(plots.COLOURS)]
