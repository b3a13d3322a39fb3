"""Networks: each net has a name, a few parameters and a torch module, in one file and one line of the table.

Every module takes ``batch, band, y, x`` float32 and returns ``batch, channel, y, x``. Its attribute ``tile_class``
(`tilespec.core.types.TileClass`) declares its behaviour on tiles; a user's own net may leave it out. Published
methods for single pixels (NDVI, PLS-DA) are nets too, so that one predictor serves all.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from tilespec.core.registry import check_options, load
from tilespec.core.types import TileClass
from tilespec.models.nets.checks import within

NETS = {
    "identity": "tilespec.models.nets.pixelwise:Identity",
    "ndvi": "tilespec.models.nets.pixelwise:Ndvi",
    "linear": "tilespec.models.nets.pixelwise:Linear",
    "sam": "tilespec.models.nets.pixelwise:Sam",
    "mlp": "tilespec.models.nets.pixelwise:Mlp",
    "spectrum_mlp": "tilespec.models.nets.spectrum_mlp:SpectrumMlp",
    "polynomial": "tilespec.models.nets.regression:Polynomial",
    "rbf": "tilespec.models.nets.regression:Rbf",
    "adopted": "tilespec.models.nets.adopted:Adopted",
    "interval": "tilespec.models.nets.interval:Interval",
    "opened": "tilespec.models.nets.opening:Opening",
    "unet": "tilespec.models.nets.unet:Unet",
    "spectral_unet": "tilespec.models.nets.spectral_unet:SpectralUnet",
    "resunet": "tilespec.models.nets.resunet:Resunet",
    "hybridsn": "tilespec.models.nets.hybridsn:HybridSn",
    "rcan": "tilespec.models.nets.rcan:Rcan",
    "spectralformer": "tilespec.models.nets.spectralformer:SpectralFormer",
    "resnet": "tilespec.models.nets.resnet:Resnet",
    "densenet": "tilespec.models.nets.densenet:Densenet",
    "efficientnet": "tilespec.models.nets.efficientnet:EfficientNet",
    "qrnn3d": "tilespec.models.nets.qrnn3d:Qrnn3d",
    "segnet": "tilespec.models.nets.segnet:Segnet",
    "cells": "tilespec.models.nets.cells:Cells",
    "enlarged": "tilespec.models.nets.enlarged:Enlarged",
    "residual": "tilespec.models.nets.residual:ResidualNet",
    "smp": "tilespec.models.nets.smp:Smp",
    "branched": "tilespec.models.nets.branched:Branched",
    "mst": "tilespec.models.nets.mst:Mst",
    "patchgan": "tilespec.models.nets.patchgan:PatchGan",
    "branched_judge": "tilespec.models.nets.branched_discriminator:BranchedDiscriminator",
}


Nets = TypeVar("Nets")
SPARE = 64
"""The number of tensors that a net may have besides those that are stored."""
UNDECLARED = TileClass(kind="approximate")
"""The tile class of a net without a declared one, until it is measured: its tiles may have any side."""


def build(name: str, channels_in: int, channels_out: int, **params: Any) -> nn.Module:
    """Return the net ``name`` (of the table, or a plug-in that the user named) with its parameters."""
    net: nn.Module = load(NETS, name, "net")(channels_in, channels_out, **params)
    return net


def build_inner(inner: Mapping[str, Any], channels_in: int, channels_out: int) -> nn.Module:
    """Return the net ``{"name": ..., **parameters}`` that another net holds.

    Raises:
        UserError: this is no such table, the table `NETS` does not have the net, or the net does not have a parameter.
    """
    good = isinstance(inner, Mapping) and isinstance(inner.get("name"), str)
    within({"net.inner": (inner, good, "a table with the name of a net and its parameters")})
    params = {key: value for key, value in inner.items() if key != "name"}
    check_options(load(NETS, inner["name"], "net"), params, "net.inner")
    return build(inner["name"], channels_in, channels_out, **params)


def outlined(make: Callable[[], Nets], *, whole: bool = True) -> Nets:
    """Return what ``make`` returns, its nets without memory for their weights (on torch's meta device) if possible.

    A constructor that computes with values (``tensor.item()``, ``tensor.numpy()``) cannot do without memory: then its
    net is built whole, unless ``whole`` is False.
    """
    try:
        with torch.device("meta"):
            return make()
    except (RuntimeError, TypeError):
        if not whole:
            raise
        return make()


@contextmanager
def limited(tensors: int) -> Iterator[None]:
    """Open a block in which this thread may build nets with about so many parameters and buffers, and no more.

    A description of a net that would take hours to build, or would never end, is refused after the first layers.

    Raises:
        ValueError: there are many more.
    """
    thread, most, count = threading.get_ident(), 4 * tensors + SPARE, 0

    def register(*_: Any) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > most:
            raise ValueError(f"a net of more than {most} tensors, where there are {tensors}")

    hooks = [register_module_parameter_registration_hook(register), register_module_buffer_registration_hook(register)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def tile_class_of(net: nn.Module) -> TileClass | None:
    """Return the tile class that a net declares, or None."""
    return getattr(net, "tile_class", None)
