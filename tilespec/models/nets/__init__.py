"""Networks: each net has a name, a few parameters and a torch module, in one file and one line of the table.

Every module takes ``batch, band, y, x`` float32 and returns ``batch, channel, y, x``, and has an attribute
``tile_class`` (`tilespec.core.types.TileClass`). Published methods for single pixels (NDVI, PLS-DA) are nets too, so
that one predictor serves all.
"""

from typing import Any

from torch import nn

from tilespec.core.registry import load

NETS = {
    "identity": "tilespec.models.nets.pixelwise:Identity",
    "ndvi": "tilespec.models.nets.pixelwise:Ndvi",
    "linear": "tilespec.models.nets.pixelwise:Linear",
    "sam": "tilespec.models.nets.pixelwise:Sam",
    "mlp": "tilespec.models.nets.pixelwise:Mlp",
    "polynomial": "tilespec.models.nets.regression:Polynomial",
    "rbf": "tilespec.models.nets.regression:Rbf",
    "opened": "tilespec.models.nets.opening:Opened",
    "unet": "tilespec.models.nets.unet:Unet",
    "branched": "tilespec.models.nets.branched:Branched",
    "mst": "tilespec.models.nets.mst:Mst",
    "patchgan": "tilespec.models.nets.patchgan:PatchGan",
    "branched_judge": "tilespec.models.nets.branched_discriminator:BranchedJudge",
}


def build(name: str, channels_in: int, channels_out: int, **params: Any) -> nn.Module:
    """Return the net ``name`` (of the table, or a plug-in that the user named) with its parameters."""
    net: nn.Module = load(NETS, name, "net")(channels_in, channels_out, **params)
    return net
