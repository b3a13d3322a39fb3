"""Losses on labelled pixels: the mean over samples of each sample's mean, in float32.

A mean of means is the same however a batch is cut into ranks; the mean over all labelled pixels of a batch is not.
A mixture has two answers, and the loss of each counts by its share (Zhang et al. 2018, mixup); for cross-entropy that
is the loss against the mixed answer.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from tilespec.errors import UserError
from tilespec.objectives import Batch
from tilespec.tasks import Task
from tilespec.types import UNLABELLED

Weights = Sequence[float] | None
Share = Float32[Tensor, " batch"] | None


def cross_entropy(
    raw: Float[Tensor, "batch channel y x"],
    target: UInt8[Tensor, "batch y x"],
    task: Task,
    weights: Weights = None,
    share: Share = None,
) -> Float32[Tensor, ""]:
    """Return the cross-entropy of logits.

    Args:
        raw: What the net answers.
        target: Classes, 255 = unlabelled.
        task: Not asked.
        weights: One for each class: they multiply the pixels of that class.
        share: One for each sample: they multiply its loss.
    """
    del task
    scale = None if weights is None else torch.tensor(list(weights), dtype=torch.float32, device=raw.device)
    per_pixel = functional.cross_entropy(
        raw.float(), target.long(), weight=scale, ignore_index=UNLABELLED, reduction="none"
    )
    return _mean(per_pixel, target, share)


def l1(
    raw: Float[Tensor, "batch channel y x"],
    target: UInt8[Tensor, "batch y x"],
    task: Task,
    weights: Weights = None,
    share: Share = None,
) -> Float32[Tensor, ""]:
    """Return the mean absolute difference of what is blended to the task's 0/1 planes (Isola et al. 2017)."""
    difference = (task.activate(raw.float()) - task.planes(target)).abs()
    if weights is not None:
        difference = (
            difference * torch.tensor(list(weights), dtype=torch.float32, device=raw.device)[None, :, None, None]
        )
    return _mean(difference.mean(dim=1), target, share)


def bce(logits: Float[Tensor, "batch 1 v u"], real: bool) -> Float32[Tensor, ""]:
    """Return the binary cross-entropy of a discriminator's logits against "all real" or "all fake"."""
    logits = logits.float()
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


Loss = Callable[[Tensor, Tensor, Task, Weights, Share], Tensor]
LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "l1": l1}


def loss(name: str, weights: Weights, channels: int) -> Loss:
    """Return the loss ``name``, having checked that there is a weight for each of ``channels`` classes."""
    if name not in LOSSES:
        raise UserError(
            "objective.loss", found=repr(name), expected=f"one of {', '.join(LOSSES)}", do="Check the spelling."
        )
    if weights is not None and len(weights) != channels:
        raise UserError(
            "objective.class_weights",
            found=f"{len(weights)} weights",
            expected=f"{channels}, one for each class",
            do="Give a list such as [1.0, 4.0], or leave it out.",
        )
    return LOSSES[name]


def measured(measure: Loss, raw: Tensor, batch: Batch, task: Task, weights: Weights) -> Tensor:
    """Return a loss against the labels of a batch; of mixed patches, against both labels, each by its share."""
    if batch.mixed is None:
        return measure(raw, batch.y, task, weights, None)
    share, other = batch.mixed.share, batch.mixed.y
    return measure(raw, batch.y, task, weights, share) + measure(raw, other, task, weights, 1 - share)


def _mean(
    per_pixel: Float32[Tensor, "batch y x"], target: Shaped[Tensor, "batch y x"], share: Share
) -> Float32[Tensor, ""]:
    """Return the mean over samples of the means over labelled pixels; a sample without labels counts as 0."""
    known = (target != UNLABELLED).float()
    each = (per_pixel * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)
    return (each if share is None else each * share).mean()
