"""Setup: the nets, the task, the objective and the recipe of a training."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import torch
from torch import nn

from tilespec.core.errors import UserError
from tilespec.core.limits import usable
from tilespec.core.registry import check_options, fill_options, load
from tilespec.core.results import in_bytes
from tilespec.core.types import Roi, TileClass
from tilespec.models.nets import NETS, UNDECLARED, build, limited, outlined, tile_class_of
from tilespec.models.nets.norms import SeededDropout, spatial_norms
from tilespec.models.tasks import TASKS, task
from tilespec.models.tasks.base import Task, generates
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit_steps
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.scale_check import brightness, check_encoding, check_scale, quick_sample
from tilespec.spectra.steps import parse, passes, plan
from tilespec.storage.backends.base import StorePath
from tilespec.training.augment.augment import Augment
from tilespec.training.augment.augment import check as check_augment
from tilespec.training.data.kinds import target_of
from tilespec.training.data.patches import PatchStream
from tilespec.training.data.read_forecast import summary
from tilespec.training.data.sample_stream import SampleStream
from tilespec.training.data.training_set import TrainingSet, open_training_set, with_fewer_components, with_patch
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import Objective
from tilespec.training.ranks.group import Ranks
from tilespec.training.schedules import Rate, warm_up_notes
from tilespec.training.settings import Config
from tilespec.training.transfer import transfer_note

OF_PIXELS = ("classes", "field")
"""The kinds of targets that objectives learn from, if they do not say otherwise."""
PLAIN = ("logits", "linear")
"""The names of heads that do not change the output, as nets and tasks use them."""
TENSORS: Final = 1 << 12
"""The number of tensors of a net, about four times which are the most that are built."""
TOLERANCE: Final = 1e-3
"""The distance from 0 to 1 at which a scaled value counts as outside."""
COPIES: Final = 4
"""The numbers for each parameter: itself, its gradient, two moments."""


@final
@dataclass(frozen=True, kw_only=True)
class Setup:
    """The nets, the task and the objective of a configuration, without weights."""

    task: Task
    """The task that is predicted."""
    objective: Objective
    """The objective of the training."""
    net: dict[str, Any]
    """The name and all parameters of the generator."""
    channels: tuple[int, int]
    """The number of channels of the generator, in (after the recipe and the task) and out."""

    @classmethod
    def of(cls, config: Config, bands: int) -> "Setup":
        """Return the setup for scenes with ``bands`` channels after the recipe.

        Raises:
            UserError: the net, the task or the objective is unknown, or one of their options is unknown or does not
                fit.
        """
        chosen = task({"name": config.task.name, **options(config.task)})
        kind = load(NETS, config.net.name, "net")
        params = fill_options(check_options(kind, options(config.net), "net"), options(config.net))
        heads = params.get("head", PLAIN[0]), chosen.head
        if heads[0] != heads[1] and not set(heads) <= set(PLAIN):
            raise UserError(
                "net.head, task.head",
                found="{!r} and {!r}".format(*heads),
                expected="the same",
                do="Set both to 'tanh', or neither.",
            )
        learned = objective({"name": config.objective.name, **options(config.objective)}, chosen)
        _check_targets(config, chosen, learned)
        net = {"name": config.net.name, **params}
        return cls(task=chosen, objective=learned, net=net, channels=(chosen.channels_in(bands), chosen.channels_out))

    @property
    def reach(self) -> TileClass:
        """The relation between the generator's tiles and the scene."""
        return tile_class_of(self.outline["generator"]) or UNDECLARED

    @cached_property
    def outline(self) -> dict[str, nn.Module]:
        """The nets without memory for their weights.

        Raises:
            UserError: parameters of the net are absurd: it cannot be built, or has too many layers.
        """
        own = self.net["name"] not in NETS or not type(self.objective).__module__.startswith("tilespec.")
        try:
            with limited(TENSORS):
                return outlined(lambda: self.nets(0), whole=own)  # nets of the user's own may need memory to be built
        except UserError:
            raise
        except (RuntimeError, TypeError, ValueError, ArithmeticError, MemoryError, RecursionError) as error:
            raise UserError(
                f"net {self.net}",
                found=f"no net: {(str(error).splitlines() or [type(error).__name__])[0]}",
                expected="parameters of a net that can be built",
                do="Change [net] in the configuration; docs/training.md says what a net of your own must have.",
            ) from error

    def nets(self, seed: int) -> dict[str, nn.Module]:
        """Return the generator and its opponents with weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            params = {key: value for key, value in self.net.items() if key != "name"}
            generator = build(self.net["name"], *self.channels, **params)
            return {"generator": generator, **self.objective.opponents(self.channels)}


def _check_targets(config: Config, chosen: Task, goal: Objective) -> None:
    """Refuse an objective for another kind of target than the task has, or for nets that read scenes and not noise."""
    if generates(chosen) != generates(goal):
        raise UserError(
            "objective.name",
            found=f"{config.objective.name!r}, for task {config.task.name}",
            expected="wgan_gp for synthesize, and for no other task: its net reads random numbers",
            do="Set task.name=synthesize and objective.name=wgan_gp, or neither.",
        )
    kinds = getattr(goal, "targets", OF_PIXELS)
    if target_of(chosen) not in kinds:
        raise UserError(
            "objective.name",
            found=f"{config.objective.name!r}, for task {config.task.name}",
            expected=f"an objective that learns from {target_of(chosen)}; that one does from {' or '.join(kinds)}",
            do="Set objective.name=mean_reference for references, supervised for others.",
        )


def options(table: Any) -> dict[str, Any]:
    """Return the keys of a table that belong to its plug-in."""
    return dict(table.model_extra or {})


def prepared(config: Config, ranks: int) -> tuple[Config, TrainingSet, dict[str, Any]]:
    """Return the configuration, the opened data and the plan as plain data, after all checks.

    Raises:
        UserError: settings and scenes do not match; nothing has been computed at this point.
    """
    training_set = open_training_set(config)
    _check_classes(training_set)
    with_facts = config.model_copy(update={"task": config.task.model_copy(update=dict(training_set.options))})
    config = with_fewer_components(with_facts, training_set)
    bands = reaching(config, training_set)
    config = _with_bands(config, bands.count)
    setup = Setup.of(config, bands.count)
    if not training_set.whole_samples:
        config = with_patch(config, training_set, setup.reach.align)
    if ranks < 1:
        raise UserError("--ranks", found=ranks, expected="at least 1", do="Leave it out for one process.")
    _check_train(config, ranks, getattr(setup.objective, "parts", 1))
    _check_size(setup)
    check_augment(config.augment, batch=config.train.batch, ranks=ranks, bands=bands, geometry=setup.task.geometry)
    notes = _check_generated(setup.task, training_set)
    stream = stream_of(config, training_set, setup)
    reading = summary(stream, training_set.regions, bands=bands.count, budget=config.data.cache)
    plan = {**_plan(config, training_set, setup), "reading": reading}
    notes += [] if config.train.start is None else [_start_note(config.train.start, setup)]
    return config, training_set, {**plan, "notes": [*plan.get("notes", []), *notes, *warm_up_notes(config.train)]}


def _start_note(folder: str, setup: Setup) -> str:
    """Return a note on what the generator takes from another model."""
    return transfer_note(folder, setup.net, setup.outline["generator"].state_dict())


def stream_of(config: Config, training_set: TrainingSet, setup: Setup) -> PatchStream | SampleStream:
    """Return the stream of patches of a training, or of whole samples where references are learned."""
    if not training_set.whole_samples:
        return PatchStream.of(config, training_set)
    _check_whole(config, setup)
    return SampleStream.of(config, training_set, setup.reach)


def _check_whole(config: Config, setup: Setup) -> None:
    """Refuse what would make the gradient of a sample depend on its tiles, or change its pixels without its number."""
    net = setup.outline["generator"].train()
    dropped = [layer for layer in net.modules() if isinstance(layer, SeededDropout) and layer.p > 0]
    wrong = {
        "net.dropout": (bool(dropped), "dropout, whose masks are those of patches", "Set net.dropout=0."),
        "net.norm": (
            config.data.tile is not None and bool(spatial_norms(net)),
            "norms over space or a batch, whose statistics are those of a tile",
            "Set net.norm to channel or none, or leave data.tile out.",
        ),
        "[augment]": (
            bool(Augment.of(config.augment, 0).kinds),
            "augmentations of patches",
            "Leave [augment] out; data.augment mirrors samples.",
        ),
    }
    for where, (there, found, do) in wrong.items():
        if there:
            raise UserError(where, found=found, expected="a net and data for whole samples", do=do)


def _check_classes(training_set: TrainingSet) -> None:
    """Refuse training regions whose labels are all of one class: nothing can be learned from them."""
    counts = training_set.facts.get("labelled_pixels")
    if counts is not None and sum(map(bool, counts)) < 2:
        (name,) = (name for name, count in zip(training_set.classes, counts, strict=True) if count)
        raise UserError(
            "data.rows, data.cols",
            found=f"training regions whose labelled pixels are all of the class {name!r}",
            expected="labels of at least two classes",
            do="Choose another region, or label another class too.",
        )


def _check_generated(task: Task, training_set: TrainingSet) -> list[str]:
    """Refuse pixels without a label that do not exist; return a note on classes of a single pixel."""
    if not generates(task):
        return []
    counts = training_set.facts["labelled_pixels"]
    if getattr(task, "unlabelled", False) and sum(counts) == sum(
        _pixels(region.roi) for region in training_set.regions
    ):
        raise UserError(
            "task.unlabelled",
            found="a training region in which every pixel has a label",
            expected="pixels without one, from which a semi-supervised training learns",
            do="Set task.unlabelled=false, or choose a larger region.",
        )
    single = [name for name, count in zip(training_set.classes, counts, strict=False) if count == 1]
    return (
        [f"one pixel is all that is known of {', '.join(single)}: its spectra will be copies of it"] if single else []
    )


def range_notes(setup: Setup, training_set: TrainingSet, recipe: Recipe) -> list[str]:
    """Return a note on spectra that a generator, whose answers are between 0 and 1, can never make."""
    if not generates(setup.task) or setup.task.head != "sigmoid":
        return []
    samples = [quick_sample(region.scene, region.roi) for region in training_set.regions]
    scores = np.concatenate([recipe.apply(sample) for sample in samples if len(sample)])
    outside = float(((scores < -TOLERANCE) | (scores > 1 + TOLERANCE)).any(axis=1).mean())
    said = f"after the recipe {outside:.1%} of the spectra leave 0 to 1, beyond which nothing is synthesized"
    return [f"{said}: fit a recipe that ends in minmax=shared to this region"] if outside else []


def _pixels(roi: Roi) -> int:
    """Return the number of pixels of a region."""
    return roi.shape[0] * roi.shape[1]


def _check_size(setup: Setup) -> None:
    """Refuse nets whose weights, gradients and moments alone need more memory than there is."""
    numbers = sum(parameter.numel() for net in setup.outline.values() for parameter in net.parameters())
    needed, limit = COPIES * 4 * numbers, usable()
    if needed > limit:
        raise UserError(
            f"net {setup.net}",
            found=f"{numbers:,} parameters, which need {in_bytes(needed)} with their gradients and moments",
            expected=f"at most {in_bytes(limit)}",
            do="Choose a smaller net, or a machine with more memory.",
        )


def _with_bands(config: Config, bands: int) -> Config:
    """Return the configuration with what the recipe gives as the answer of a net that generates it."""
    table = config.task.model_extra or {}
    if not generates(load(TASKS, config.task.name, "task")):
        return config
    if table.get("bands", bands) != bands:
        raise UserError(
            "task.bands",
            found=table["bands"],
            expected=f"{bands}, which the recipe gives",
            do="Leave it out: it follows from the scene and the recipe.",
        )
    return config.model_copy(update={"task": config.task.model_copy(update={"bands": bands})})


def _check_train(config: Config, ranks: int, moves: int) -> None:
    """Refuse a batch that ranks, parts and moves cannot divide, and a plateau schedule without validations."""
    train = config.train
    shares = ranks * train.accumulate * moves
    if train.batch % shares:
        parts = {"parts each": train.accumulate, "moves of a critic": moves}
        said = "".join(f", {count} {what}" for what, count in parts.items() if count > 1)
        raise UserError(
            "train.batch",
            found=f"{train.batch} patches for {ranks} ranks{said}",
            expected=f"a multiple of {shares}",
            do=f"Set train.batch={-(-train.batch // shares) * shares}.",
        )
    Rate.of(train)
    if train.schedule.name == "plateau" and not config.validation.held_out:
        raise UserError(
            "train.schedule",
            found="plateau, without a held-out region",
            expected="validations to follow",
            do="Set validate.rows (or validate.cols, validate.scene, validate.share), or choose another schedule.",
        )


def reaching(config: Config, training_set: TrainingSet) -> Bands:
    """Return the bands, or scores, that the recipe gives."""
    if config.recipe.path is not None:
        recipe = _fitted(config.recipe.path, training_set)
        return Bands(count=recipe.bands_out, axis=recipe.axis_out)
    return plan(
        parse(config.recipe.steps or ""), Bands(count=training_set.bands, axis=training_set.regions[0].scene.spectral)
    )


def _plan(config: Config, training_set: TrainingSet, setup: Setup) -> dict[str, Any]:
    """Return the plan as plain data."""
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in setup.outline.items()}
    return {
        "config": config.model_dump(mode="json"),
        "regions": [str(region.roi) for region in training_set.regions],
        **training_set.facts,
        "channels": list(setup.channels),
        "parameters": counts,
        "passes_over_the_region": passes(parse(config.recipe.steps or "")),
        "patches": config.train.steps * config.train.batch,
    }


def recipe_of(config: Config, training_set: TrainingSet, folder: StorePath, ranks: Ranks) -> Recipe:
    """Return the recipe: the named one, or the steps fitted by rank 0 on the training regions, or none.

    A recipe that an interrupted training had fitted already is used again.
    """
    if config.recipe.path is not None:
        return _fitted(config.recipe.path, training_set)
    scene = training_set.regions[0].scene
    if not config.recipe.steps:
        level = brightness(quick_sample(scene, training_set.regions[0].roi))
        return replace(Recipe.empty(scene.shape[2], scene.spectral), level=level)
    path = folder / "recipe"
    if ranks.rank == 0 and not (path / "recipe.json").exists():
        where = [(region.scene, region.roi) for region in training_set.regions]
        fit_steps(config.recipe.steps, where, seed=config.train.seed).save(str(path))
    ranks.agree(0)
    return Recipe.load(str(path))


def _fitted(path: str, training_set: TrainingSet) -> Recipe:
    """Return a recipe that was fitted before, if it fits these scenes."""
    recipe = Recipe.load(path)
    for region in training_set.regions:
        recipe.check(region.scene.shape[2], region.scene.spectral, region.scene.url)
        check_encoding(region.scene, decodes=recipe.decodes)
        check_scale(recipe.level, region.scene, region.roi)
    return recipe
