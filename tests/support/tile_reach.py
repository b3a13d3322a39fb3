"""How far a net looks: which outputs change where a part of the input is NaN, and whether tiles equal the scene."""

import torch


def _spoiled(net, channels, length, span, height):
    """Return which output columns are NaN, where the input columns of ``span`` are."""
    x = torch.randn(1, channels, height, length)
    x[..., span] = torch.nan
    with torch.no_grad():
        y = net(x)
    return y.isnan().flatten(0, 2).any(dim=0).nonzero().flatten(), y.shape[-1] // length


def reach(net, channels, cells=8, height=None):
    """Return the input pixels beyond the edge of an aligned tile, on the right and on the left, that it depends on."""
    align = net.tile_class.align
    cut, length = cells * align, 2 * cells * align
    height = height or align
    right, scale = _spoiled(net, channels, length, slice(cut, None), height)
    left, _ = _spoiled(net, channels, length, slice(None, cut), height)
    return cut - int(right.min()) // scale, -(-(int(left.max()) + 1) // scale) - cut


def tile_and_scene(net, channels, *, side=None, halo=None):
    """Return what a net answers for one tile in the middle of a scene, read with its halo, and on the whole scene."""
    cls = net.tile_class
    halo = cls.halo if halo is None else halo
    side = side or 2 * cls.align
    around = -(-max(halo, cls.align) // cls.align) * cls.align
    scene = torch.randn(1, channels, side + 2 * around + 2 * cls.align, side + 2 * around + 3 * cls.align)
    y, x = around + cls.align, around
    with torch.no_grad():
        whole = net(scene)
        tile = net(scene[:, :, y - halo : y + side + halo, x - halo : x + side + halo])
    scale = whole.shape[-1] // scene.shape[-1]
    inner = slice(halo * scale, (halo + side) * scale)
    parts = (slice(start * scale, (start + side) * scale) for start in (y, x))
    return tile[:, :, inner, inner], whole[(slice(None), slice(None), *parts)]
