"""Conditional GAN: pix2pix (Isola et al. 2017) as used by Mishra and Herrmann (2021), and a variant for logits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.core.registry import checked, load
from tilespec.models.nets import NETS, build
from tilespec.models.tasks.base import Task
from tilespec.training.objectives.base import Batch, Mixed, Move
from tilespec.training.objectives.losses import bce, loss, measured
from tilespec.training.player import Player


@final
@dataclass(frozen=True, kw_only=True)
class Cgan:
    """A discriminator judges pairs of image and answer; the generator fools it while staying near the truth.

    Published: ``loss="l1", fidelity=100, adversarial=1, separate=True`` on a tanh head. The default keeps
    cross-entropy in charge, with a small adversarial share.
    """

    task: Task
    """What is predicted."""
    loss: str = "cross_entropy"
    """Of the generator against the truth: ``cross_entropy`` (of classes), ``l1``, ``mse`` or ``mrae``."""
    fidelity: float = 1.0
    """Weight of that loss."""
    adversarial: float = 0.02
    """Weight of the adversarial term."""
    separate: bool = False
    """Whether the discriminator steps after real and again after fake pairs, as published, or once after both."""
    discriminator: Mapping[str, Any] = field(default_factory=lambda: {"name": "patchgan"})
    """Name and parameters of the discriminator; its logits need not be of the input's size."""
    class_weights: Sequence[float] | None = None
    """One for each class, or channel; None: all equal."""
    alternate: Sequence[int] | None = None
    """Steps in which only the discriminator moves, then steps in which only the generator does, over and over:
    ``[50, 25]`` in Alvarez-Gila et al. (2017). None: both move in every step."""

    def __post_init__(self) -> None:
        loss(self.loss, self.class_weights, self.task)
        if self.alternate is not None and (len(self.alternate) != 2 or min(self.alternate) < 1):
            raise UserError(
                "objective.alternate",
                found=list(self.alternate),
                expected="two numbers of steps, each at least 1: of the discriminator, then of the generator",
                do="Give a list such as [50, 25], or leave it out.",
            )

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return the discriminator: it sees image and answer as channels."""
        params = {"name": "patchgan", **self.discriminator}
        name = params.pop("name")
        checked(load(NETS, name, "net"), params, "objective.discriminator")
        return {"discriminator": build(name, sum(channels), 1, **params)}

    def moves(self, players: Mapping[str, Player], batch: Batch) -> Iterator[Move]:
        """Yield the discriminator's moves, then the generator's, which meets the discriminator as it is by then."""
        judges, fools = self._turns(batch.step)
        raw = players["generator"].net(batch.x) if fools else _still(players["generator"].module, batch.x)
        fake = self._pair(batch, self.task.answer(raw))
        if judges:
            real = torch.cat([batch.x, self._answer(batch)], dim=1)
            yield from self._judge(players["discriminator"], {"d_real": real, "d_fake": fake.detach()})
        if fools:
            yield self._fool(players["discriminator"].module, batch, raw, fake)

    def _turns(self, step: int) -> tuple[bool, bool]:
        """Return whether the discriminator and the generator move at a step."""
        if self.alternate is None:
            return True, True
        judges = step % sum(self.alternate) < self.alternate[0]
        return judges, not judges

    def _pair(self, batch: Batch, planes: Tensor) -> Tensor:
        """Return image and answer as channels; what is unknown is blank in real and fake answers alike."""
        return torch.cat([batch.x, planes * self._known(batch)], dim=1)

    def _known(self, batch: Batch) -> Tensor:
        """Return which values are known; of a mixture, in which share of it."""
        known = self.task.known(batch.y)
        if batch.mixed is None:
            return known
        return _mixture(batch.mixed, known.float(), self.task.known(batch.mixed.y).float())

    def _answer(self, batch: Batch) -> Tensor:
        """Return the real answer; of a mixture, both by their shares: masks add up to the share that is known."""
        planes = self.task.planes(batch.y)
        return planes if batch.mixed is None else _mixture(batch.mixed, planes, self.task.planes(batch.mixed.y))

    def _judge(self, player: Player, pairs: Mapping[str, Tensor]) -> Iterator[Move]:
        """Yield one move for both kinds of pairs, or one for each. Each kind weighs one half, as published."""
        groups = [(name,) for name in pairs] if self.separate else [tuple(pairs)]
        for names in groups:
            logs: dict[str, Tensor] = {}
            terms = (self._term(player.net, name, pairs[name], logs) for name in names)
            yield Move(player="discriminator", terms=terms, logs=logs)

    def _term(self, net: nn.Module, name: str, pair: Tensor, logs: dict[str, Tensor]) -> Tensor:
        """Return half the loss of the discriminator on one kind of pairs."""
        logs[name] = bce(net(pair), real=name == "d_real")
        return 0.5 * logs[name]

    def _fool(self, discriminator: nn.Module, batch: Batch, raw: Tensor, fake: Tensor) -> Move:
        """Return the generator's move."""
        logs: dict[str, Tensor] = {}
        measure = loss(self.loss, self.class_weights, self.task)

        def terms() -> Iterator[Tensor]:
            logs[self.loss] = measured(measure, raw, batch, self.task, self.class_weights)
            logs["g_adversarial"] = bce(discriminator(fake), real=True)
            yield self.fidelity * logs[self.loss] + self.adversarial * logs["g_adversarial"]

        return Move(player="generator", terms=terms(), logs=logs)


def _still(net: nn.Module, x: Tensor) -> Tensor:
    """Return what a net answers that does not learn from it."""
    with torch.no_grad():
        answer: Tensor = net(x)
        return answer


def _mixture(mixed: Mixed, own: Tensor, others: Tensor) -> Tensor:
    """Return the planes of patches and of their partners, weighted by their shares."""
    share = mixed.share[:, None, None, None]
    return share * own + (1 - share) * others
