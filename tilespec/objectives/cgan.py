"""Conditional GAN: pix2pix (Isola et al. 2017) as used by Mishra and Herrmann (2021), and a variant for logits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from tilespec.nets import NETS, build
from tilespec.objectives import Batch, Mixed, Move, Player
from tilespec.objectives.losses import bce, loss, measured
from tilespec.options import checked
from tilespec.plugins import load
from tilespec.tasks import Task
from tilespec.types import UNLABELLED


@final
@dataclass(frozen=True, kw_only=True)
class Cgan:
    """A discriminator judges pairs of image and mask; the generator fools it while staying near the labels.

    Published: ``loss="l1", fidelity=100, adversarial=1, separate=True`` on a tanh head. The default keeps
    cross-entropy in charge, with a small adversarial share.
    """

    task: Task
    """What is predicted."""
    loss: str = "cross_entropy"
    """Of the generator against the labels: ``cross_entropy`` or ``l1``."""
    fidelity: float = 1.0
    """Weight of that loss."""
    adversarial: float = 0.02
    """Weight of the adversarial term."""
    separate: bool = False
    """Whether the discriminator steps after real and again after fake pairs, as published, or once after both."""
    discriminator: Mapping[str, Any] = field(default_factory=lambda: {"name": "patchgan"})
    """Name and parameters of the discriminator; its logits need not be of the input's size."""
    class_weights: Sequence[float] | None = None
    """One for each class; None: all equal."""

    def __post_init__(self) -> None:
        loss(self.loss, self.class_weights, self.task.channels_out)

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return the discriminator: it sees image and mask as channels."""
        params = {"name": "patchgan", **self.discriminator}
        name = params.pop("name")
        checked(load(NETS, name, "net"), params, "objective.discriminator")
        return {"discriminator": build(name, sum(channels), 1, **params)}

    def moves(self, players: Mapping[str, Player], batch: Batch) -> Iterator[Move]:
        """Yield the discriminator's moves, then the generator's, which meets the discriminator as it is by then."""
        raw = players["generator"].net(batch.x)
        fake = self._pair(batch, self.task.activate(raw))
        real = torch.cat([batch.x, self._answer(batch)], dim=1)
        yield from self._judge(players["discriminator"], {"d_real": real, "d_fake": fake.detach()})
        yield self._fool(players["discriminator"].module, batch, raw, fake)

    def _pair(self, batch: Batch, planes: Tensor) -> Tensor:
        """Return image and mask as channels; what is unlabelled is blank in real and fake masks alike."""
        return torch.cat([batch.x, planes * _known(batch)], dim=1)

    def _answer(self, batch: Batch) -> Tensor:
        """Return the real mask; of a mixture, both masks by their shares: it adds up to the share that is known."""
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
        measure = loss(self.loss, self.class_weights, self.task.channels_out)

        def terms() -> Iterator[Tensor]:
            logs[self.loss] = measured(measure, raw, batch, self.task, self.class_weights)
            logs["g_adversarial"] = bce(discriminator(fake), real=True)
            yield self.fidelity * logs[self.loss] + self.adversarial * logs["g_adversarial"]

        return Move(player="generator", terms=terms(), logs=logs)


def _known(batch: Batch) -> Tensor:
    """Return, as ``batch, 1, y, x``, whether a pixel is labelled; of a mixture, in which share of it."""
    known = (batch.y != UNLABELLED).unsqueeze(1)
    if batch.mixed is None:
        return known
    return _mixture(batch.mixed, known.float(), (batch.mixed.y != UNLABELLED).unsqueeze(1).float())


def _mixture(mixed: Mixed, own: Tensor, others: Tensor) -> Tensor:
    """Return the planes of patches and of their partners, weighted by their shares."""
    share = mixed.share[:, None, None, None]
    return share * own + (1 - share) * others
