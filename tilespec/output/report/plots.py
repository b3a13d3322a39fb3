"""Plots as SVG and pictures as PNG, in data URIs, in one style with colours that are readable on both themes.

Text of users is never parsed as mathematics: ``text.parse_math`` is off, and names of classes are in HTML legends.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Shaped, UInt8

from tilespec.core.types import SpectralAxis
from tilespec.output.pictures import NO_DATA

INK, GRID = "#7b838d", "#7b838d40"
COLOURS = ("#d1495b", "#2d7dd2", "#e09f1f", "#3a9a6b", "#8660b5", "#46a6b5", "#9a6b4b", "#c46aa5")
"""The colours of lines in the order of components, losses, ..., for colour-blind readers, in pairs of lightness."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "tilespec",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
    "figure.constrained_layout.use": True,
}
WIDE, NARROW = (8.6, 2.9), (4.2, 2.9)
"""The widths in inches; half of a page is narrow."""
SHADES = 255
"""The number of steps of a sequential colour map, without the one for no data."""
SHARP = 560
"""The approximate longer side of a picture in pixels below which its pixels are repeated."""


def png(pixels: UInt8[np.ndarray, "y x 3"], marks: Mapping[str, tuple[int, int]] | None = None) -> str:
    """Return a picture as a data URI; ``marks`` are letters beside rings around pixels ``y, x``."""
    from PIL import Image

    large = enlarged(pixels)
    image = Image.fromarray(large)
    for letter, place in (marks or {}).items():
        _mark(image, letter, place, large.shape[0] / pixels.shape[0])
    return _encoded(image)


def indexed(index: UInt8[np.ndarray, "y x"], colours: Mapping[int, tuple[int, int, int]]) -> str:
    """Return a map of few values as a data URI: an indexed PNG is a tenth of a full one."""
    from PIL import Image

    table = np.zeros((256, 3), np.uint8)
    for value, colour in colours.items():
        table[value] = colour
    image = Image.fromarray(enlarged(index))
    image.putpalette(table.ravel().tolist())
    return _encoded(image)


def grey(plane: Float[np.ndarray, "y x"]) -> str:
    """Return a plane of values as a grey picture, stretched between its 1st and 99th percentile."""
    from PIL import Image

    return _encoded(Image.fromarray(enlarged(stretched(plane, (1, 99)))))


def sequential(plane: Float[np.ndarray, "y x"], top: float, low: float = 0.0) -> str:
    """Return values from ``low`` to ``top`` in a sequential colour map, black for no data."""
    share = np.clip((np.nan_to_num(plane, nan=low) - low) / (top - low), 0, 1)
    index = np.where(np.isfinite(plane), np.rint(share * (SHADES - 1)), SHADES).astype(np.uint8)
    return indexed(index, {i: shade(i / (SHADES - 1)) for i in range(SHADES)} | {SHADES: NO_DATA})


def shade(share: float) -> tuple[int, int, int]:
    """Return the colour of a share: viridis, with even steps of lightness, readable by colour-blind readers."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps["viridis"](float(share), bytes=True)
    return int(red), int(green), int(blue)


def top(planes: Sequence[Float[np.ndarray, "_ _"]]) -> float:
    """Return the end of the common scale of all ``planes``: the largest of their 99.5th percentiles, rounded up."""
    finite = [plane[np.isfinite(plane)] for plane in planes]
    largest = max((float(np.percentile(values, 99.5)) for values in finite if len(values)), default=0.0)
    if largest <= 0:
        return 1.0
    digit = 10.0 ** (np.floor(np.log10(largest)) - 1)
    return float(np.ceil(largest / digit) * digit)


def enlarged(pixels: UInt8[np.ndarray, "y x ..."]) -> UInt8[np.ndarray, "y2 x2 ..."]:
    """Return a small picture with every pixel repeated, so that a browser does not blur them."""
    times = max(1, SHARP // max(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def colour(planes: Float[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "y x 3"]:
    """Return three planes as red, green and blue, each stretched between its 2nd and 98th percentile."""
    return np.stack([stretched(planes[..., channel], (2, 98)) for channel in range(3)], axis=-1)


def stretched(plane: Float[np.ndarray, "y x"], percentiles: tuple[float, float]) -> UInt8[np.ndarray, "y x"]:
    """Return values as bytes between two percentiles of the finite ones; 0 for the others."""
    finite = np.isfinite(plane)
    low, high = np.percentile(plane[finite], percentiles) if finite.any() else (0.0, 1.0)
    share = (np.where(finite, plane, low) - low) / max(float(high - low), 1e-12)
    bytes_: UInt8[np.ndarray, "y x"] = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return bytes_


def limits(planes: Float[np.ndarray, "y x 3"]) -> list[tuple[float, float]]:
    """Return the 2nd and the 98th percentile of the finite values of three planes; 0 and 1 without any."""
    finite = [plane[np.isfinite(plane)] for plane in np.moveaxis(planes, -1, 0)]
    return [tuple(np.percentile(plane, (2, 98)).tolist()) if plane.size else (0.0, 1.0) for plane in finite]


def between(planes: Float[np.ndarray, "y x 3"], ends: Sequence[tuple[float, float]]) -> UInt8[np.ndarray, "y x 3"]:
    """Return three planes as red, green and blue, each stretched between two values; black without data."""
    low, high = (np.array(values) for values in zip(*ends, strict=True))
    share = (planes - low) / np.maximum(high - low, 1e-12)
    finite = np.isfinite(planes).all(axis=-1, keepdims=True)
    bytes_: UInt8[np.ndarray, "y x 3"] = np.rint(255 * np.clip(np.where(finite, share, 0), 0, 1)).astype(np.uint8)
    return bytes_


def scale(top: float, low: float = 0.0) -> str:
    """Return the bar of `sequential`: its colours from ``low`` to ``top``."""
    with _figure((8.6, 0.62)) as (figure, axes):
        edges = np.linspace(low, top, 129)
        shades = [tuple(v / 255 for v in shade((i + 0.5) / 128)) for i in range(128)]
        axes.bar(edges[:-1], 1, np.diff(edges), align="edge", color=shades, edgecolor=shades, linewidth=0.3)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set(xlim=(low, top), ylim=(0, 1), yticks=[])
        return _svg(figure)


def compared(
    axis: SpectralAxis | None,
    truth: Float[np.ndarray, " band"],
    predicted: Sequence[Float[np.ndarray, " band"]],
    *,
    top: float | None = None,
) -> str:
    """Return a true spectrum as a thick line, and predicted ones in `COLOURS`; the axis ends at ``top``, from 0."""
    with _figure(NARROW) as (figure, axes):
        x = positions(axis, len(truth))
        axes.plot(x, truth, color=INK, linewidth=3.2, alpha=0.75)
        for index, curve in enumerate(predicted):
            axes.plot(x, curve, color=COLOURS[index % len(COLOURS)])
        axes.set(xlabel=label(axis), ylabel="value", xlim=(float(x.min()), float(x.max())))
        if top is not None:
            axes.set_ylim(min(0.0, axes.get_ylim()[0]), top)
        return _svg(figure)


def lines(
    axis: SpectralAxis | None,
    curves: Sequence[Float[np.ndarray, " band"]],
    *,
    ylabel: str,
    zero: bool = False,
    colours: Sequence[str] = COLOURS,
    size: tuple[float, float] = WIDE,
) -> str:
    """Return curves along the bands in the given colours."""
    with _figure(size) as (figure, axes):
        x = positions(axis, len(curves[0]))
        if zero:
            axes.axhline(0, color=INK, linewidth=0.8)
        for index, curve in enumerate(curves):
            axes.plot(x, curve, color=colours[index % len(colours)])
        axes.set(xlabel=label(axis), ylabel=ylabel, xlim=(float(x.min()), float(x.max())))
        return _svg(figure)


def filled(axis: SpectralAxis | None, curve: Float[np.ndarray, " band"], *, ylabel: str) -> str:
    """Return one curve along the bands, filled down to zero."""
    with _figure(WIDE) as (figure, axes):
        x = positions(axis, len(curve))
        axes.fill_between(x, curve, color=COLOURS[1], alpha=0.18, linewidth=0)
        axes.plot(x, curve, color=COLOURS[1])
        axes.set(xlabel=label(axis), ylabel=ylabel, xlim=(float(x.min()), float(x.max())), ylim=(0, None))
        return _svg(figure)


def banded(
    axis: SpectralAxis | None,
    means: Sequence[Float64[np.ndarray, " band"]],
    deviations: Sequence[Float64[np.ndarray, " band"]],
    colours: Sequence[str],
    *,
    size: tuple[float, float] = WIDE,
) -> str:
    """Return mean spectra, each with an area of one deviation."""
    with _figure(size) as (figure, axes):
        x = positions(axis, len(means[0]))
        for mean, deviation, colour in zip(means, deviations, colours, strict=True):
            axes.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.18, linewidth=0)
            axes.plot(x, mean, color=colour)
        axes.set(xlabel=label(axis), ylabel="value in the scene", xlim=(float(x.min()), float(x.max())))
        return _svg(figure)


def scatter(
    groups: Sequence[Float[np.ndarray, "_point 2"]],
    colours: Sequence[str],
    ends: tuple[tuple[float, float], ...],
    *,
    xlabel: str,
    ylabel: str,
) -> str:
    """Return groups of points in the given colours, between the ends of both axes, as pixels: they may be thousands."""
    with _figure(NARROW) as (figure, axes):
        dots: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 2.2, "alpha": 0.45, "rasterized": True}
        for points, colour in zip(groups, colours, strict=True):
            axes.plot(points[:, 0], points[:, 1], color=colour, markeredgewidth=0, **dots)
        figure.set_dpi(200)
        axes.set(xlim=ends[0], ylim=ends[1])
        axes.set(xlabel=xlabel, ylabel=ylabel)
        return _svg(figure)


def bars(values: Sequence[float], *, ylabel: str) -> str:
    """Return bars numbered from 1, in the colours of the components."""
    with _figure(NARROW) as (figure, axes):
        at = np.arange(1, len(values) + 1)
        axes.bar(at, values, color=[COLOURS[i % len(COLOURS)] for i in range(len(values))], width=0.62)
        for x, value in zip(at, values, strict=True):
            axes.annotate(
                f"{value:.1f}", (x, value), (0, 3), textcoords="offset points", ha="center", color=INK, fontsize=8.5
            )
        axes.grid(visible=False, axis="x")
        axes.set(xticks=at, xlabel="component", ylabel=ylabel, ylim=(0, max(values) * 1.14 or 1.0))
        return _svg(figure)


def curves(steps: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, ylabel: str = "loss") -> str:
    """Return curves over training steps by name: values as thin lines, their running means as thick ones."""
    with _figure(WIDE) as (figure, axes):
        for index, (x, y) in enumerate(steps.values()):
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(x, y, color=colour, alpha=0.28, linewidth=0.7)
            axes.plot(x, smooth(np.asarray(y, np.float64)), color=colour)
        values = np.concatenate([np.asarray(y, np.float64) for _, y in steps.values()])
        if (values > 0).all() and values.max() / values.min() > 30:
            axes.set_yscale("log")
            for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                formatted(_sparse)
        axes.set(xlabel="step", ylabel=ylabel)
        return _svg(figure)


def points(
    steps: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    ylabel: str,
    xlabel: str = "step",
    mark: float | None = None,
    dots: bool = True,
) -> str:
    """Return a few values over training steps by name, connected, and a broken line at the step ``mark``."""
    with _figure(NARROW) as (figure, axes):
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
        for index, (x, y) in enumerate(steps.values()):
            colour = COLOURS[index % len(COLOURS)] if dots else INK
            shape = {"marker": "o", "markersize": 3.4} if dots else {}
            axes.plot(x, y, color=colour, zorder=3 if index == 0 else 2, **shape)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        return _svg(figure)


def histogram(
    counts: Sequence[Shaped[np.ndarray, " bin"]],
    edges: Float64[np.ndarray, " edge"],
    colours: Sequence[str],
    *,
    xlabel: str = "NDVI",
    ylabel: str = "pixels",
    marks: Sequence[float] = (),
) -> str:
    """Return histograms as filled steps, with broken lines at ``marks``."""
    with _figure(WIDE) as (figure, axes):
        for mark in marks:
            axes.axvline(mark, color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
        for count, colour in zip(counts, colours, strict=True):
            axes.stairs(count, edges, fill=True, color=colour, alpha=0.32, linewidth=0)
            axes.stairs(count, edges, color=colour, linewidth=1.4)
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(float(edges[0]), float(edges[-1])))
        return _svg(figure)


Bars = tuple[Float64[np.ndarray, " _"], ...]
"""References, predictions, and the lower and the upper ends of their intervals, NaN where there is none."""


def against(samples: Sequence[Bars], colours: Sequence[str], *, label: str) -> str:
    """Return predictions over references, with intervals, and the line where both are equal."""
    with _figure(NARROW) as (figure, axes):
        values = np.concatenate([np.concatenate(bars[:2]) for bars in samples])
        ends = np.nanmin(values), np.nanmax(values)
        axes.plot(ends, ends, color=INK, linewidth=1.0)
        for (reference, predicted, lower, upper), colour in zip(samples, colours, strict=True):
            axes.vlines(reference, lower, upper, color=colour, alpha=0.45, linewidth=1.2)
            axes.plot(reference, predicted, "o", color=colour, markersize=3.6, alpha=0.85)
        axes.set(xlabel=f"reference, {label}", ylabel="predicted")
        return _svg(figure)


def _sparse(value: float, position: int | None = None) -> str:
    """Return the label of a logarithmic tick: 1, 2 and 5 times powers of ten, as plain numbers."""
    del position
    return f"{value:g}" if f"{value:e}"[0] in "125" else ""


def smooth(values: Float64[np.ndarray, " step"]) -> Float64[np.ndarray, " step"]:
    """Return a centred running mean over a fortieth of the steps, shorter at the ends."""
    half = max(1, len(values) // 80)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def positions(axis: SpectralAxis | None, bands: int) -> Float64[np.ndarray, " band"]:
    """Return the positions of bands on the horizontal axis: their centres, else their numbers."""
    return np.arange(bands, dtype=np.float64) if axis is None else np.asarray(axis.values, np.float64)


def label(axis: SpectralAxis | None) -> str:
    """Return the name of the horizontal axis."""
    if axis is None:
        return "band"
    return axis.name if axis.unit == "1" else f"{axis.name} ({axis.unit})"


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    """Yield a figure with one plot in our style, without pyplot and its global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=size)
        yield figure, figure.add_subplot()


def _svg(figure: Any) -> str:
    """Return a figure as a data URI, with equal bytes for equal figures."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": "tilespec"})
    return _uri(buffer, "svg+xml")


def _mark(image: Any, letter: str, place: tuple[int, int], size: float) -> None:
    """Draw a ring around a pixel, and a letter beside it, visible on any background."""
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(image)
    radius = max(8, max(image.size) // 42)
    y, x = ((v + 0.5) * size for v in place)
    ring = (x - radius, y - radius, x + radius, y + radius)
    pen.ellipse(ring, outline=(0, 0, 0), width=4)
    pen.ellipse(ring, outline=(255, 255, 255), width=2)
    left = x + radius * 3.2 > image.width
    at = (x - radius * 1.3, y) if left else (x + radius * 1.3, y)
    pen.text(
        at,
        letter,
        fill=(255, 255, 255),
        font=ImageFont.load_default(size=radius * 2),
        anchor="rm" if left else "lm",
        stroke_width=2,
        stroke_fill=(0, 0, 0),
    )


def _encoded(image: Any) -> str:
    """Return an image as a data URI of PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return _uri(buffer, "png")


def _uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
