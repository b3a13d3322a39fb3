"""Networks: each net has a name, a few parameters and a torch module, in one file and one line of the table.

Every module takes ``batch, band, y, x`` float32 and returns ``batch, channel, y, x``. Its attribute ``tile_class``
(`tilespec.core.types.TileClass`) declares its behaviour on tiles; a user's own net may leave it out. Published
methods for single pixels (NDVI, PLS-DA) are nets too, so that one predictor serves all.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from tilespec.core.registry import load
from tilespec.core.types import TileClass

NETS = {
    "identity": "tilespec.models.nets.pixelwise:Identity",
    "ndvi": "tilespec.models.nets.pixelwise:Ndvi",
    "linear": "tilespec.models.nets.pixelwise:Linear",
    "sam": "tilespec.models.nets.pixelwise:Sam",
    "mlp": "tilespec.models.nets.pixelwise:Mlp",
    "polynomial": "tilespec.models.nets.regression:Polynomial",
    "rbf": "tilespec.models.nets.regression:Rbf",
    "opened": "tilespec.models.nets.opening:Opening",
    "unet": "tilespec.models.nets.unet:Unet",
    "branched": "tilespec.models.nets.branched:Branched",
    "mst": "tilespec.models.nets.mst:Mst",
    "patchgan": "tilespec.models.nets.patchgan:PatchGan",
    "branched_judge": "tilespec.models.nets.branched_discriminator:BranchedDiscriminator",
}


Nets = TypeVar("Nets")
UNDECLARED = TileClass(kind="approximate")
"""The tile class of a net without a declared one, until it is measured: its tiles may have any side."""


def build(name: str, channels_in: int, channels_out: int, **params: Any) -> nn.Module:
    """Return the net ``name`` (of the table, or a plug-in that the user named) with its parameters."""
    net: nn.Module = load(NETS, name, "net")(channels_in, channels_out, **params)
    return net


def outlined(make: Callable[[], Nets]) -> Nets:
    """Return what ``make`` returns, its nets without memory for their weights (on torch's meta device) if possible.

    A constructor that computes with values (``tensor.item()``, ``tensor.numpy()``) cannot do without memory: then its
    net is built whole.
    """
    try:
        with torch.device("meta"):
            return make()
    except (RuntimeError, TypeError):
        return make()


def tile_class_of(net: nn.Module) -> TileClass | None:
    """Return the tile class that a net declares, or None."""
    return getattr(net, "tile_class", None)
