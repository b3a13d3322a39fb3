"""Conditional Wasserstein GAN with gradient penalty and a classifier: labelled spectra from random numbers.

Audebert, Le Saux and Lefevre, Generative adversarial networks for realistic synthesis of hyperspectral samples (IGARSS
2018), on the losses of Gulrajani et al., Improved training of Wasserstein GANs (NeurIPS 2017).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from tilespec.core.errors import UserError
from tilespec.core.registry import check_options, load
from tilespec.core.types import UNLABELLED
from tilespec.models.keyed_numbers import normals, uniforms
from tilespec.models.nets import NETS, build
from tilespec.models.tasks.base import Task
from tilespec.models.tasks.synthesize import Synthesize
from tilespec.training.objectives.base import Batch, Move
from tilespec.training.player import Player

TINY = 1e-12
"""The number under the root of the norm of a gradient, as in the authors' code: the root of 0 has no derivative."""

Spectra = Float[Tensor, "batch band y x"]
PerPixel = Float[Tensor, "batch y x"]


@final
@dataclass(frozen=True, kw_only=True)
class WganGp:
    """A critic tells real from synthetic spectra, a classifier tells their classes, a generator moves both.

    A batch is divided into ``critic_steps`` parts: the critic and the classifier step once for each, the generator once
    for all. With ``mean`` over pixels that are learned from,

        critic:      mean D(fake) - mean D(real) + penalty * mean (|grad D(mixture)| - 1)^2
        classifier:  cross-entropy of real labelled spectra
        generator:   - mean D(fake) + classifier_weight * cross-entropy of C(fake) with the classes that were ordered

    Synthetic spectra are ordered for the classes of the real ones, so both have the same histogram of classes. The
    random numbers of a spectrum follow from its position in the stream of patches. Mixtures of real spectra
    (``augment.mixup``, in the authors' code) go to the critic and to the classifier.
    """

    uneven: ClassVar[bool] = True
    generates: ClassVar[bool] = True

    task: Task
    """The task that is predicted, `Synthesize`."""
    critic_steps: int = 2
    """The number of steps of the critic and of the classifier for one of the generator."""
    penalty: float = 10.0
    """The weight of the gradient penalty."""
    classifier_weight: float = 0.2
    """The weight of the classifier in the generator's loss."""
    conditional: bool = False
    """Whether the critic reads the class besides the spectrum, so that it judges each class by itself."""
    critic: Mapping[str, Any] = field(default_factory=lambda: {"name": "spectrum_mlp"})
    """The name and the parameters of the critic."""
    classifier: Mapping[str, Any] = field(default_factory=lambda: {"name": "spectrum_mlp"})
    """The name and the parameters of the classifier."""

    def __post_init__(self) -> None:
        if self.critic_steps < 1 or min(self.penalty, self.classifier_weight) < 0:
            raise UserError(
                "objective.critic_steps, objective.penalty, objective.classifier_weight",
                found=f"{self.critic_steps}, {self.penalty}, {self.classifier_weight}",
                expected="1 step or more, and weights of 0 or more",
                do="Correct them, or leave them out.",
            )

    @property
    def spectra(self) -> Synthesize:
        """The task with its classes and its latent numbers."""
        assert isinstance(self.task, Synthesize), "a training refuses other tasks"
        return self.task

    @property
    def parts(self) -> int:
        """The number of parts into which a step divides its batch."""
        return self.critic_steps

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return the critic and the classifier of spectra with as many channels as the generator answers."""
        classes = self.spectra.classes + 1
        critic = _net(self.critic, "critic", channels[1] + classes * self.conditional, 1)
        return {"critic": critic, "classifier": _net(self.classifier, "classifier", channels[1], classes)}

    def moves(self, players: Mapping[str, Player], batch: Batch) -> Iterator[Move]:
        """Yield the moves of critic and classifier for each part of the batch, then that of the generator."""
        parts = batch.dealt(self.parts)
        for part in parts:
            with torch.no_grad():
                fake = players["generator"].module(self._order(part, "latent of fakes"))
            yield self._criticise(players["critic"].net, part, fake)
            yield self._classify(players["classifier"].net, part)
        yield self._generate(players, parts[-1])

    def _order(self, part: Batch, kind: str) -> Spectra:
        """Return the generator's input for the classes of a part: latent numbers and one-hot classes."""
        latent = _of_pixels(normals(0, kind, _pixels(part), self.spectra.latent), part)
        return torch.cat([latent, self.task.planes(part.y)], dim=1)

    def _critic_input(self, x: Spectra, part: Batch, *, mixed: bool = False) -> Float[Tensor, "batch channel y x"]:
        """Return what the critic reads: spectra, and their classes if it is to see them."""
        if not self.conditional:
            return x
        planes = self.task.planes(part.y)
        if mixed and part.mixed is not None:
            share = part.mixed.share[:, None, None, None]
            planes = share * planes + (1 - share) * self.task.planes(part.mixed.y)
        return torch.cat([x, planes], dim=1)

    def _criticise(self, critic: nn.Module, part: Batch, fake: Spectra) -> Move:
        """Return the critic's move."""
        logs: dict[str, Tensor] = {}

        def terms() -> Iterator[Tensor]:
            mean = _Mean(part)
            real = self._critic_input(part.x, part, mixed=True)
            logs["critic"] = mean(critic(self._critic_input(fake, part))[:, 0]) - mean(critic(real)[:, 0])
            share = _of_pixels(uniforms(0, "share of the real", _pixels(part), 1), part)
            between = share * part.x + (1 - share) * fake
            logs["penalty"] = mean(gradient_penalty(lambda x: critic(self._critic_input(x, part, mixed=True)), between))
            yield logs["critic"] + self.penalty * logs["penalty"]

        return Move(player="critic", terms=terms(), logs=logs)

    def _classify(self, classifier: nn.Module, part: Batch) -> Move:
        """Return the classifier's move: it learns from real spectra with a label."""
        logs: dict[str, Tensor] = {}

        def terms() -> Iterator[Tensor]:
            raw = classifier(part.x)
            own = self._entropy(raw, part.y)
            if part.mixed is not None:
                share = part.mixed.share[:, None, None]
                own = share * own + (1 - share) * self._entropy(raw, part.mixed.y)
            logs["classifier"] = _Mean(part)(own)
            yield logs["classifier"]

        return Move(player="classifier", terms=terms(), logs=logs)

    def _generate(self, players: Mapping[str, Player], part: Batch) -> Move:
        """Return the generator's move."""
        logs: dict[str, Tensor] = {}

        def terms() -> Iterator[Tensor]:
            mean, fake = _Mean(part), players["generator"].net(self._order(part, "latent"))
            logs["adversarial"] = -mean(players["critic"].module(self._critic_input(fake, part))[:, 0])
            logs["ordered"] = mean(self._entropy(players["classifier"].module(fake), part.y))
            yield logs["adversarial"] + self.classifier_weight * logs["ordered"]

        return Move(player="generator", terms=terms(), logs=logs)

    def _entropy(self, raw: Spectra, y: Int64[Tensor, "batch y x"] | Tensor) -> PerPixel:
        """Return the cross-entropy of pixels with a label, 0 of others."""
        labels = torch.where(y < self.spectra.classes, y.long(), UNLABELLED)
        return cross_entropy(raw.float(), labels, ignore_index=UNLABELLED, reduction="none")


class _Mean:
    """The mean over the pixels of a part that are learned from."""

    def __init__(self, part: Batch) -> None:
        self.known = part.y != UNLABELLED

    def __call__(self, values: PerPixel) -> Tensor:
        return (values.float() * self.known).sum() / self.known.sum().clamp(min=1)


def gradient_penalty(critic: Callable[[Spectra], Tensor], x: Spectra) -> PerPixel:
    """Return ``(|gradient of the critic at a spectrum| - 1)^2`` for each pixel (Gulrajani et al. 2017, equation 3)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True, materialize_grads=True)
    return (slope.float().square().sum(dim=1).add(TINY).sqrt() - 1).square()


def _pixels(part: Batch) -> Int64[Tensor, " pixel"]:
    """Return the number of each pixel of a part in the stream of all patches."""
    count = part.y[0].numel()
    ids = torch.tensor(part.ids, device=part.y.device)
    return (ids[:, None] * count + torch.arange(count, device=ids.device)).flatten()


def _of_pixels(numbers: Float[Tensor, "pixel number"], part: Batch) -> Spectra:
    """Return numbers of pixels as planes."""
    return numbers.reshape(len(part.ids), *part.y.shape[1:], -1).permute(0, 3, 1, 2)


def _net(config: Mapping[str, Any], name: str, channels_in: int, channels_out: int) -> nn.Module:
    """Return the net of a player."""
    params = {"name": "spectrum_mlp", **config}
    kind = params.pop("name")
    check_options(load(NETS, kind, "net"), params, f"objective.{name}")
    return build(kind, channels_in, channels_out, **params)
