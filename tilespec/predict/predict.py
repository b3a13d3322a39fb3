"""Predict: the verb ``predict`` makes blended predictions from a model folder and scenes."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, final

import numpy as np
from safetensors.numpy import save_file

from tilespec.cluster.connect import Connection, connect_once
from tilespec.cluster.shares import OthersWriteError, in_turn, shares, wait
from tilespec.cluster.submit import run_tasks, worker_count
from tilespec.core.cpu import cores
from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.memory import Peak
from tilespec.core.options import values_of, with_options
from tilespec.core.progress import Progress, Silent
from tilespec.core.signals import catch_signals
from tilespec.models.determinism import torch_threads
from tilespec.models.ensemble import Ensemble
from tilespec.models.frozen_norms import norm_statistics
from tilespec.predict.memory_forecast import budget, project
from tilespec.predict.options import PredictOptions, ProductOptions
from tilespec.predict.output_store import create, space_needed
from tilespec.predict.planning import plan_of
from tilespec.predict.time_forecast import PARTS, time_needed
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.layout import COMPLETE, INCOMPLETE
from tilespec.storage.lease import Lease
from tilespec.storage.lock import Hold, locked
from tilespec.storage.product import publish
from tilespec.storage.scene import Scene
from tilespec.tiling.plan import PredictPlan, Slab, SlabCounts, describe
from tilespec.tiling.slab import run_slab

Statistics = Callable[..., dict[str, np.ndarray]]
"""The function `norm_statistics` of a model on a scene; its arguments are ``client`` and ``progress``."""


@with_options(PredictOptions)
def predict(
    model: str | Sequence[str], scene: str | Sequence[str], out: str, options: PredictOptions, progress: Progress
) -> dict[str, Any]:
    """Predict ``scene`` with ``model`` into the store ``out``, blended; resume what was interrupted.

    Args:
        model: Model folder; or several of one task, whose mean is predicted, and with ``disagreement`` their spread.
        scene: Scene store, raw or transformed by the model's own recipe; or several, each into ``OUT/NAME``: one that
            cannot be predicted stands in ``failed``, and the others are predicted.
        out: Prediction store: ``prediction(y, x)`` uint8 for classes, else ``prediction(y, x, channel)`` float32.
        options: How it is predicted; given by name.
        progress: Where progress is shown.

    Returns:
        Tiles, seconds, bytes, peak memory, fingerprint and status: ``complete``, or ``incomplete`` where tiles are in
        quarantine or workers died on a part again and again.

    Raises:
        UserError: bands or wavelengths differ from the model's, overlap >= tile, or other settings in ``out``.
        KeyboardInterrupt: stopped by a signal; what was in flight is finished, and the same command resumes.
    """
    places = {scene: out} if isinstance(scene, str) else places_of(scene, out)
    if isinstance(scene, str):
        Scene.open(scene)  # if scene and model are both missing, the scene is reported
    loaded = Ensemble.load([model] if isinstance(model, str) else model)
    with torch_threads(), connect_once(options.workers, options.cluster) as workers:  # predictors set their threads
        one = partial(predict_scene, loaded, options=options, progress=progress, workers=workers)
        return one(scene, out) if isinstance(scene, str) else _predict_each(one, places, options, progress)


def _predict_each(
    one: Callable[..., dict[str, Any]], places: Mapping[str, str], options: PredictOptions, progress: Progress
) -> dict[str, Any]:
    """Predict each scene into its place; a scene that cannot be predicted does not stop the others.

    Args:
        one: The function that predicts a scene into its place; it may be ``patient`` with other runs.
        places: The place of each scene.
        options: The options.
        progress: The progress.

    Raises:
        UserError: no scene could be predicted.
    """
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for scene, patient in in_turn(list(places), join=options.join and not options.dry_run):
        place = places[scene]
        if place in done or scene in failed:
            continue
        try:
            done[place] = one(scene, place, patient=patient)
        except OthersWriteError:
            continue
        except (UserError, OSError) as error:
            if isinstance(error, OccupiedError) and options.overwrite:
                raise
            failed[scene] = str(error)
            progress.say(f"{scene} failed: {error}")
    if not done:
        scene, message = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} scenes",
            found=f"none that can be predicted; {scene}: {message}",
            expected="at least one",
            do="Correct this one first.",
        )
    return {
        "scenes": done,
        "failed": failed,
        "status": INCOMPLETE if failed or _any_incomplete(done) else COMPLETE,
        "notes": [f"{scene} failed: {message}" for scene, message in failed.items()],
    }


def predict_scene(  # noqa: PLR0913 - what is predicted, and by whom
    models: Ensemble,
    scene: str,
    out: str,
    options: PredictOptions,
    progress: Progress,
    *,
    workers: Connection,
    patient: bool = True,
) -> dict[str, Any]:
    """Plan the prediction of one scene with loaded models, and execute the plan unless only the plan is requested.

    Raises:
        OthersWriteError: runs that joined write all that is missing, and this one is not ``patient``.
    """
    opened, number = Scene.open(scene), workers.number
    threads = max(1, cores() // max(number, 1)) if number or options.cluster is None else 1  # elsewhere: unknown
    plan, settings = plan_of(models, scene, out, options, threads)
    limit = budget(options.memory)
    projection = project(plan, number, limit)
    lanes = projection.lanes(plan.threads, limit)
    plan = replace(plan, threads=lanes, spec=plan.spec.with_intra(max(1, plan.threads // lanes)))
    expected = {"projected_memory": projection.peak(lanes), "memory_budget": limit, "lanes": lanes}
    space = space_needed(plan, probabilities=options.probabilities)
    if options.dry_run:
        described = describe(plan, opened.shape[2], opened.dtype.itemsize, expected | space)
        return described | time_needed(plan, opened, options, models.digest)
    progress.say(f"projected peak memory {projection.peak(lanes) / 1e9:.2f} GB: {projection.describe(lanes)}")
    if space["bytes_to_write"] > space["bytes_free"]:
        progress.say("{bytes_to_write} bytes may not fit into the {bytes_free} that are free".format(**space))
    with locked(plan.product.url, join=options.join, patient=patient) as hold:
        with hold.alone("create"):
            create(plan, models, settings, probabilities=options.probabilities)
            _tidy(plan, hold)
        folders: str | list[str] = models.folders[0] if len(models.folders) == 1 else list(models.folders)
        places = {"model": folders, "scene": plan.scene, "out": plan.product.url}
        plan.product.ledger.command("predict", **places, **values_of(options, ProductOptions))
        where: dict[str, Any] = {
            "tile": plan.grid.y.tile,
            "prepared": models.first.recipe.applied_to(opened),
            "folder": models.folders[0],
        }
        statistics = (
            partial(norm_statistics, models.first, opened, plan.roi, **where) if options.norm == "frozen" else None
        )
        result = _execute(plan, hold, opened, statistics, workers, progress) | expected
    return result | {"notes": _notes(models, opened, plan, result)}


def _notes(models: Ensemble, scene: Scene, plan: PredictPlan, result: dict[str, Any]) -> list[str]:
    """Return what the user should know about a prediction."""
    pixels = plan.grid.y.length * plan.grid.x.length
    notes = {
        "the scene has no wavelengths: its bands are taken for those of the model, in their order": (
            scene.spectral is None and any(model.spectral is not None for model in models.members)
        ),
        "every pixel is nodata: the scene has no valid spectrum there": result["nodata"] >= pixels > 0,
    }
    return [note for note, true in notes.items() if true]


def _any_incomplete(done: dict[str, dict[str, Any]]) -> bool:
    return any(result.get("status") == INCOMPLETE for result in done.values())


def places_of(scenes: Sequence[str], out: str) -> dict[str, str]:
    """Return the URL of each scene's prediction: in the folder ``out``, under the scene's own name.

    Raises:
        UserError: two scenes have the same name.
    """
    names = [store_path(scene).name for scene in scenes]
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise UserError(
            "SCENE",
            found=f"several scenes named {twice[0]}",
            expected="scenes of different names, which name their predictions",
            do="Predict them one by one, each into an OUT of its own.",
        )
    return {scene: str(store_path(out) / name) for scene, name in zip(scenes, names, strict=True)}


def _tidy(plan: PredictPlan, hold: Hold) -> None:
    """Delete what a killed run left for its own tasks, and the records of rows with poison tiles, unless others work.

    Strips are computed again, which is cheaper than checking them.
    """
    if hold.others():
        return
    for left in (plan.product.scratch, plan.product.scratch.with_name("poison")):
        shutil.rmtree(left, ignore_errors=True)
    plan.product.retry()


def _execute(
    plan: PredictPlan,
    hold: Hold,
    scene: Scene,
    statistics: Statistics | None,
    workers: Connection,
    progress: Progress,
) -> dict[str, Any]:
    """Run the missing parts, or this run's share of them, publish the product, and return the counts.

    With ``statistics`` the norms are frozen; it computes those of the scene, ``LAYER.mean`` and ``LAYER.var``.
    """
    total, rows, failed = SlabCounts(), 0, []
    started = time.monotonic()
    with catch_signals(hold.flag) as stop, nullcontext(workers.client()) as client, Peak() as peak:
        startup = time.monotonic() - started
        if statistics is not None:
            with hold.alone("norms"):
                file = _norms(plan, partial(statistics, client=client, progress=progress))
            plan = replace(plan, spec=plan.spec.with_norms(file))
        hands = 1 if client is None else PARTS * max(1, workers.number, worker_count(client))
        parts = plan.shares() if hold.joined else plan.parts(hands)
        progress.start("predict", sum(_tiles(plan, part) for part in parts), "tiles")
        for part, facts in _facts(plan, hold, parts, client, progress, stop):
            if isinstance(facts, SlabCounts):
                total.add(facts)
                rows += len(part.rows)
            else:
                failed.append(_died(plan, part))
        progress.finish()
        if stop():
            raise KeyboardInterrupt
        hold.lease.check()
        if hold.joined:
            failed += [_died(plan, part) for part in _lacking(plan, parts) if hold.abandoned(_name(part))]
        scene.check_unchanged()
        with hold.alone("publish"):
            status = _publish(plan, hold, failed)
    result = _result(plan, total, rows, failed) | {
        "status": status,
        "seconds": peak.seconds,
        "startup_seconds": startup,
        "peak_memory": peak.bytes,
        "workers": workers.number,
        "lanes": plan.threads,
    }
    if rows:
        plan.product.ledger.note("predict", result)
    return result


@final
class _Remaining:
    """The parts of a plan that are not written; the progress counts those that other runs write."""

    def __init__(self, plan: PredictPlan, parts: list[Slab], progress: Progress, *, joined: bool) -> None:
        self._plan, self._progress, self._joined = plan, progress, joined
        self.left, self.own = dict.fromkeys(parts), set[Slab]()
        """The parts, and those that this run counts by itself."""

    def __call__(self) -> list[Slab]:
        """Return what is left."""
        if self._joined:
            lacking = {*_lacking(self._plan, list(self.left))}
            for part in [part for part in self.left if part not in lacking]:
                self.left.pop(part)
                if part not in self.own:
                    self._progress.advance(_tiles(self._plan, part))
        return list(self.left)


def _facts(
    plan: PredictPlan, hold: Hold, parts: list[Slab], client: Any, progress: Progress, stop: Callable[[], bool]
) -> Iterator[tuple[Slab, Any]]:
    """Yield each part that this run tries with its counts, or the error that killed its workers, as they complete."""
    missing = _Remaining(plan, parts, progress, joined=hold.joined)
    of = shares(hold, missing, lambda part: plan.missing(part) is not None, _name, stop=stop)
    if client is not None:
        missing.own |= {*parts}  # the records of all are counted
        tasks, tick = (share and (plan, *share, hold.flag) for share in of), _count_records(plan, parts, progress)
        for (_, part, lease, _), facts in run_tasks(client, _run_on_worker, tasks, stop=stop, tick=tick):
            if not isinstance(facts, SlabCounts):
                missing.left.pop(part, None)  # it is not tried again
            yield part, facts
            hold.release(lease)
        return
    for share in of:
        if stop():
            return
        if share is None:
            wait(hold, started=bool(missing.own))
            continue
        part, lease = share
        missing.own.add(part)
        yield part, _run(plan, part, lease, progress, stop)
        hold.release(lease)


def _lacking(plan: PredictPlan, parts: Sequence[Slab]) -> list[Slab]:
    """Return the parts of which rows are not written."""
    rows = plan.product.unwritten()
    return [part for part in parts if any((row, part.panel) in rows for row in part.rows)]


def _name(part: Slab) -> str:
    """Return the name of a part, the same in every run that joins."""
    return f"panel-{part.panel:03d}-row-{part.rows[0]:06d}"


def _run(plan: PredictPlan, part: Slab, lease: Lease, progress: Progress, stop: Callable[[], bool]) -> SlabCounts:
    """Run what is missing of a part, until a stop is requested or another run has taken over."""
    missing = plan.missing(part)
    if missing is None:
        return SlabCounts()
    plan = replace(plan, product=replace(plan.product, lease=lease))
    return run_slab(plan, missing, progress, lambda: stop() or not lease.held)


def _run_on_worker(plan: PredictPlan, part: Slab, lease: Lease, flag: StorePath) -> SlabCounts:
    """Run what is missing of a part on a worker."""
    with torch_threads():
        return _run(plan, part, lease, Silent(), flag.exists)


def _count_records(plan: PredictPlan, parts: list[Slab], progress: Progress) -> Callable[[], None]:
    """Return a function that reports the progress of workers from their records, in tiles."""
    folder, rows = plan.product.ledger.rows, max(1, sum(len(part.rows) for part in parts))
    each = sum(_tiles(plan, part) for part in parts) / rows
    before = len(list(folder.glob("row-*.json")))

    def tick() -> None:
        nonlocal before
        now = len(list(folder.glob("row-*.json")))
        progress.advance((now - before) * each)
        before = now

    return tick


def _norms(plan: PredictPlan, statistics: Statistics) -> str:
    """Return the file of the scene's norm statistics, from a first pass or from the previous run."""
    file = plan.product.scratch.with_name("norms.safetensors")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_suffix(".partial")
        save_file(statistics(), written)
        written.replace(file)
    return str(file)


def _publish(plan: PredictPlan, hold: Hold, failed: list[dict[str, Any]]) -> str:
    """Publish the status as the last step."""
    if hold.joined and not failed:
        plan.product.sweep()
    if failed:
        publish(plan.product.url, {"tilespec_status": INCOMPLETE})
        return INCOMPLETE
    plan.product.finish()
    return INCOMPLETE if plan.product.poison() else COMPLETE


def _result(plan: PredictPlan, total: SlabCounts, rows: int, failed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts of the run as the result of the verb."""
    return {
        "tiles": total.tiles,
        "tiles_empty": total.empty,
        "tiles_shared": total.shared,
        "tiles_wasted": total.wasted,
        "tiles_planned": plan.grid.tiles,
        "rows_done": rows,
        "nodata": plan.product.counts().get("nodata", 0),
        "quarantined": plan.product.poison(),
        "failed": failed,
        "tiles_by": dict(total.tiles_by),
        "milliseconds_by": dict(total.milliseconds_by),
        "cpu_seconds": total.cpu_seconds,
        "opening_seconds": total.opening_seconds,
        "network_seconds": total.network_seconds,
        "read_seconds": total.read_seconds,
        "bytes_read": total.bytes_read,
        "bytes_written": total.bytes_written,
        "fingerprint": plan.product.ledger.key,
        "out": plan.product.url,
    }


def _died(plan: PredictPlan, part: Slab) -> dict[str, Any]:
    """Return the note on a part whose workers died repeatedly."""
    tiles = plan.tiles(part)[0]
    return {
        "rows": list(plan.span(part)),
        "tile_rows": [tiles[0], tiles[-1]],
        "do": "Its workers were killed again and again, mostly for memory: choose a smaller --tile or fewer --workers.",
    }


def _tiles(plan: PredictPlan, part: Slab) -> int:
    """Return the number of tiles that overlap a part."""
    rows, columns = plan.tiles(part)
    return len(rows) * len(columns)
