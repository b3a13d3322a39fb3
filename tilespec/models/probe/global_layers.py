"""Layers through which every pixel depends on every other: found by what they do, and named."""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from tilespec.models.nets.norms import SeededDropout
from tilespec.models.probe.narrow_input import Strip

LENGTH = 16
"""Cells of the deepest level in the strip that is looked at."""
NAMELESS = "the net itself"


def spread_by(strip: Strip) -> list[str]:
    """Return the names of the innermost modules that carry NaN from a quarter of their input to all of their output.

    What such a module makes is set to what a local one would have made, so that those after it are found as well.
    The net of ``strip`` is hooked: give a copy.
    """
    found: list[str] = []
    hooks = [
        module.register_forward_hook(_hook(name, strip, found))
        for name, module in reversed(list(strip.module.named_modules()))
    ]
    length = max(128, LENGTH * strip.line.align)
    strip.marked(length, slice(length * 3 // 4, None))
    for hook in hooks:
        hook.remove()
    return found


def random_layers(module: nn.Module) -> list[str]:
    """Return the names of the layers that drop values at prediction too."""
    return [name for name, layer in module.named_modules() if _is_random(layer)]


def _is_random(layer: nn.Module) -> bool:
    if isinstance(layer, SeededDropout):
        return layer.p > 0 and (layer.live or layer.training)
    return isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p > 0  # noqa: SLF001


def _hook(name: str, strip: Strip, found: list[str]) -> Any:
    """Return what looks at a module's input and output, and mends the output where the module spreads."""

    def look(_: nn.Module, given: tuple[Any, ...], made: Any) -> Any:
        if not given or not (_is_image(given[0]) and _is_image(made)):
            return None
        before, after = given[0].isnan(), made.isnan()
        columns = before.flatten(0, 2).any(dim=0)
        if 2 * int(columns.sum()) > len(columns) or not bool(after.flatten(0, 2).any(dim=0).all()) or not columns.any():
            return None
        found.append(f"{name or NAMELESS} ({type(strip.module.get_submodule(name)).__name__})")
        return torch.where(_stretched(columns, made.shape[-1]), torch.nan, torch.ones_like(made))

    return look


def _is_image(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() == 4


def _stretched(columns: Bool[Tensor, " n"], length: int) -> Bool[Tensor, " m"]:
    """Return a row of marks at another length."""
    return columns[torch.arange(length) * len(columns) // length]
