"""What ranks do in the tests of ranks. Nothing here loads torch, unless ranks are to meet."""

import os
import signal
import sys
import time
from pathlib import Path

RANK = int(os.environ.get("RANK", "0"))


def answer(value, progress):
    return {"value": value, "rank": RANK, "world": int(os.environ["WORLD_SIZE"])}


def surroundings(names, progress):
    sys.stdout.write("what a library prints\n")
    return {name: os.environ.get(name) for name in names}


def steps(number, progress):
    progress.start("train", number, "steps")
    for _ in range(number):
        progress.advance(1, "loss 1")
    progress.say("half")
    progress.finish()
    return number


def die(progress, which=1, folder=None):
    """Let one rank be killed; the others wait for ever."""
    if which == RANK:
        os.kill(os.getpid(), signal.SIGKILL)
    return wait(progress, folder)


def die_once(progress, folder):
    """Let rank 1 be killed the first time."""
    mark = Path(folder) / "died"
    if RANK == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5 if mark.exists() else 60)
    return "done"


def wait(progress, folder=None, beat=0.05):
    """Wait for ever; leave a sign of life in a folder."""
    for _ in range(int(120 / beat)):
        if folder is not None:
            (Path(folder) / f"alive-{RANK}-{os.getpid()}").touch()
        time.sleep(beat)


def mistake(progress, which=1):
    from tilespec.core.errors import UserError

    if which == RANK:
        raise UserError("scene", found="this", expected="that", do="Do it.")
    wait(progress)


def failure(progress, which=1):
    if which == RANK:
        raise ValueError("a bug")
    wait(progress)


def obedient(progress, folder):
    """Stop as `tilespec.training.train` does: at a step, when it was told to."""
    from tilespec.core.signals import LocalFlag, catch_signals

    with catch_signals(LocalFlag(), (signal.SIGTERM,)) as told:
        (Path(folder) / f"ready-{RANK}").touch()
        while not told():
            time.sleep(0.02)
        (Path(folder) / f"checkpoint-{RANK}").touch()
        raise KeyboardInterrupt


def meet(progress, seconds, freeze=None, fail=None, late=0.0, stuck=None, step=1000.0):
    """Meet the other ranks, and let one of them freeze, fail or be stuck, or let the others wait for rank 0."""
    from datetime import timedelta

    import torch

    from tilespec.training.ranks import group as module
    from tilespec.training.ranks.group import joined

    module.STUCK = timedelta(seconds=step)
    with joined("cpu", seconds) as ranks:
        first = ranks.mean(torch.tensor([float(ranks.rank)])).item()
        if ranks.rank == freeze:
            os.kill(os.getpid(), signal.SIGSTOP)
        if ranks.rank == stuck:
            time.sleep(60)
        if stuck is not None:
            ranks.mean(torch.zeros(1))
        if ranks.rank == fail:
            raise ValueError("a bug in one rank")
        if ranks.rank == 0:
            time.sleep(late)
        agreed = ranks.agree(ranks.rank + 7)
        return {"mean": first, "agreed": agreed, "hosts": list(ranks.hosts), "threads": torch.get_num_threads()}


def blocks_of(settings, budget, ranks):
    """Return blocks as a training has them, and the region."""
    from tilespec.spectra.fit import fit_steps
    from tilespec.spectra.recipe import Recipe
    from tilespec.training.config import resolve
    from tilespec.training.data.score_cache import ScoreCache
    from tilespec.training.data.training_set import open_training_set

    corpus = open_training_set(resolve(settings))
    (ground,) = corpus.regions
    bare = Recipe.empty(corpus.bands, ground.scene.spectral)
    recipe = bare if "task" in settings else fit_steps("snv,pca=3", [(ground.scene, ground.roi)])
    return ScoreCache(corpus.regions, recipe, budget, ranks), ground.roi


def shelved(every, progress):
    """Read each region by one rank after another; say what each has decoded."""
    from tilespec.training.ranks.group import joined

    with joined("cpu") as ranks:
        return {name: _shelved(settings, ranks) for name, settings in every.items()}


def _shelved(settings, ranks):
    from tilespec.training.ranks.group import Ranks

    blocks, roi = blocks_of(settings, 1 << 30, ranks)
    alone, _ = blocks_of(settings, 1 << 30, Ranks())
    alike, decoded = True, []
    for turn in range(ranks.world):
        if ranks.rank == turn:
            pairs = zip(blocks.read(0, roi), alone.read(0, roi), strict=True)
            alike = all(mine.tobytes() == wanted.tobytes() for mine, wanted in pairs)
        decoded.append(_told(ranks, blocks.decoded, turn))
    every = [_told(ranks, int(alike), rank) for rank in range(ranks.world)]
    return {"decoded": decoded, "alike": all(every), "pixels": _told(ranks, alone.decoded, 0)}


def _told(ranks, number, rank):
    """Return the number that one rank has; all wait for it."""
    import torch

    return round(float(ranks.mean(torch.tensor([float(number) * (ranks.rank == rank)])) * ranks.world))
