"""Receptive field: the input pixels that an output pixel of a net depends on, measured with NaN in the input.

NaN passes through every sum, product, norm and activation, even where a weight is 0. If the input is NaN from some
column on, the outputs that become NaN are exactly those that depend on it, for any net. A net that hides NaN (by an
argmax or a comparison) gets other values instead, and the result is a lower bound.
"""

from dataclasses import dataclass, replace
from typing import final

from torch import nn

from tilespec.core.types import TileClass
from tilespec.models.nets.unet import EXACT_HALO
from tilespec.models.probe.narrow_input import AxisMap, NarrowInput, fields, replica

ALIGNMENTS = (*range(1, 17), 24, 32, 48, 64, 96, 128, 256, 512)
"""The alignments that are tried."""
LONGEST = 4096
"""The largest length of a strip in pixels; a reach from its middle to its end counts as global."""
PERIODS = 8
"""The least number of cells of the deepest level in a strip."""
CUTS = 40
"""The largest number of positions of the cut for each side."""
TOLERANCE = 1e-4
"""The accepted difference between a tile and the scene, relative to the deviation of the output."""


@final
@dataclass(frozen=True, kw_only=True)
class Side:
    """The reach of an output pixel on one side, the largest over all positions."""

    pixels: int
    """The reach in pixels from the pixel itself."""
    halo: int
    """The reach beyond the edge of a tile whose input is extended to the alignment, at most ``pixels``."""


@final
@dataclass(frozen=True, kw_only=True)
class Reach:
    """The reach of an output pixel on all four sides."""

    top: Side
    """The reach upward."""
    bottom: Side
    """The reach downward."""
    left: Side
    """The reach to the left."""
    right: Side
    """The reach to the right."""

    @property
    def sides(self) -> dict[str, Side]:
        """The four sides by name."""
        return {"top": self.top, "bottom": self.bottom, "left": self.left, "right": self.right}

    @property
    def pixels(self) -> int:
        """The largest reach of the four sides in pixels."""
        return max(side.pixels for side in self.sides.values())

    @property
    def halo(self) -> int:
        """The widest halo of the four sides in pixels."""
        return max(side.halo for side in self.sides.values())


@final
@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The measured behaviour of a net on tiles."""

    line: AxisMap
    """The relation between output and input positions."""
    reach: Reach | None
    """The reach of an output pixel; None: over the whole tile."""
    inner: Reach | None
    """The reach without norms."""
    certain: bool
    """Whether the reach was measured with NaN; else it is a lower bound."""
    tile_error: float | None
    """The error of a tile cropped by the halo, relative to the deviation; None when it was not measured."""

    @property
    def tile_class(self) -> TileClass:
        """The tile class that follows from the measurement."""
        align, reach = self.line.align, self.reach
        if reach is None or reach.halo > EXACT_HALO or self.tile_error is None or self.tile_error > TOLERANCE:
            return TileClass(kind="approximate", align=align)
        if reach.halo == 0 and align == 1:
            return TileClass(kind="pixelwise")
        return TileClass(kind="exact", halo=reach.halo, align=align)


def measured_class(module: nn.Module, channels: int) -> TileClass:
    """Return the tile class of any net from its behaviour; approximate if that is inconclusive."""
    measured = measure(module, channels)
    if measured is None:
        return TileClass(kind="approximate")
    return measured.tile_class if measured.certain else TileClass(kind="approximate", align=measured.line.align)


def measure(module: nn.Module, channels: int) -> Measurement | None:
    """Return the behaviour of a net on tiles; None when it accepts one size only.

    Args:
        module: The net from ``batch, band, y, x`` to ``batch, channel, y, x``, which does not change.
        channels: The number of bands of its input.
    """
    net = replica(module)
    line = _line(net, channels)
    if line is None:
        return None
    strip = NarrowInput(module=net, channels=channels, line=line)
    blank = strip.marked(_up(256, line.align), slice(None))
    strip = replace(strip, hides=blank is not None and not bool(blank.all()))
    inner = _reach(replace(strip, norms=False))
    moved = _longer_input(strip, inner)
    if moved != line.align:
        strip = replace(strip, line=replace(line, align=moved))
        inner = _reach(replace(strip, norms=False))
    reach = None if inner is None or _spreads(strip, inner) else inner
    return Measurement(
        line=strip.line, reach=reach, inner=inner, certain=not strip.hides, tile_error=_tile_error(strip, reach)
    )


def _line(module: nn.Module, channels: int) -> AxisMap | None:
    """Return the smallest number of which sides must be multiples, and the scale of the output."""
    for align in ALIGNMENTS:
        strip = NarrowInput(module=module, channels=channels, line=AxisMap(align=align))
        cells = max(2, -(-64 // align))
        lengths = [align * k for k in (cells, cells + 1, cells + 2, 3 * cells - 1)]
        sizes = [strip.output(length) for length in lengths]
        if None in sizes:
            continue
        line = AxisMap.through(align, lengths, [out for out in sizes if out is not None])
        if line is not None:
            return line
    return None


def _reach(strip: NarrowInput) -> Reach | None:
    """Return the reach of a net on each side; None when it extends from the middle of a long strip to its end."""
    sides = {}
    for vertical, names in ((True, ("top", "bottom")), (False, ("left", "right"))):
        turned = replace(strip, vertical=vertical)
        for name, forward in zip(names, (False, True), strict=True):
            side = _side(turned, forward=forward)
            if side is None:
                return None
            sides[name] = side
    return Reach(**sides)


def _spreads(strip: NarrowInput, inner: Reach) -> bool:
    """Return whether norms carry a change farther than the rest of the net does."""
    align = strip.line.align
    length = _up(2 * inner.pixels + max(128, PERIODS * align), align)
    return _end(strip, length, length // 2 // align * align, forward=True) is None


def _side(strip: NarrowInput, *, forward: bool) -> Side | None:
    """Return the reach of a net on one side, from strips that grow until the reach ends inside."""
    align = strip.line.align
    length = _up(max(128, PERIODS * align), align)
    while length <= LONGEST:
        side = _farthest(strip, length, forward=forward)
        if side is not None:
            return side
        length *= 2
    return None


def _farthest(strip: NarrowInput, length: int, *, forward: bool) -> Side | None:
    """Return the largest distance between a cut of the input and the outputs that change with the input beyond it.

    This distance is a step function of the cut and periodic with the alignment; bisection finds the steps. A tile whose
    last pixel is ``p`` reads up to ``p + halo``, rounded up to a multiple of the alignment.
    """
    align = strip.line.align
    middle = length // 2 // align * align
    first = _end(strip, length, middle, forward=forward)
    if first is None:
        return None
    ends = {middle: first, middle + align: first + align}
    spans = [(middle, middle + align)]
    while spans and len(ends) < CUTS:
        low, high = spans.pop(0)
        if high - low > 1 and ends[low] != ends[high]:
            cut = (low + high) // 2
            farthest = _end(strip, length, cut, forward=forward)
            if farthest is None:
                return None
            ends[cut] = farthest
            spans += [(low, cut), (cut, high)]
    if forward:
        pairs = [(cut - changed, cut // align * align - changed) for cut, changed in ends.items()]
    else:
        pairs = [(changed - cut, changed + 1 - (cut // align + 1) * align) for cut, changed in ends.items()]
    return Side(pixels=max(0, *(pixels for pixels, _ in pairs)), halo=max(0, *(halo for _, halo in pairs)))


def _end(strip: NarrowInput, length: int, cut: int, *, forward: bool) -> int | None:
    """Return the farthest pixel whose output depends on the input from ``cut`` on, None if it is the strip's end."""
    marks = strip.marked(length, slice(cut, None) if forward else slice(cut + 1))
    if marks is None:
        return None
    columns = marks.nonzero()
    if not len(columns):
        return cut  # no output depends on the input there
    column = int(columns[0] if forward else columns[-1])
    if column == (0 if forward else len(marks) - 1):
        return None
    return strip.line.last(column) if forward else strip.line.first(column)


def _longer_input(strip: NarrowInput, reach: Reach | None) -> int:
    """Return the smallest shift of the input, a multiple of the sides' alignment, that shifts the output equally."""
    align, line = strip.line.align, strip.line
    far = 0 if reach is None else reach.pixels
    length = _up(2 * far + max(4 * align, 64), align)
    if reach is None or length > LONGEST:
        return align
    columns = [j for j in range(strip.output(length) or 0) if line.first(j) >= far and line.last(j) < length - far]
    for multiple in (m for m in ALIGNMENTS if m * align <= ALIGNMENTS[-1]):
        step = multiple * align * line.scale
        if step.denominator != 1:
            continue
        columns_inside = columns[: len(columns) - int(step)] if len(columns) > step else []
        if columns_inside and _moves_alike(strip, length, multiple * align, columns_inside[0], columns_inside[-1] + 1):
            return multiple * align
    return align


def _moves_alike(strip: NarrowInput, length: int, move: int, start: int, stop: int) -> bool:
    """Return whether output columns ``start`` to ``stop`` do not change when the input shifts."""
    x = fields(strip.channels, (strip.across, length + move), 0).abs() + 0.5
    step = int(move * strip.line.scale)
    for thin in (not strip.hides, False):  # a norm over equal channels is constant: then the net itself
        here, there = (strip.answer(part, thin=thin) for part in (x[..., :length], x[..., move:]))
        spread = float(here.std())
        if spread > 0:
            error = (here[..., start + step : stop + step] - there[..., start:stop]).abs().max()
            return float(error) <= TOLERANCE * spread
    return True


def _tile_error(strip: NarrowInput, reach: Reach | None) -> float | None:
    """Return the largest difference of a cropped tile from a larger one around it, with its edges unaligned."""
    if reach is None or reach.halo > EXACT_HALO or strip.line.scale != 1 or strip.line.margin != 0:
        return None
    align = strip.line.align
    unit = _up(max(reach.pixels, 32), align)
    start, stop = 2 * unit + align - 1, 3 * unit + 1
    first, last = (start - reach.halo) // align * align, _up(stop + reach.halo, align)
    x = fields(strip.channels, (strip.across, 5 * unit + align), 1)[..., : 5 * unit]
    whole, tile = (strip.answer(part, thin=False) for part in (x, x[..., first:last]))
    error = (tile[..., start - first : stop - first] - whole[..., start:stop]).abs().max()
    return float(error) / max(float(whole.std()), 1e-12)


def _up(length: int, align: int) -> int:
    """Return the next multiple of ``align``, rounding up."""
    return -(-length // align) * align
