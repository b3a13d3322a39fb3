"""Global layers: names of the layers through which every pixel depends on every other, from their behaviour."""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from tilespec.models.nets.norms import SeededDropout
from tilespec.models.probe.narrow_input import NarrowInput

LENGTH = 16
"""The length of the test strip in cells of the deepest level."""
NAMELESS = "the net itself"


def spread_by(strip: NarrowInput) -> list[str]:
    """Return the names of the innermost modules through which NaN spreads from a quarter of the input to all outputs.

    The output of such a module is replaced by that of a local one, so that later modules are detected too. The net of
    ``strip`` gets hooks: pass a copy.
    """
    layers: list[str] = []
    hooks = [
        module.register_forward_hook(_hook(name, strip, layers))
        for name, module in reversed(list(strip.module.named_modules()))
    ]
    length = max(128, LENGTH * strip.line.align)
    strip.marked(length, slice(length * 3 // 4, None))
    for hook in hooks:
        hook.remove()
    return layers


def random_layers(module: nn.Module) -> list[str]:
    """Return the names of the layers that also drop values at prediction."""
    return [name for name, layer in module.named_modules() if _is_random(layer)]


def _is_random(layer: nn.Module) -> bool:
    if isinstance(layer, SeededDropout):
        return layer.p > 0 and (layer.live or layer.training)
    return isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p > 0  # noqa: SLF001


def _hook(name: str, strip: NarrowInput, layers: list[str]) -> Any:
    """Return a hook that compares a module's input and output, and repairs the output if the module is global."""

    def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not inputs or not (_is_image(inputs[0]) and _is_image(output)):
            return None
        before, after = inputs[0].isnan(), output.isnan()
        columns = before.flatten(0, 2).any(dim=0)
        if 2 * int(columns.sum()) > len(columns) or not bool(after.flatten(0, 2).any(dim=0).all()) or not columns.any():
            return None
        layers.append(f"{name or NAMELESS} ({type(strip.module.get_submodule(name)).__name__})")
        return torch.where(_stretched(columns, output.shape[-1]), torch.nan, torch.ones_like(output))

    return look


def _is_image(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() == 4


def _stretched(columns: Bool[Tensor, " n"], length: int) -> Bool[Tensor, " m"]:
    """Return a row of marks stretched to another length."""
    return columns[torch.arange(length) * len(columns) // length]
