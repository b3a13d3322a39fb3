"""Losses on known pixels: the mean over samples of each sample's mean, in float32.

A mean of means is the same for any division of a batch among ranks; the mean over all known pixels of a batch is not. A
mixture has two targets, and the loss of each is weighted by its share (Zhang et al. 2018, mixup); for cross-entropy
this equals the loss against the mixed target.
"""

from collections.abc import Callable, Sequence

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


Loss = Callable[[Tensor, Tensor, Task, Weights, Share], Tensor]
LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "l1": l1, "mse": mse, "mrae": mrae}
OF_CLASSES = ("cross_entropy",)
"""The names of losses that apply to classes only."""


def loss(name: str, weights: Weights, task: Task) -> Loss:
    """Return the loss ``name``, after checking that it applies to the task and has a weight for each channel."""
    if name not in LOSSES:
        raise UserError(
            "objective.loss", found=repr(name), expected=f"one of {', '.join(LOSSES)}", do="Check the spelling."
        )
    if name in OF_CLASSES and task.truth != "classes":
        raise UserError(
            "objective.loss",
            found=f"{name}, for a task that learns values",
            expected=f"one of {', '.join(sorted(set(LOSSES) - set(OF_CLASSES)))}",
            do="Set objective.loss=l1.",
        )
    if weights is not None and len(weights) != task.channels_out:
        raise UserError(
            "objective.class_weights",
            found=f"{len(weights)} weights",
            expected=f"{task.channels_out}, one for each class or channel",
            do="Give a list such as [1.0, 4.0], or leave it out.",
        )
    return LOSSES[name]


def measured(measure: Loss, raw: Tensor, batch: Batch, task: Task, weights: Weights) -> Tensor:
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
