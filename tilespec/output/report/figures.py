"""Pictures: the graphics of scenes and of predictions in a report."""

import numpy as np
from jaxtyping import Float32

from tilespec.core.types import UNLABELLED, ClassMap
from tilespec.output.pictures import NO_DATA, class_colours, class_picture, picture_bands
from tilespec.output.report import plots
from tilespec.output.report.inputs import name_of
from tilespec.output.report.maps import VERDICTS, MapComparison, legend
from tilespec.output.report.overview import Overview, facts, ndvi_bands
from tilespec.output.report.page_parts import Key, Picture, Row, Section
from tilespec.output.report.scores import digits, seams, spread
from tilespec.output.report.state import completeness, failures
from tilespec.spectra.scale_check import not_reflectance

GREEN, SOME = 0.4, 0.005
"""The NDVI above which a pixel is of green vegetation, and the smallest share of such pixels to show NDVI for."""
FEW = 4
"""The largest number of classes that a plot can show without confusion."""
ORDINALS = {2: "second", 3: "third"}


def of_scene(view: Overview) -> Section:
    """Return the rows with false colour, truth, spectra and NDVI of a scene."""
    scene = view.scene
    names = scene.classes() if view.labels is not None else ()
    note = f"Every {ORDINALS.get(view.stride, f'{view.stride}th')} pixel." if view.stride > 1 else "Every pixel."
    stretch = f"{_channels(view)} as red, green and blue, stretched from the 2nd to the 98th percentile. {note}"
    pictures = [Picture(source=plots.png(plots.colour(view.planes["rgb"])), title="False colour", caption=stretch)]
    if view.labels is not None:
        pictures.append(Picture(source=plots.png(class_picture(view.labels)), title="Truth", caption="The labels."))
    rows = [
        Row(
            pictures=tuple(pictures), legend=class_keys(names, view.labels) if names and view.labels is not None else ()
        )
    ]
    rows += [row for row in (_spectra(view, names), _ndvi(view, names)) if row is not None]
    title, name = str(scene.attrs.get("title") or ""), name_of(scene.url)
    return Section(
        key=f"scene-{name}",
        title=f"{title} ({name})" if title and title != name else name,
        lead=str(scene.attrs.get("description", "")),
        rows=tuple(rows),
        facts=tuple(facts(scene).items()),
    )


def of_predictions(compared: list[MapComparison]) -> Section:
    """Return each prediction with its error map."""
    lead = "What each method says of every pixel, and where it is wrong."
    if any(one.scored for one in compared):
        lead += " The frame is the region that was scored."
    top = plots.top([one.disagreement for one in compared if one.disagreement is not None])
    rows = tuple(_prediction(one, top) for one in compared)
    lost = tuple(fact for one in compared for fact in failures(one.run))
    return Section(key="predictions", title="Predictions and their errors", lead=lead, rows=rows, facts=lost)


def errors(one: MapComparison, title: str, frame: tuple[float, float, float, float] | None = None) -> Picture:
    """Return an error map."""
    verdicts = one.verdicts
    assert verdicts is not None
    source = plots.indexed(verdicts, {index: colour for index, (_, colour) in VERDICTS.items()})
    return Picture(source=source, title=title, caption="", frame=frame)


def class_keys(names: tuple[str, ...], shown: ClassMap) -> tuple[Key, ...]:
    """Return the legend of the classes that a class map shows."""
    there = set(np.unique(shown).tolist())
    keys = tuple(Key.of(css(i), name) for i, name in enumerate(names) if i in there)
    return (*keys, Key.of(NO_DATA, "no label or no data")) if (shown == UNLABELLED).any() else keys


def css(index: int) -> str:
    """Return the colour of a class."""
    red, green, blue = (int(value) for value in class_colours(index + 1)[index])
    return Key.of((red, green, blue), "").colour


def _prediction(one: MapComparison, top: float) -> Row:
    """Return a prediction with its error map, and the map of disagreement on a scale from 0 to ``top``."""
    scores, frame = one.run.scores, one.scored
    pictures = [Picture(source=plots.png(class_picture(one.predicted)), title="Prediction", caption="", frame=frame)]
    keys = class_keys(one.classes, one.predicted)
    if one.truth is not None:
        pictures.append(errors(one, "Errors", frame))
        keys = (*keys, *legend([one]))
    if one.disagreement is not None:
        pictures.append(_disagreement(one.disagreement, top, frame))
        keys = (*keys, *_scale(top))
    note = _share_right(one)
    if scores is not None:
        note = f"patch IoU {spread(scores['iou_mean'], scores['iou_std'])} · OA {digits(scores['oa'])}"
        note += f" · seam score {seams(one.run, scores)}" if scores.get("seam_score") is not None else ""
        note += " · on training pixels" if scores.get("overlaps_training") else ""
    note += f" · {completeness(one.run)}" if completeness(one.run) else ""
    return Row(pictures=tuple(pictures), title=one.run.name, note=note, legend=keys, columns=max(2, len(pictures)))


def _share_right(one: MapComparison) -> str:
    """Return how many of the shown pixels with a label are right, of a prediction that nobody evaluated."""
    known = np.zeros(0, bool) if one.truth is None else one.truth != UNLABELLED
    if one.truth is None or not known.any():
        return "not evaluated"
    return f"not evaluated; {digits(float((one.predicted == one.truth)[known].mean()))} of the shown labels are met"


def _disagreement(
    plane: Float32[np.ndarray, "y x"], top: float, frame: tuple[float, float, float, float] | None
) -> Picture:
    """Return the map of disagreement."""
    caption = (
        f"Standard deviation between the tiles that cover a pixel, by their weights: 0 is dark, {top:.3g} and more is "
        "bright, on one scale for all predictions of this page. Where a single tile reaches, it is 0."
    )
    source = plots.sequential(plane, top)
    return Picture(source=source, title="Disagreement of tiles", caption=caption, frame=frame)


def _scale(top: float) -> tuple[Key, ...]:
    """Return the legend of a map of disagreement."""
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    texts = [f"disagreement {'≥ ' if share == 1 else ''}{share * top:.2g}" for share in shares]
    return tuple(Key.of(plots.shade(share), text) for share, text in zip(shares, texts, strict=True))


def _spectra(view: Overview, names: tuple[str, ...]) -> Row | None:
    """Return mean spectra by class."""
    mean, deviation = view.spectra.finish()
    shown = [i for i, n in enumerate(view.spectra.count) if n > 1 and (i < len(names) or not names)]
    if not shown or view.scene.shape[2] < 2:
        return None
    colours = [css(i) for i in shown]
    few = len(shown) <= FEW
    around = [deviation[i] if few else np.zeros_like(deviation[i]) for i in shown]
    plot = plots.banded(view.scene.spectral, [mean[i] for i in shown], around, colours)
    keys = tuple(Key.of(c, names[i] if names else "all pixels") for c, i in zip(colours, shown, strict=True))
    caption = "Mean spectrum of each class" + (", and one standard deviation on either side." if few else ".")
    return Row(pictures=(Picture(source=plot, title="Spectra", caption=caption, plot=True),), legend=keys, columns=1)


def _ndvi(view: Overview, names: tuple[str, ...]) -> Row | None:
    """Return the histogram of NDVI by class."""
    pair, axis = ndvi_bands(view.scene), view.scene.spectral
    if pair is None or axis is None or not_reflectance(view.scene, view.spectra.finish()[0]) is not None:
        return None
    values = view.planes["ndvi"][..., 0]
    finite = np.isfinite(values)
    if np.count_nonzero(values[finite] > GREEN) < SOME * np.count_nonzero(finite):
        return None
    groups = {"all pixels": finite}
    if view.labels is not None and 0 < len(names) <= FEW:
        groups = {name: finite & (view.labels == i) for i, name in enumerate(names)}
    edges = np.linspace(-0.4, 1.0, 141)
    colours = [css(i) for i in range(len(groups))]
    counts = [np.histogram(values[mask], edges)[0] for mask in groups.values()]
    caption = (
        f"Normalised difference vegetation index of the bands at {axis.values[pair[0]]:.0f} and "
        f"{axis.values[pair[1]]:.0f} nm."
    )
    plot = plots.histogram(counts, edges, colours)
    keys = tuple(Key.of(c, name) for c, name in zip(colours, groups, strict=True))
    return Row(pictures=(Picture(source=plot, title="NDVI", caption=caption, plot=True),), legend=keys, columns=1)


def _channels(view: Overview) -> str:
    """Return the bands of the false-colour picture."""
    axis, bands = view.scene.spectral, picture_bands(view.scene.spectral, view.scene.shape[2])
    if axis is None or axis.unit == "1":
        return "Bands " + ", ".join(str(band + 1) for band in bands)
    return ", ".join(f"{axis.values[band]:.0f}" for band in bands) + f" {axis.unit}"
