"""Train: random patches in, a model folder out. Resumes by itself; any number of ranks learns the same.

For each move of the objective: clear, send each loss term back, step. Nothing here knows which task, net or objective
it is.
"""

import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from tilespec import checkpoint, rundir
from tilespec.blocks import Blocks
from tilespec.cast import Cast, Player, prepared, recipe_of
from tilespec.config import Config, resolve
from tilespec.corpus import Corpus, open_corpus
from tilespec.errors import UserError
from tilespec.memory import Peak
from tilespec.nets.norms import set_sample_ids
from tilespec.objectives import Batch, Move
from tilespec.objects import local
from tilespec.optimise import rate
from tilespec.progress import Progress, Silent
from tilespec.ranks import Ranks, joined, launched, spawn
from tilespec.sample import Law, Loader

Losses = dict[str, float]


def train(
    config: str | Path | Mapping[str, Any],
    out: str,
    *,
    overrides: Mapping[str, str] | None = None,
    ranks: int = 1,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a model into the folder ``out``, or resume the training that was begun there with the same settings.

    Args:
        config: TOML file, ``preset:NAME``, or a mapping of tables.
        out: Model folder; ``checkpoints/`` and ``log.jsonl`` lie in it.
        overrides: Dotted keys to TOML values, over ``config``.
        ranks: Processes on this machine that learn together; with `torchrun` leave it at 1.
        dry_run: Return the plan and write nothing.
        progress: Told about steps.

    Returns ``steps, resumed_from, seconds, steps_per_second, startup_seconds, peak_memory, parameters, losses,
    starvation, read_amplification, model``; of a finished training, what it came to.

    Raises:
        UserError: settings, scenes or labels that do not fit; a folder of another training; a loss that is no number.
    """
    source = str(config) if isinstance(config, str | Path) else "mapping"
    world = launched() or ranks
    settings, corpus, plan = prepared(resolve(config, overrides), world)
    if dry_run:
        return {**plan, "model": out, "ranks": world}
    folder, first = local(out, "a model"), os.environ.get("RANK", "0") == "0"
    if first:
        rundir.settle(folder, settings, corpus.provenance())
    if "failed" not in (done := rundir.result(folder) or {"failed": "not begun"}):
        return done
    facts = _work(settings, out, source, progress or Silent(), world)
    facts |= {"parameters": plan["parameters"], "ranks": world, "model": out}
    if first:
        rundir.conclude(folder, facts)
    return facts


def _work(config: Config, out: str, source: str, progress: Progress, world: int) -> dict[str, Any]:
    """Learn, here or in ``world`` processes, and return what it came to."""
    with Peak() as peak:
        if world > 1 and not launched():
            spawn(_rank, (config, out, source, progress), world)
        else:
            _rank(config, out, source, progress)
    facts = rundir.result(Path(out)) or {}
    if "failed" in facts:
        raise UserError(out, **facts["failed"])
    return {**facts, "startup_seconds": peak.seconds - facts["seconds"], "peak_memory": peak.bytes}


def _rank(config: Config, out: str, source: str, progress: Progress) -> None:
    """Be one rank of a training: prepare, resume, loop, save."""
    folder = Path(out)
    kept = folder / rundir.CHECKPOINTS
    with joined(config.train.device) as ranks:
        corpus = open_corpus(config)
        recipe = recipe_of(config, corpus, folder, ranks)
        cast = Cast.of(config, recipe.bands_out)
        nets = cast.nets(config.train.seed)
        players = {name: Player.of(net, config.train, ranks) for name, net in nets.items()}
        start = ranks.agree(checkpoint.newest(kept) if ranks.rank == 0 else 0)
        if start:
            checkpoint.restore(players, checkpoint.load(kept, start))
        blocks = Blocks(corpus.grounds, recipe, config.data.cache // ranks.world)
        loop = Loop(config=config, folder=folder, ranks=ranks, players=players, cast=cast)
        facts = loop.run(start, blocks, _law(config, corpus), progress if ranks.rank == 0 else Silent())
        if ranks.rank == 0:
            if "failed" not in facts:
                weights = checkpoint.plain(nets["generator"].state_dict())
                rundir.publish(folder, config, corpus=corpus, cast=cast, recipe=recipe, weights=weights, source=source)
            rundir.conclude(folder, facts)
        ranks.agree(0)


def _law(config: Config, corpus: Corpus) -> Law:
    """Return the sampling law of a configuration."""
    data = config.data
    law = Law(
        seed=config.train.seed,
        regions=tuple(ground.roi for ground in corpus.grounds),
        side=data.patch,
        patches=data.patches,
        augment=data.augment,
        window=data.window,
    )
    return law.keeping(corpus.grounds) if data.drop_single_class else law


@final
@dataclass(frozen=True, kw_only=True)
class Loop:
    """The loop of one rank."""

    config: Config
    """Settings."""
    folder: Path
    """Of the training."""
    ranks: Ranks
    """This process among all."""
    players: dict[str, Player]
    """By name; ``generator`` is what is kept."""
    cast: Cast
    """Task and objective."""

    def run(self, start: int, blocks: Blocks, law: Law, progress: Progress) -> dict[str, Any]:
        """Do the steps from ``start`` to the last and return what they came to."""
        train = self.config.train
        share = self.ranks.share(train.batch)
        loader = Loader(law, blocks, self.cast.task, batch=train.batch, share=share, threads=train.loaders)
        losses, began = rundir.rewind(self.folder, start, write=self.ranks.rank == 0), time.monotonic()
        progress.start("train", train.steps - start, "steps")
        with closing(loader.batches(start, train.steps)) as batches:
            for step, batch in enumerate(batches, start):
                losses = self._step(step, batch.to(self.ranks.device))
                if not all(math.isfinite(value) for value in losses.values()):
                    return {"failed": _failure(step, losses)}
                self._keep(step, losses, time.monotonic() - began)
                progress.advance(1, " ".join(f"{name} {value:.3g}" for name, value in losses.items()))
        progress.finish()
        spent = max(time.monotonic() - began, 1e-9)
        return {
            "steps": train.steps,
            "resumed_from": start,
            "seconds": spent,
            "steps_per_second": (train.steps - start) / spent,
            "losses": losses,
            "starvation": loader.waited / spent,
            "read_amplification": blocks.decoded / max(blocks.used, 1),
        }

    def _step(self, step: int, batch: Batch) -> Losses:
        """Do one step and return its losses, averaged over the ranks."""
        train = self.config.train
        for player in self.players.values():
            set_sample_ids(player.module, batch.ids, train.seed)
            for group in player.optimiser.param_groups:
                group["lr"] = rate(step, train)
        with torch.autocast(self.ranks.device.partition(":")[0], torch.bfloat16, enabled=train.bf16):
            logs = _moved(self.players, self.cast.objective.moves(self.players, batch))
        means = self.ranks.mean(torch.stack([value.detach().float() for value in logs.values()]))
        return dict(zip(logs, means.tolist(), strict=True))

    def _keep(self, step: int, losses: Losses, seconds: float) -> None:
        """Write the log and, when it is time, a checkpoint."""
        train, done = self.config.train, step + 1
        if self.ranks.rank:
            return
        if done % train.log_every == 0 or done == train.steps:
            rundir.log(self.folder, {"step": step, **losses, "rate": rate(step, train), "seconds": seconds})
        if done % train.checkpoint_every == 0 or done == train.steps:
            tensors = checkpoint.state(self.players)
            if all(bool(torch.isfinite(value).all()) for value in tensors.values()):
                checkpoint.save(self.folder / rundir.CHECKPOINTS, done, tensors)


def _moved(players: Mapping[str, Player], moves: Iterable[Move]) -> dict[str, torch.Tensor]:
    """Let the players move: clear, send each loss term back, step. Return what is to be logged."""
    logs = {}
    for move in moves:
        player = players[move.player]
        own = list(player.module.parameters())
        player.optimiser.zero_grad(set_to_none=True)
        for loss in move.terms:
            torch.autograd.backward(loss, inputs=own)
        player.optimiser.step()
        logs.update(move.logs)
    return logs


def _failure(step: int, losses: Losses) -> dict[str, str]:
    """Return why a training cannot go on, as the fields of a `UserError`."""
    return {
        "found": f"losses at step {step}: " + ", ".join(f"{name} {value}" for name, value in losses.items()),
        "expected": "finite losses",
        "do": "The last good checkpoint is kept. Lower train.rate in another --out, or look for bad reflectance.",
    }
