"""Train: a model folder is made from random patches; a training resumes by itself, on any number of ranks.

This file opens, checks and combines the parts; the loop is `tilespec.training.loop.loop`.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress, Silent
from tilespec.models.tensors import plain
from tilespec.spectra.bands import Bands
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.lock import locked
from tilespec.training.augment.augment import Augment, on_same_bands
from tilespec.training.config import resolve
from tilespec.training.data.loader import Loader
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.training_set import TrainingSet, open_training_set
from tilespec.training.loop.loop import Loop
from tilespec.training.loop.moves import StepRunner
from tilespec.training.loop.weight_average import WeightAverage
from tilespec.training.options import TrainOptions
from tilespec.training.player import Player
from tilespec.training.ranks.dask_workers import RankTask
from tilespec.training.ranks.group import Ranks, joined, shared
from tilespec.training.ranks.launchers import leads
from tilespec.training.ranks.start import RankRunner, rank_runner
from tilespec.training.run import checkpoint, run_folder
from tilespec.training.run.log import TrainingLog
from tilespec.training.schedules import Rate
from tilespec.training.settings import Config
from tilespec.training.setup import Setup, prepared, range_notes, reaching, recipe_of, stream_of
from tilespec.training.transfer import begin
from tilespec.training.validation.judge import Judge
from tilespec.training.validation.validation import Validation, best_weights, clear


@with_options(TrainOptions)
def train(
    config: str | Path | Mapping[str, Any], out: str, options: TrainOptions, progress: Progress
) -> dict[str, Any]:
    """Train a model into the folder ``out``, or resume the training that was begun there with the same settings.

    Args:
        config: The TOML file, ``preset:NAME``, or a mapping of tables.
        out: The model folder, which also contains ``checkpoints/``, ``log.jsonl`` and ``validation.jsonl``.
        options: The ranks, and the settings that replace those of ``config``; given by name.
        progress: The progress that counts steps.

    Returns ``steps, resumed_from, seconds, steps_per_second, startup_seconds, peak_memory, parameters, losses,
    starvation, read_amplification, skipped, published_step, ranks, hosts, notes, model``; for a finished training,
    its stored result.

    Raises:
        UserError: settings, scenes or labels do not match; the folder has another training; or the loss is NaN or
            infinite.
        IncompleteError: a rank is lost, and all have ended; the same command resumes.
        KeyboardInterrupt: the training was stopped by SIGINT, SIGTERM or SIGUSR1; the last step has its checkpoint.
    """
    source = str(config) if isinstance(config, str | Path) else "mapping"
    settings_given, first = resolve(config, options.overrides), leads()
    with rank_runner(options.ranks, options.workers, options.cluster) as hands:
        settings, training_set, plan = prepared(settings_given, hands.world)
        plan |= _held_out(settings, training_set, reaching(settings, training_set).count)
        if options.dry_run:
            return {**plan, "model": out, "ranks": hands.world}
        folder = store_path(out)
        with locked(str(folder)) if first else nullcontext():
            if first:
                run_folder.settle(folder, settings, training_set.provenance())
            done = run_folder.result(folder)
            if done is not None and run_folder.is_whole(folder):
                return done
            if done is not None:
                run_folder.check_weights(folder, done, best_weights(folder, done["published_step"]))
            facts = _work(hands, settings, folder, source, progress)
            if done is not None:
                note = "the model was lost or damaged, and is published again from the last checkpoint"
                return {**done, "notes": [*done.get("notes", []), note]}
            notes = [*plan.get("notes", []), *facts.get("notes", [])]
            facts |= {"parameters": plan["parameters"], "model": out, "notes": notes}
            if first:
                run_folder.conclude(folder, facts)
                if Rate.of(settings.train).ends:
                    clear(folder)  # a prolonged training may need the best weights so far
    return facts


def _held_out(config: Config, training_set: TrainingSet, bands: int) -> dict[str, Any]:
    """Check the held-out regions before anything is computed, and return their part of the plan."""
    recipe = Recipe.empty(training_set.bands, training_set.regions[0].scene.spectral)
    validation = Validation.of(config, training_set, Setup.of(config, bands), recipe, store_path("."))
    if validation is None:
        return {}
    validations = -(-config.train.steps // config.validation.every)
    return {"held_out": validation.parts, "validations": validations, "validation_bytes": validation.cost(bands)}


def _work(hands: RankRunner, config: Config, folder: StorePath, source: str, progress: Progress) -> dict[str, Any]:
    """Run the training and return its result."""
    arguments = {"config": config.model_dump(mode="json"), "out": str(folder), "source": source}
    work = RankTask(function="tilespec.training.train:learn", arguments=arguments, out=str(folder.absolute()))
    with Peak() as peak:
        even = config.train.batch // config.train.accumulate  # the number of patches that ranks divide
        facts = hands.run(work, batch=even, restarts=config.train.restarts, progress=progress)
    return {**facts, "startup_seconds": peak.seconds - facts["seconds"], "peak_memory": peak.bytes}


def learn(config: Mapping[str, Any], out: str, source: str, progress: Progress) -> dict[str, Any]:
    """Run one rank of a training: prepare, resume, loop, publish; return the result."""
    settings, folder = Config.model_validate(config), store_path(out)
    data, options = settings.data, settings.train
    with joined(options.device, options.timeout) as ranks:
        shared(folder / run_folder.CHECKPOINTS, ranks)
        training_set = open_training_set(settings)
        recipe = recipe_of(settings, training_set, folder, ranks)
        setup = Setup.of(settings, recipe.bands_out)
        validation = Validation.of(settings, training_set, setup, recipe, folder)
        blocks = ScoreCache(training_set.regions, recipe, data.cache, ranks)
        share = ranks.share(options.batch)
        stream = stream_of(settings, training_set, setup)
        loading: dict[str, Any] = {"batch": options.batch, "share": share, "threads": options.loaders}
        loader = Loader(stream, blocks, setup.task, **loading, pin=ranks.device.startswith("cuda"))
        same = on_same_bands(Bands(count=recipe.bands_out, axis=recipe.axis_out), training_set.answers)
        augment = Augment.of(settings.augment, options.seed, same_bands=same)
        start, loop = _resumed(settings, folder, ranks, setup, validation, augment)
        with loop.log or nullcontext():
            facts = loop.run(start, loader, blocks, progress if ranks.rank == 0 else Silent())
        if ranks.rank == 0:
            for region in training_set.regions:
                region.scene.check_unchanged()
            step, weights = loop.judge.chosen or (facts["steps"], plain(loop.weights()))
            run_folder.publish(
                folder,
                settings,
                training_set=training_set,
                setup=setup,
                recipe=recipe,
                weights=weights,
                source=source,
                step=step,
            )
            notes = [*_notes(facts, settings, step), *range_notes(setup, training_set, recipe)]
            facts |= {"published_step": step, "notes": notes}
        facts |= {"ranks": ranks.world, "hosts": list(ranks.hosts)}
        ranks.agree(0)
    return facts


def _resumed(
    config: Config, folder: StorePath, ranks: Ranks, setup: Setup, validation: Validation | None, augment: Augment
) -> tuple[int, Loop]:
    """Return the steps done by the newest complete checkpoint, and the loop that continues there."""
    train, checkpoints, first = config.train, folder / run_folder.CHECKPOINTS, ranks.rank == 0
    nets = setup.nets(train.seed)
    if train.start is not None:
        begin(nets["generator"], setup.net, train.start)
    players = {name: Player.of(net, train, ranks.device) for name, net in nets.items()}
    average = WeightAverage(nets["generator"], train.ema) if train.ema and first else None
    start = ranks.agree(checkpoint.newest(checkpoints) if first else 0)
    if start:
        tensors = checkpoint.load(checkpoints, start)
        checkpoint.restore(players, tensors, average.tensors if average else None, where=checkpoints)
    lines = checkpoint.validations(checkpoints, start) if start else []
    return start, Loop(
        train=train,
        folder=folder,
        ranks=ranks,
        players=players,
        runner=StepRunner.of(train, players, setup.objective, ranks),
        augment=augment,
        rate=Rate.of(train),
        judge=Judge(validation, config, folder, ranks, lines),
        average=average,
        log=TrainingLog(folder, start, events=train.tensorboard) if first else None,
    )


def _notes(facts: Mapping[str, Any], config: Config, step: int) -> list[str]:
    """Return notes about the training for the user."""
    wanted, steps, skipped = config.train.steps, facts["steps"], facts["skipped"]
    notes = {
        f"stopped after {steps} of {wanted} steps: validations did not become better": steps < wanted,
        f"the model is that of step {step}, the best validated one": step != steps,
        f"{skipped} steps were skipped: losses or gradients were NaN or infinite": skipped > 0,
    }
    return [note for note, true in notes.items() if true]
