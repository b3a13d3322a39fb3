"""Conditional GAN: pix2pix (Isola et al. 2017) as used by Mishra and Herrmann (2021), and a variant for logits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.core.registry import check_options, load
from tilespec.models.nets import NETS, build
from tilespec.models.tasks.base import Geometry, Task
from tilespec.training.objectives.base import Batch, Mixed, Move
from tilespec.training.objectives.losses import bce, loss, measured
from tilespec.training.player import Player


@final
@dataclass(frozen=True, kw_only=True)
class Cgan:
    """A discriminator classifies pairs of image and output; the generator minimises its success and the error.

    Published: ``loss="l1", fidelity=100, adversarial=1, separate=True`` on a tanh head. In the default, cross-entropy
    dominates, with a small adversarial share.
    """

    task: Task
    """The task that is predicted."""
    loss: str = "cross_entropy"
    """The loss of the generator's output: ``l1``, ``mse``, ``huber``, ``mrae``; of classes also
    ``cross_entropy``, ``binary_cross_entropy``, ``focal``, ``dice``; of values also ``sam``."""
    fidelity: float = 1.0
    """The weight of that loss."""
    adversarial: float = 0.02
    """The weight of the adversarial term."""
    separate: bool = False
    """Whether the discriminator steps after real and again after fake pairs, as published, or once after both."""
    discriminator: Mapping[str, Any] = field(default_factory=lambda: {"name": "patchgan"})
    """The name and the parameters of the discriminator; its logits may differ in size from the input."""
    class_weights: Sequence[float] | None = None
    """The weight of each class, or channel; None: all are equal."""
    alternate: Sequence[int] | None = None
    """The numbers of steps in which only the discriminator moves and then only the generator, in turn: ``[50, 25]`` in
    Alvarez-Gila et al. (2017). None: both move in every step.
    """

    def __post_init__(self) -> None:
        loss(self.loss, self.class_weights, self.task)
        if self.task.geometry != Geometry():
            raise UserError(
                "objective.name",
                found=f"cgan, for a task of output scale {self.task.geometry.scale} and another plane than its input",
                expected="image and answer on one plane, for the discriminator sees both as channels",
                do="Set objective.name=supervised.",
            )
        if self.alternate is not None and (len(self.alternate) != 2 or min(self.alternate) < 1):
            raise UserError(
                "objective.alternate",
                found=list(self.alternate),
                expected="two numbers of steps, each at least 1: of the discriminator, then of the generator",
                do="Give a list such as [50, 25], or leave it out.",
            )

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return the discriminator, whose input is image and output as channels."""
        params = {"name": "patchgan", **self.discriminator}
        name = params.pop("name")
        check_options(load(NETS, name, "net"), params, "objective.discriminator")
        return {"discriminator": build(name, sum(channels), 1, **params)}

    def moves(self, players: Mapping[str, Player], batch: Batch) -> Iterator[Move]:
        """Yield the discriminator's moves, then the generator's, which uses the discriminator after its moves."""
        judges, fools = self._turns(batch.step)
        batch = replace(batch, x=self.task.inputs(batch.x))
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
        """Return image and output as channels; unknown pixels are blank in real and fake outputs alike."""
        return torch.cat([batch.x, planes * self._known(batch)], dim=1)

    def _known(self, batch: Batch) -> Tensor:
        """Return which values are known, and for a mixture, in which share of it."""
        mask = self.task.known(batch.y)
        if batch.mixed is None:
            return mask
        return _mixture(batch.mixed, mask.float(), self.task.known(batch.mixed.y).float())

    def _answer(self, batch: Batch) -> Tensor:
        """Return the real output; for a mixture, both by their shares: masks add up to the known share."""
        planes = self.task.planes(batch.y)
        return planes if batch.mixed is None else _mixture(batch.mixed, planes, self.task.planes(batch.mixed.y))

    def _judge(self, player: Player, pairs: Mapping[str, Tensor]) -> Iterator[Move]:
        """Yield one move for both kinds of pairs, or one for each. Each kind has the weight one half, as published."""
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
        """Return the generator's move with its adversarial term."""
        logs: dict[str, Tensor] = {}
        measure = loss(self.loss, self.class_weights, self.task)

        def terms() -> Iterator[Tensor]:
            logs[self.loss] = measured(measure, raw, batch, self.task, self.class_weights)
            logs["g_adversarial"] = bce(discriminator(fake), real=True)
            yield self.fidelity * logs[self.loss] + self.adversarial * logs["g_adversarial"]

        return Move(player="generator", terms=terms(), logs=logs)


def _still(net: nn.Module, x: Tensor) -> Tensor:
    """Return the output of a net without gradients for its parameters."""
    with torch.no_grad():
        answer: Tensor = net(x)
        return answer


def _mixture(mixed: Mixed, own: Tensor, others: Tensor) -> Tensor:
    """Return the planes of patches and of their partners, weighted by their shares."""
    share = mixed.share[:, None, None, None]
    return share * own + (1 - share) * others
