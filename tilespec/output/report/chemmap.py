"""Chemmap: predicted maps of quantities such as percent fat, compared with each other, with samples and with a truth.

Maps of one quantity share one scale of colours, so that they can be compared by eye.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

import numpy as np
from jaxtyping import Float32

from tilespec.evaluate.metrics.variogram import LAGS
from tilespec.output.report import plots
from tilespec.output.report.inputs import Runs
from tilespec.output.report.page_parts import Key, PageTable, Picture, Row, Section
from tilespec.output.report.quantity_maps import QuantityMaps, quantity_maps
from tilespec.output.report.state import completeness, failures
from tilespec.storage.rasters import scale_of

PUBLISHED: Final = (("U-Net, published", 99.91), ("PLS, published", 2.53))
"""The published share (%) of spatially correlated variance: Engstrom et al., arXiv 2504.14131 (2025), of fat."""
CITATION: Final = (
    "In grey: published by Engstrom et al. (arXiv 2504.14131, 2025) on their measured images of pork bellies, "
    "which are not bundled. None of our figures was measured on them; the share may have been computed in another way."
)
WORDS: Final = (
    "Correlated variance: the share of a map's variance that neighbours have in common, by a model of the variogram "
    f"(nugget and sill, {LAGS} lags); the rest is noise from pixel to pixel. It says nothing of errors: a blurred map "
    "has a large share too."
)
HEAD: Final = (
    "map",
    "mean",
    "deviation",
    "outside of 0 to 100",
    "correlated variance",
    "RMSE of means",
    "RMSE of pixels",
)
BINS: Final = 120
"""The number of bins of a histogram."""
FAR: Final = (0.2, 99.8)
"""The percentiles of the values between which a histogram reaches."""
SCALE: Final = (2.0, 98.0)
"""The percentiles of the values between which colours change."""
TRUTH: Final = "truth"

Values = Float32[np.ndarray, "..."]
"""Values of a map, of which others have another shape."""
Numbered = tuple[int, QuantityMaps]
"""A prediction with the index of a quantity among its own."""


def of_chemmaps(runs: Runs, layer: str) -> list[Section]:
    """Return a section for each predicted quantity.

    Args:
        runs: The inputs of the report.
        layer: The layer of samples of their scenes.
    """
    maps = [quantity_maps(run, runs, layer) for run in runs.chemmaps]
    names = dict.fromkeys(name for one in maps for name in one.quantities)
    having = {name: [(one.quantities.index(name), one) for one in maps if name in one.quantities] for name in names}
    return [_section(name, members) for name, members in having.items()]


def _section(name: str, maps: Sequence[Numbered]) -> Section:
    """Return table, maps and plots of a quantity."""
    units = dict.fromkeys(one.units[q] for q, one in maps)
    unit = f" ({', '.join(units)})" if any(units) else ""
    rows = (*_maps(name, maps), *_widths(maps), *_dmodx(name, maps), *_plots(name, unit, maps))
    return Section(
        key=f"chemmap-{name}",
        title=f"Map of {name}{unit}",
        lead="Learned from means of samples, which say nothing of single pixels. Black: no sample or no data.",
        tables=(_table(name, maps),),
        rows=rows,
        facts=tuple(fact for _, one in maps for fact in failures(one.run)),
    )


def _table(name: str, maps: Sequence[Numbered]) -> PageTable:
    """Return the figures of all maps, above the published ones where the quantity is fat."""
    rows = tuple(_line(name, q, one) for q, one in maps)
    published = PUBLISHED if "fat" in name.lower() else ()
    theirs = tuple((title, *("–",) * 3, f"{share:.2f} %", "–", "–") for title, share in published)
    notes = [WORDS]
    notes += ["RMSE of pixels: against a hidden truth that only simulations have, from tilespec evaluate."]
    notes += [f"{one.run.name} is {completeness(one.run)}." for _, one in maps if completeness(one.run)]
    notes += [CITATION] if published else []
    muted = tuple(range(len(rows), len(rows) + len(theirs)))
    return PageTable(head=HEAD, rows=(*rows, *theirs), muted=muted, notes=tuple(notes))


def _line(name: str, q: int, one: QuantityMaps) -> tuple[str, ...]:
    """Return the line of a map in the table."""
    figures = one.figures(q)
    pixels = (one.run.scores or {}).get("rmse") if len(one.quantities) == 1 else None
    means = one.means[name].rmse if name in one.means else None
    return (
        _named(one),
        *(_number(figures[key]) for key in ("mean", "sd")),
        _percent(figures["out_of_range"], 100) if one.limits(q) is not None else "–",
        _percent(figures["spatially_correlated_variance"]),
        _number(means),
        _number(pixels),
    )


def _named(one: QuantityMaps) -> str:
    """Return the name of a prediction with its method."""
    return one.run.name if one.run.method == one.run.name else f"{one.run.name} ({one.run.method})"


def _maps(name: str, maps: Sequence[Numbered]) -> Iterator[Row]:
    """Yield the maps of a quantity and its truth on one scale, and the scale."""
    truths = [(TRUTH, one.truth[name], "The hidden values.") for _, one in maps if name in one.truth][:1]
    shown = [*truths, *((one.run.name, one.values[..., q], _size(one)) for q, one in maps)]
    low, top = _ends([plane for _, plane, _ in shown], maps[0][1].limits(maps[0][0]))
    pictures = tuple(
        Picture(source=plots.sequential(plane, top, low), title=title, caption=caption)
        for title, plane, caption in shown
    )
    yield Row(pictures=pictures, title="Maps", note="one scale for all", columns=_columns(len(pictures)))
    yield _bar(low, top)


def _size(one: QuantityMaps) -> str:
    """Return what a pixel of a map is."""
    scale, every = scale_of(one.run.map.attrs), "every pixel" if one.stride == 1 else f"one pixel of {one.stride}"
    return f"{'As fine as the scene' if scale == '1' else f'{scale} of the size of the scene'}, {every} is shown."


def _widths(maps: Sequence[Numbered]) -> Iterator[Row]:
    """Yield the maps of the widths of intervals on one scale."""
    there = [(one, one.widths[..., q]) for q, one in maps if one.widths is not None]
    shown = [(one.run.name, plane, _middle(plane)) for one, plane in there]
    levels = sorted({100 * float(one.run.map.attrs.get("interval_level", 0.95)) for one, _ in there})
    title = f"Widths of the {', '.join(f'{level:g}' for level in levels)} % intervals of pixels"
    yield from _scaled(shown, title, "from the lower to the upper end")


def _dmodx(name: str, maps: Sequence[Numbered]) -> Iterator[Row]:
    """Yield the maps of the distances of spectra from the model."""
    keys = ("dmodx", f"dmodx_{name}")
    there = [(one.run.name, *one.dmodx[key]) for _, one in maps for key in keys if key in one.dmodx]
    shown = [(title, plane, _beyond(plane, limit)) for title, plane, limit in there]
    yield from _scaled(shown, "DModX", "distance of spectra from the model, in its usual distance")


def _scaled(shown: Sequence[tuple[str, Values, str]], title: str, note: str) -> Iterator[Row]:
    """Yield maps of values from 0, with titles and captions, on one scale, and the scale."""
    if not shown:
        return
    top = plots.top([plane for _, plane, _ in shown])
    pictures = tuple(
        Picture(source=plots.sequential(plane, top), title=name, caption=caption) for name, plane, caption in shown
    )
    yield Row(pictures=pictures, title=title, note=f"{note}; one scale for all", columns=_columns(len(pictures)))
    yield _bar(0.0, top)


def _beyond(plane: Values, limit: float) -> str:
    """Return how many pixels of a map lie beyond the limit, in a sentence."""
    known = plane[np.isfinite(plane)]
    beyond = 100 * float((known > limit).mean()) if known.size else 0.0
    return f"{beyond:.1f} % of the pixels lie beyond {limit:.3g}, the limit of 95 % of usual spectra."


def _middle(plane: Values) -> str:
    """Return the median of a map, in a sentence."""
    finite = plane[np.isfinite(plane)]
    return f"Half of the pixels are below {float(np.median(finite)):.3g}." if finite.size else "No pixel."


def _bar(low: float, top: float) -> Row:
    """Return the bar of a scale."""
    bar = Picture(source=plots.scale(top, low), title="", caption="Beyond the ends as at the ends.", plot=True)
    return Row(pictures=(bar,), columns=1)


def _plots(name: str, unit: str, maps: Sequence[Numbered]) -> Iterator[Row]:
    """Yield histogram, variogram, and predicted over reference means, each prediction in its colour."""
    keys = tuple(Key.of(_colour(k), _named(one)) for k, (_, one) in enumerate(maps))
    yield Row(pictures=(_histogram(f"{name}{unit}", maps),), legend=keys, columns=1)
    pictures = [_variogram(maps)]
    if any(name in one.means for _, one in maps):
        pictures.append(_against(name, unit, maps))
    yield Row(pictures=tuple(pictures), legend=keys)


def _histogram(label: str, maps: Sequence[Numbered]) -> Picture:
    """Return the histograms of maps, with the possible range and the shares outside of it."""
    limits = maps[0][1].limits(maps[0][0])
    values = [one.values[..., q][np.isfinite(one.values[..., q])] for q, one in maps]
    low, high = _range(values, FAR)
    if limits is not None:
        low, high = min(low, limits[0] - 2), max(high, limits[1] + 2)
    edges = np.linspace(low, high, BINS + 1)
    shares = [100 * np.histogram(one, edges)[0] / max(one.size, 1) for one in values]
    colours = [_colour(k) for k in range(len(maps))]
    source = plots.histogram(shares, edges, colours, xlabel=label, ylabel="% of pixels", marks=limits or ())
    caption = f"{limits[0]:g} to {limits[1]:g}, between the broken lines, is possible." if limits else ""
    outside = [(one, one.figures(q)["out_of_range"]) for q, one in maps if limits]
    caption += "".join(f" {one.run.name}: {_percent(share, 100)} outside." for one, share in outside)
    return Picture(source=source, title="Histograms", caption=caption, plot=True)


def _variogram(maps: Sequence[Numbered]) -> Picture:
    """Return the semivariograms of maps, in shares of each map's variance."""
    curves = {}
    for k, (q, one) in enumerate(maps):
        variance = (one.figures(q)["sd"] or 0.0) ** 2 or float("nan")
        lags = np.arange(1, LAGS + 1) / float(Fraction(scale_of(one.run.map.attrs)))
        curves[str(k)] = (lags.tolist(), (one.sums.semivariance[:, q] / variance).tolist())
    source = plots.points(curves, ylabel="semivariance / variance", xlabel="distance (pixels of the scene)")
    caption = "A map of noise begins near 1; a map of structure begins near 0 and rises with the distance."
    return Picture(source=source, title="Variograms", caption=caption, plot=True)


def _against(name: str, unit: str, maps: Sequence[Numbered]) -> Picture:
    """Return the predicted means of samples over their references."""
    means = {k: one.means[name] for k, (_, one) in enumerate(maps) if name in one.means}
    source = plots.against(
        [(each.reference, each.predicted, each.lower, each.upper) for each in means.values()],
        [_colour(k) for k in means],
        label=f"{name}{unit}",
    )
    caption = (
        "Each point is a sample; bars are intervals of its mean. Of a regression the sample was left out of the fit; "
        "of other maps measure --references wrote the mean, of samples that were learned from too."
    )
    return Picture(source=source, title="Means of samples", caption=caption, plot=True)


def _range(values: Sequence[Values], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return the smallest and the largest of the percentiles of several maps, at least a little apart."""
    ends = [np.percentile(one[np.isfinite(one)], percentiles) for one in values if np.isfinite(one).any()]
    low, high = (float(np.min(ends)), float(np.max(ends))) if ends else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _ends(planes: Sequence[Values], limits: tuple[float, float] | None) -> tuple[float, float]:
    """Return the ends of the common scale of maps, round numbers within what is possible."""
    low, high = _range(planes, SCALE)
    if limits is not None and low < limits[1] and high > limits[0]:
        low, high = max(low, limits[0]), min(high, limits[1])
    digit = 10.0 ** (np.floor(np.log10(high - low)) - 1)
    return float(np.floor(low / digit) * digit), float(np.ceil(high / digit) * digit)


def _columns(count: int) -> int:
    """Return the number of pictures in a line."""
    return 3 if count in (3, 5, 6) else max(2, min(count, 4))


def _colour(index: int) -> str:
    return plots.COLOURS[index % len(plots.COLOURS)]


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g}"


def _percent(value: float | None, factor: float = 1.0) -> str:
    return "–" if value is None else f"{factor * value:.2f} %"
