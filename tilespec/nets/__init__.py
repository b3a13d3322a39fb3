"""Networks: a name, a few numbers, and a torch module. One file and one line in the table for each.

Every module takes ``batch, band, y, x`` float32 and returns ``batch, channel, y, x``, and has an attribute
``tile_class`` (`tilespec.core.types.TileClass`). Published methods that look at one pixel (NDVI, PLS-DA) are nets too,
so that one predictor serves all.
"""

from typing import Any

from torch import nn

from tilespec.core.registry import load

NETS = {
    "identity": "tilespec.nets.pixelwise:Identity",
    "ndvi": "tilespec.nets.pixelwise:Ndvi",
    "linear": "tilespec.nets.pixelwise:Linear",
    "sam": "tilespec.nets.pixelwise:Sam",
    "mlp": "tilespec.nets.pixelwise:Mlp",
    "polynomial": "tilespec.nets.regression:Polynomial",
    "rbf": "tilespec.nets.regression:Rbf",
    "opened": "tilespec.nets.opened:Opened",
    "unet": "tilespec.nets.unet:Unet",
    "branched": "tilespec.nets.branched:Branched",
    "mst": "tilespec.nets.mst:Mst",
    "patchgan": "tilespec.nets.patchgan:PatchGan",
    "branched_judge": "tilespec.nets.branched_judge:BranchedJudge",
}


def build(name: str, channels_in: int, channels_out: int, **params: Any) -> nn.Module:
    """Return the net ``name`` (of the table, or a plug-in that the user named) with its parameters."""
    net: nn.Module = load(NETS, name, "net")(channels_in, channels_out, **params)
    return net
