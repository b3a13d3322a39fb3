"""What ranks do in the tests of the memory that they share: they learn small nets in many ways, and keep what came out.

A way is a name: how a net learns, what goes wrong meanwhile, and whether gradients are shared or sent.
"""

import gc
import hashlib
import json
import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tilespec.models.nets.unet import Unet
from tilespec.models.tasks import task
from tilespec.training.loop import moves
from tilespec.training.loop.moves import StepRunner
from tilespec.training.loop.weight_average import WeightAverage
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import Batch, Move
from tilespec.training.player import Player
from tilespec.training.ranks import shared_memory
from tilespec.training.ranks.group import Ranks, joined
from tilespec.training.ranks.shared_weights import SharedWeights, share_weights
from tilespec.training.run import checkpoint
from tilespec.training.settings import Train

STEPS, BATCH = 4, 12
LATE = 0.02
"""Seconds: longer than anything that these nets do between two barriers."""
BRIGHT = 0.1
"""The mean from which a patch is bright: one in twelve."""
JUDGE = {"base_width": 4, "n_layers": 1, "norm": "channel"}
CGAN = {"name": "cgan", "separate": True, "adversarial": 0.5, "discriminator": JUDGE}

WAYS = {
    "adam": {"optimiser": "adam"},
    "adamw": {"optimiser": "adamw"},
    "rmsprop": {"optimiser": "rmsprop", "rate": 1e-3},  # its first step is ten times the rate
    "clip": {"clip": 0.05},
    "accumulate": {"accumulate": 2},
    "ema": {"ema": 0.9},
    "all": {"optimiser": "rmsprop", "rate": 1e-3, "clip": 0.05, "accumulate": 2, "ema": 0.9},
}
OTHERS = {"bright-parts": {"accumulate": 2}}
"""How the nets of a conditional GAN learn: gradients may be shared or sent."""
NETS = ("momentum", "few", "branches", "bad", "bright", "bright-parts")
"""More ways: another optimiser, fewer tensors than ranks, parts that only some patches use or none, a bad step, and a
net that looks which of its parts it needs, with gradients that are averaged while they are found, or behind the last.
"""
SENT = (*WAYS, "momentum", "few", "bad", "bright", "bright-parts")
"""Ways whose gradients can be sent."""


def batch(step, ids):
    """Return some patches of a step's batch."""
    draw = torch.Generator().manual_seed(step)
    x = torch.randn((BATCH, 3, 8, 8), generator=draw)[list(ids)]
    y = torch.randint(0, 2, (BATCH, 8, 8), generator=draw).to(torch.uint8)[list(ids)]
    return Batch(x=x.contiguous(memory_format=torch.channels_last), y=y, ids=tuple(BATCH * step + i for i in ids))


class Branches(nn.Module):
    """Three layers: one for all patches, one that some use, one that nobody does."""

    def __init__(self):
        super().__init__()
        self.all, self.some, self.none = (nn.Conv2d(3, 2, 3) for _ in range(3))

    def forward(self, x):
        return self.all(x)


class Bright(nn.Module):
    """Three layers: one for all patches, one for bright patches, which a rank may not have, and one for none."""

    def __init__(self):
        super().__init__()
        self.all, self.some, self.none = (nn.Conv2d(3, 2, 3, padding=1) for _ in range(3))

    def forward(self, x):
        bright = is_bright(x)
        return self.all(x) + (self.some(x) * bright[:, None, None, None] if bright.any() else 0)


def is_bright(x):
    """Return which patches are bright."""
    return x.mean((1, 2, 3)) > BRIGHT


class Branching:
    """All patches use one layer; from step 2 on the last patch of the batch, which one rank has, uses another."""

    def opponents(self, channels):
        return {}

    def moves(self, players, batch):
        net, logs = players["generator"].module, {}

        def terms():
            logs["loss"] = net(batch.x).square().mean()
            extra = [net.some(x[None]).square().mean() for x, i in zip(batch.x, batch.ids, strict=True) if used(i)]
            yield logs["loss"] + sum(extra) / len(batch.ids)

        yield Move(player="generator", terms=terms(), logs=logs)


def used(patch):
    return patch // BATCH >= 2 and patch % BATCH == BATCH - 1


SINGLE = {"few": partial(nn.Conv2d, 3, 2, 1), "branches": Branches, "bright": Bright, "bright-parts": Bright}
"""Ways of one net."""


def made(way, ranks):
    """Return settings, nets with their optimisers, and how they learn."""
    torch.manual_seed(0)
    segment = task({"name": "segment", "classes": 2})
    train = Train(**{"batch": BATCH, "rate": 1e-2, **{**WAYS, **OTHERS}.get(way, {})})
    if way in SINGLE:
        nets = {"generator": SINGLE[way]()}
        how = Branching() if way == "branches" else objective({"name": "supervised"}, segment)
    else:
        how = objective(CGAN, segment)
        nets = {"generator": Unet(3, 2, base_width=4, n_down=2, norm="channel", dropout=0.5, init="kaiming")}
        nets |= how.opponents((3, 2))
    players = {name: Player.of(net, train, ranks.device) for name, net in nets.items()}
    if way == "momentum":
        descent = partial(torch.optim.SGD, lr=1e-2, momentum=0.9, weight_decay=0.1)
        players = {n: Player(module=p.module, net=p.net, optimiser=descent(p.parameters)) for n, p in players.items()}
    return train, players, how


def learned(way, ranks, *, kept=None, steps=range(STEPS), pause=0.0):
    """Return what a way comes to: all tensors, its norms, and what it shared. ``kept`` is where it goes on."""
    train, players, how = made(way, ranks)
    average = WeightAverage(players["generator"].module, train.ema) if train.ema else None
    if kept is not None:
        checkpoint.restore(players, kept, average.tensors if average else None)
    mover, norms = StepRunner.of(train, players, how, ranks), []
    for step in steps:
        own = batch(step, ranks.share(BATCH))
        if way == "bad" and step == 1 and own.ids[0] == BATCH:
            own.x[0] = torch.nan
        norm = mover.step(own)[1]
        norms.append({name: float(value) for name, value in norm.items()})
        if not all(map(torch.isfinite, norm.values())):
            mover.statistics.put_back()
        elif average is not None:
            time.sleep(pause)
            average.update(step)
    tensors = checkpoint.state(players, average.tensors if average else None)
    return tensors, norms, sorted(mover.pools)


def alike(ranks, tensors):
    """Return whether all ranks hold the same bits."""
    digest = hashlib.blake2b(digest_size=7)
    for key in sorted(key for key in tensors if key.startswith("net/")):
        digest.update(tensors[key].numpy().tobytes())
    number = int.from_bytes(digest.digest(), "big")
    return everywhere(ranks, number == ranks.agree(number))


def everywhere(ranks, true):
    return float(ranks.mean(torch.tensor([float(true)]))) == 1


def everything(folder, progress):
    """Learn in every way; rank 0 keeps the tensors in ``folder``, and says the rest."""
    del progress
    with joined("cpu") as ranks:
        before, said = handles(), {}
        for name, how in {**learning(), **resuming(folder), **lateness(ranks)}.items():
            tensors, norms, shared = how(ranks)
            said[name] = {"alike": alike(ranks, tensors), "norms": norms, "shared": shared}
            if ranks.rank == 0:
                save_file(tensors, Path(folder) / f"{name}.safetensors")
        said["refused"] = {name: refused(ranks, fault) for name, fault in faults(ranks).items()}
        gc.collect()
        said["left"] = [] if everywhere(ranks, handles() <= before) else sorted(handles() - before)
        said["no maps"] = everywhere(ranks, "tilespec-common" not in Path("/proc/self/maps").read_text())
    return said


def handles():
    """Return the files in memory that this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add((link.name, str(link.readlink())))
        except OSError:  # that of this very look
            continue
    return {handle for handle in found if "memfd" in handle[1]}


def learning():
    """Return the ways, with gradients that are shared, and those that can be sent."""
    ways = {f"{way}-shared": partial(learned, way) for way in (*WAYS, *NETS)}
    return ways | {f"{way}-sent": sent(partial(learned, way)) for way in SENT}


def sent(work):
    """Return work by ranks that have no memory in common."""

    def apart(ranks):
        with patch.object(shared_memory, "_create", lambda size: None):
            return work(ranks)

    return apart


def resuming(folder):
    """Return ways that are interrupted after two steps: ranks go on from what rank 0 kept of ranks, or of one alone."""
    kept = Path(folder) / "half.safetensors"

    def halves(way, grown):
        def work(ranks):
            tensors, _, _ = learned(way, Ranks() if grown else ranks, steps=range(2))
            if ranks.rank == 0:
                save_file(tensors, kept)
            ranks.agree(0)
            found = learned(way, ranks, kept=load_file(kept), steps=range(2, STEPS))
            ranks.agree(0)  # nobody writes the next one before all have read this
            return found

        return work

    found = {f"{way}-resumed": halves(way, grown=False) for way in ("adamw", "all")}
    return found | {f"{way}-grown": halves(way, grown=True) for way in ("adamw", "all", "branches")}


def lateness(ranks):
    """Return a way in which one rank is late, somewhere in every step; what comes out must not know it."""

    def late(which, where):
        def work(ranks):
            with where() if ranks.rank == which else ExitStack():
                return learned("ema", ranks)

        return work

    places = {"gradients": late_gradients, "moves": late_moves, "reads": late_reads}
    found = {f"ema-late-{n}-{w}": late(w, where) for n, where in places.items() for w in range(ranks.world)}
    return found | {"ema-late-average": partial(learned, "ema", pause=LATE)}


@contextmanager
def late_gradients():
    with patch.object(SharedWeights, "average", slowly(SharedWeights.average)):
        yield


@contextmanager
def late_moves():
    with patch.object(torch.optim.AdamW, "step", slowly(torch.optim.AdamW.step)):
        yield


@contextmanager
def late_reads():
    with patch.object(Unet, "forward", slowly(Unet.forward)):
        yield


def slowly(work):
    def slow(*arguments, **options):
        time.sleep(LATE)
        return work(*arguments, **options)

    return slow


def refuse(*arguments, **options):
    raise OSError(1, "no")


def faults(ranks):
    """Return what can be wrong in one rank: its number, and what it cannot do."""
    first = {"create": (os, "memfd_create"), "allocate": (os, "posix_fallocate")}
    found = {f"{name}-0": (0, *where, refuse) for name, where in first.items()}
    for rank in range(ranks.world):
        found[f"map-{rank}"] = (rank, shared_memory.mmap, "mmap", refuse)
        found[f"proc-{rank}"] = (rank, shared_memory.Path, "read_text", refuse)
        if rank:
            found[f"open-{rank}"] = (rank, os, "open", refuse)
            found[f"other-{rank}"] = (rank, shared_memory, "_identity", lambda fd: 1)
    return found


def refused(ranks, fault):
    """Return whether all ranks do without, when one of them cannot."""
    which, where, name, instead = fault
    players = made("few", ranks)[1]
    with patch.object(where, name, instead) if ranks.rank == which else ExitStack():
        return everywhere(ranks, share_weights(players, ranks) == {})


def launched():
    """Train as a rank of a launcher; in rank ``which`` do ``act`` in the ``at``-th move."""
    from tilespec.core.errors import EXIT_INCOMPLETE, IncompleteError
    from tilespec.training.train import train

    settings, out, act, which, at = json.loads(sys.argv[1])
    told, found = [], moves.share_weights

    def tell(players, ranks):
        pools = found(players, ranks)
        told.append(sorted(pools))
        return pools

    moves.share_weights = tell
    if which == int(os.environ["RANK"]):
        {"kill": killing, "refuse": refusing}[act](at)
    try:
        facts = train(settings, out)
    except IncompleteError as error:
        sys.stderr.write(str(error))
        code = EXIT_INCOMPLETE
    else:
        code = 0
        told.append(facts["steps"])
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    sys.exit(code)


def killing(at):
    """Kill this process when it moves its share, others may have moved theirs."""
    step, left = torch.optim.AdamW.step, [None] * at

    def counted(*arguments, **options):
        left.pop()
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **options)

    torch.optim.AdamW.step = counted


def refusing(at):
    del at
    os.memfd_create = refuse
