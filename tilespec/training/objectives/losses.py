"""Losses on known pixels: the mean over samples of each sample's mean, in float32.

A mean of means is the same for any division of a batch among ranks; the mean over all known pixels of a batch is not. A
mixture has two targets, and the loss of each is weighted by its share (Zhang et al. 2018, mixup); for cross-entropy
this equals the loss against the mixed target.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED
from tilespec.models.tasks.base import Task
from tilespec.training.objectives.base import Batch

Weights = Sequence[float] | None
Share = Float32[Tensor, " batch"] | None
Raw = Float[Tensor, "batch channel y x"]
Target = UInt8[Tensor, "batch y x"] | Float32[Tensor, "batch channel y x"]
"""A target in the form of the task."""
Measure = Callable[[Tensor, Tensor, Task, Weights, Share], Tensor]
FOCUS: Final = 2
"""The exponent gamma of the focal loss, the published one."""
BEND: Final = 0.1
"""The difference, in units of the head, up to which the Huber loss is a square: a tenth of the range of 0 to 1."""
TINY: Final = 1e-24
"""What is added to sums of squares, so that their roots have finite gradients."""


def cross_entropy(
    raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None
) -> Float32[Tensor, ""]:
    """Return the cross-entropy of logits.

    Args:
        raw: The output of the net, ``batch, class, y, x``.
        target: The classes ``batch, y, x``, 255 = unlabelled.
        task: The task, which defines the known pixels.
        weights: The weight of each class, which multiplies the loss of its pixels.
        share: The share of each sample, which multiplies its loss.
    """
    scale = None if weights is None else torch.tensor(list(weights), dtype=torch.float32, device=raw.device)
    per_pixel = functional.cross_entropy(
        raw.float(), target.long(), weight=scale, ignore_index=UNLABELLED, reduction="none"
    )
    return _mean(per_pixel.unsqueeze(1), task.known(target), share)


def l1(raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None) -> Float32[Tensor, ""]:
    """Return the mean absolute difference between the net's output and the task's planes (Isola et al. 2017)."""
    return _mean(_weighed(_difference(raw, target, task), weights), task.known(target), share)


def mse(raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None) -> Float32[Tensor, ""]:
    """Return the mean squared difference between the net's output and the task's planes."""
    return _mean(_weighed(_difference(raw, target, task).square(), weights), task.known(target), share)


def mrae(raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None) -> Float32[Tensor, ""]:
    """Return the mean relative absolute error (Arad et al. 2022, NTIRE); the task replaces divisors near 0."""
    return _mean(_weighed(_difference(raw, target, task) / task.magnitude(target), weights), task.known(target), share)


def bce(logits: Float[Tensor, "batch 1 v u"], real: bool) -> Float32[Tensor, ""]:
    """Return the binary cross-entropy of a discriminator's logits against "all real" or "all fake"."""
    logits = logits.float()
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def binary_cross_entropy(
    raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None
) -> Float32[Tensor, ""]:
    """Return the binary cross-entropy of each class's logit against its own plane of 0 and 1: one class or the rest."""
    values = functional.binary_cross_entropy_with_logits(raw.float(), task.planes(target), reduction="none")
    return _mean(_weighed(values, weights), task.known(target), share)


def focal(raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None) -> Float32[Tensor, ""]:
    """Return the focal loss ``(1 - p)^2 * -log p`` of the right class's probability ``p`` (Lin et al. 2017, eq. 4).

    Pixels that are right already hardly count, so that rare and difficult ones do.
    """
    log_p = torch.log_softmax(raw.float(), dim=1)
    right = task.planes(target)
    values = -_weighed((1 - log_p.exp()) ** FOCUS * log_p * right, weights).sum(dim=1, keepdim=True)
    return _mean(values, task.known(target), share)


def dice(raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None) -> Float32[Tensor, ""]:
    """Return 1 minus the Dice coefficient ``2 sum(p g) / (sum(p) + sum(g))``, a mean over classes, then over samples.

    ``p`` is the probability of a class and ``g`` its plane of 0 and 1 (Sudre et al. 2017). The sums are over the known
    pixels of a sample; a class without a pixel there is left out, because its coefficient is 0 for every prediction.
    """
    plane, known = task.planes(target), task.known(target)
    p = torch.softmax(raw.float(), dim=1) * known
    true = plane.sum(dim=(2, 3))
    values = 1 - 2 * (p * plane).sum(dim=(2, 3)) / (p.sum(dim=(2, 3)) + true).clamp(min=1)
    return _mean(_weighed(values[..., None, None], weights), (true > 0)[..., None, None], share)


def huber(raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None) -> Float32[Tensor, ""]:
    """Return the Huber loss (1964): half the square of differences up to `BEND`, beyond it as a line goes on."""
    size = _difference(raw, target, task)
    inner = size.clamp(max=BEND)
    return _mean(_weighed(inner * (size - inner / 2), weights), task.known(target), share)


def sam(raw: Raw, target: Target, task: Task, weights: Weights = None, share: Share = None) -> Float32[Tensor, ""]:
    """Return the mean angle in radians between predicted and true spectrum (Kruse et al. 1993).

    Spectra are in units of the truth, over the channels that the truth has; a weight multiplies the square of its
    channel. The angle is ``2 atan2(|a - b|, |a + b|)`` of unit vectors (Kahan), whose gradient is finite at 0. It does
    not depend on brightness: a net that learns by it alone gets the shape right and no level.
    """
    known = task.known(target)
    mine, true = (torch.where(known, values.float(), 0) for values in (task.activate(raw), target))
    if weights is not None:
        mine, true = (_weighed(values, [weight**0.5 for weight in weights]) for values in (mine, true))
    size = _norm(true)
    a, b = mine / _norm(mine), true / size
    values = 2 * torch.atan2(_norm(a - b), _norm(a + b))
    return _mean(values, size > 2 * TINY**0.5, share)


@final
@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss, as the table lists it."""

    measure: Measure
    """The function of the output of the net, the target, the task, the weights and the shares."""
    truth: Literal["classes", "field"] | None = None
    """What it compares: classes, or fields of values; None: either."""
    least: int = 1
    """The smallest number of channels that it says anything about."""


LOSSES: Final = {
    "cross_entropy": Loss(measure=cross_entropy, truth="classes"),
    "binary_cross_entropy": Loss(measure=binary_cross_entropy, truth="classes"),
    "focal": Loss(measure=focal, truth="classes"),
    "dice": Loss(measure=dice, truth="classes"),
    "l1": Loss(measure=l1),
    "mse": Loss(measure=mse),
    "huber": Loss(measure=huber),
    "mrae": Loss(measure=mrae),
    "sam": Loss(measure=sam, truth="field", least=2),
}
"""The losses by name."""


def loss(name: str, weights: Weights, task: Task) -> Measure:
    """Return the loss ``name``, after checking that it applies to the task and has a weight for each channel.

    Raises:
        UserError: there is no such loss, it compares what the task does not learn, or the weights are of another
            number or negative.
    """
    if name not in LOSSES:
        raise UserError(
            "objective.loss", found=repr(name), expected=f"one of {', '.join(LOSSES)}", do="Check the spelling."
        )
    suited = [key for key, one in LOSSES.items() if one.truth in (None, task.truth) and one.least <= task.channels_out]
    if name not in suited:
        learns = "classes" if task.truth == "classes" else "values"
        raise UserError(
            "objective.loss",
            found=f"{name}, for a task that learns {learns} of {task.channels_out} channels",
            expected=f"one of {', '.join(sorted(suited))}",
            do="Set objective.loss=l1.",
        )
    if weights is not None and not (len(weights) == task.channels_out and all(0 <= w < math.inf for w in weights)):
        raise UserError(
            "objective.class_weights",
            found=str(list(weights)),
            expected=f"{task.channels_out}, one for each class or channel, of at least 0",
            do="Give a list such as [1.0, 4.0], or leave it out.",
        )
    return LOSSES[name].measure


def measured(measure: Measure, raw: Tensor, batch: Batch, task: Task, weights: Weights) -> Tensor:
    """Return a loss against the labels of a batch; of mixed patches, against both labels, each by its share.

    Raises:
        UserError: the net answers on another plane than the task says.
    """
    if raw.shape[-2:] != batch.y.shape[-2:]:
        raise UserError(
            "task, net",
            found="answers of {} x {} pixels to patches of {} x {}".format(*raw.shape[-2:], *batch.x.shape[-2:]),
            expected="{} x {}, by scale and margin of the task".format(*batch.y.shape[-2:]),
            do="Give the task the geometry of the net.",
        )
    if batch.mixed is None:
        return measure(raw, batch.y, task, weights, None)
    share, other = batch.mixed.share, batch.mixed.y
    return measure(raw, batch.y, task, weights, share) + measure(raw, other, task, weights, 1 - share)


def _difference(raw: Raw, target: Target, task: Task) -> Float32[Tensor, "batch channel y x"]:
    """Return the difference between the output and the task's planes at known values."""
    return (task.answer(raw.float()) - task.planes(target)).abs()


def _weighed(values: Float32[Tensor, "batch channel y x"], weights: Weights) -> Float32[Tensor, "batch channel y x"]:
    """Return values times the weights of their channels."""
    if weights is None:
        return values
    return values * torch.tensor(list(weights), dtype=torch.float32, device=values.device)[None, :, None, None]


def _mean(
    values: Float32[Tensor, "batch _channel y x"], valid: Bool[Tensor, "batch _known y x"], share: Share
) -> Float32[Tensor, ""]:
    """Return the mean over samples of the means over known values; a sample without any counts as 0."""
    if valid.shape[1] == 1:
        values = values.mean(dim=1, keepdim=True)
    mask = valid.float()
    each = (values * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1)
    return (each if share is None else each * share).mean()


def _norm(values: Float32[Tensor, "batch channel y x"]) -> Float32[Tensor, "batch 1 y x"]:
    """Return the length of each pixel's vector, above 0 everywhere."""
    return (values.square().sum(dim=1, keepdim=True) + TINY).sqrt()
