"""Pictures: what a report shows of scenes and of predictions."""

import numpy as np

from tilespec.picture import NO_DATA, class_colours, class_picture, picture_bands
from tilespec.report import plots
from tilespec.report.maps import VERDICTS, Compared, legend
from tilespec.report.overview import Overview, facts, ndvi_bands
from tilespec.report.parts import Key, Picture, Row, Section
from tilespec.report.runs import name_of
from tilespec.report.scores import digits, spread
from tilespec.types import UNLABELLED, ClassMap

THRESHOLD = 0.69
"""NDVI above which Mishra and Herrmann (2021) call a pixel a plant."""
FEW = 4
"""Classes that a plot can tell apart where they overlap."""
ORDINALS = {2: "second", 3: "third"}


def of_scene(seen: Overview) -> Section:
    """Return false colour, truth, spectra and NDVI of a scene."""
    scene = seen.scene
    names = scene.classes() if seen.labels is not None else ()
    note = f"Every {ORDINALS.get(seen.stride, f'{seen.stride}th')} pixel." if seen.stride > 1 else "Every pixel."
    stretch = f"{_channels(seen)} as red, green and blue, stretched from the 2nd to the 98th percentile. {note}"
    pictures = [Picture(source=plots.png(plots.colour(seen.planes["rgb"])), title="False colour", caption=stretch)]
    if seen.labels is not None:
        pictures.append(Picture(source=plots.png(class_picture(seen.labels)), title="Truth", caption="The labels."))
    rows = [
        Row(
            pictures=tuple(pictures), legend=class_keys(names, seen.labels) if names and seen.labels is not None else ()
        )
    ]
    rows += [row for row in (_spectra(seen, names), _ndvi(seen, names)) if row is not None]
    return Section(
        key=f"scene-{name_of(scene.url)}",
        title=str(scene.attrs.get("title") or name_of(scene.url)),
        lead=str(scene.attrs.get("description", "")),
        rows=tuple(rows),
        facts=tuple(facts(scene).items()),
    )


def of_predictions(compared: list[Compared]) -> Section:
    """Return each prediction beside its error map."""
    lead = "What each method says of every pixel, and where it is wrong."
    if any(one.scored for one in compared):
        lead += " The frame is the region that was scored."
    rows = tuple(_prediction(one) for one in compared)
    return Section(key="predictions", title="Predictions and their errors", lead=lead, rows=rows)


def errors(one: Compared, title: str, frame: tuple[float, float, float, float] | None = None) -> Picture:
    """Return an error map."""
    verdicts = one.verdicts
    assert verdicts is not None
    source = plots.indexed(verdicts, {index: colour for index, (_, colour) in VERDICTS.items()})
    return Picture(source=source, title=title, caption="", frame=frame)


def class_keys(names: tuple[str, ...], shown: ClassMap) -> tuple[Key, ...]:
    """Return the legend of a class map."""
    keys = tuple(Key.of(css(i), name) for i, name in enumerate(names))
    return (*keys, Key.of(NO_DATA, "no label or no data")) if (shown == UNLABELLED).any() else keys


def css(index: int) -> str:
    """Return the colour of a class."""
    red, green, blue = (int(value) for value in class_colours(index + 1)[index])
    return Key.of((red, green, blue), "").colour


def _prediction(one: Compared) -> Row:
    """Return a prediction beside its error map."""
    scores, frame = one.run.scores, one.scored
    pictures = [Picture(source=plots.png(class_picture(one.predicted)), title="Prediction", caption="", frame=frame)]
    keys = class_keys(one.classes, one.predicted)
    if one.truth is not None:
        pictures.append(errors(one, "Errors", frame))
        keys = (*keys, *legend([one]))
    note = "not evaluated"
    if scores is not None:
        note = f"patch IoU {spread(scores['iou_mean'], scores['iou_std'])} · accuracy {digits(scores['oa'])}"
        note += " · on training pixels" if scores.get("overlaps_training") else ""
    return Row(pictures=tuple(pictures), title=one.run.name, note=note, legend=keys)


def _spectra(seen: Overview, names: tuple[str, ...]) -> Row | None:
    """Return mean spectra by class."""
    mean, deviation = seen.spectra.finish()
    shown = [i for i, n in enumerate(seen.spectra.count) if n > 1 and (i < len(names) or not names)]
    if not shown or seen.scene.shape[2] < 2:
        return None
    colours = [css(i) for i in shown]
    few = len(shown) <= FEW
    around = [deviation[i] if few else np.zeros_like(deviation[i]) for i in shown]
    plot = plots.banded(seen.scene.spectral, [mean[i] for i in shown], around, colours)
    keys = tuple(Key.of(c, names[i] if names else "all pixels") for c, i in zip(colours, shown, strict=True))
    caption = "Mean spectrum of each class" + (", and one standard deviation on either side." if few else ".")
    return Row(pictures=(Picture(source=plot, title="Spectra", caption=caption, plot=True),), legend=keys, columns=1)


def _ndvi(seen: Overview, names: tuple[str, ...]) -> Row | None:
    """Return the histogram of NDVI by class."""
    pair, axis = ndvi_bands(seen.scene), seen.scene.spectral
    if pair is None or axis is None or "ndvi" not in seen.planes:
        return None
    values = seen.planes["ndvi"][..., 0]
    known = np.isfinite(values)
    groups = {"all pixels": known}
    if seen.labels is not None and 0 < len(names) <= FEW:
        groups = {name: known & (seen.labels == i) for i, name in enumerate(names)}
    edges = np.linspace(-0.4, 1.0, 141)
    colours = [css(i) for i in range(len(groups))]
    counts = [np.histogram(values[mask], edges)[0] for mask in groups.values()]
    caption = (
        f"Normalised difference vegetation index of the bands at {axis.values[pair[0]]:.0f} and "
        f"{axis.values[pair[1]]:.0f} nm, and the threshold of Mishra and Herrmann."
    )
    plot = plots.histogram(counts, edges, colours, THRESHOLD)
    keys = tuple(Key.of(c, name) for c, name in zip(colours, groups, strict=True))
    return Row(pictures=(Picture(source=plot, title="NDVI", caption=caption, plot=True),), legend=keys, columns=1)


def _channels(seen: Overview) -> str:
    """Return the bands of the false-colour picture."""
    axis, bands = seen.scene.spectral, picture_bands(seen.scene.spectral, seen.scene.shape[2])
    if axis is None or axis.unit == "1":
        return "Bands " + ", ".join(str(band + 1) for band in bands)
    return ", ".join(f"{axis.values[band]:.0f}" for band in bands) + f" {axis.unit}"
