"""Notebook: scenes, recipes and models as Jupyter shows them: a picture, the spectral axis, the size."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.core.results import in_bytes
from tilespec.core.types import SpectralAxis
from tilespec.models.model import Model
from tilespec.output.pictures import false_colour
from tilespec.output.report.plots import png
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene

SIDE: Final = 320
"""The longer side of a picture in pixels."""


def page(value: Scene | Recipe | Model) -> str:
    """Return a value as HTML that loads nothing; whatever comes from files is escaped."""
    kind = type(value)
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(str(text))}</td></tr>'
        for name, text in FACTS[kind](value).items()
        if text
    )
    picture = _picture(value) if isinstance(value, Scene) else ""
    return f"<div><strong>tilespec.{kind.__name__}</strong>{picture}<table>{rows}</table></div>"


def _scene(scene: Scene) -> Mapping[str, Any]:
    height, width, bands = scene.shape
    size = height * width * bands * scene.dtype.itemsize
    return {
        "title": scene.attrs.get("title"),
        "store": scene.url,
        "size": f"{height} x {width} x {bands} (y, x, band), {scene.dtype}, {in_bytes(size)}",
        "axis": _axis(scene.spectral),
        "layers": ", ".join(scene.layers),
        "objects": " x ".join(map(str, scene.chunks)),
        "no data": scene.nodata,
    }


def _recipe(recipe: Recipe) -> Mapping[str, Any]:
    return {
        "steps": recipe.text or "none",
        "takes": f"{recipe.bands_in} bands: {_axis(recipe.axis_in) or 'no axis'}",
        "gives": f"{recipe.bands_out} channels",
    }


def _model(model: Model) -> Mapping[str, Any]:
    parameters = sum(values.numel() for values in model.weights.values())
    regions = model.provenance.get("train_regions") or []
    return {
        "task": model.task["name"],
        "net": f"{model.net['name']}, {parameters:,} numbers, {model.channels[0]} to {model.channels[1]} channels",
        "classes": ", ".join(model.classes),
        "tile": model.tile,
        **{f"recipe {name}": text for name, text in _recipe(model.recipe).items()},
        "learned from": ", ".join(str(region.get("scene")) for region in regions),
    }


def _axis(axis: SpectralAxis | None) -> str:
    """Return the ends of a spectral axis and its unit."""
    return "" if axis is None else f"{axis.name} {axis.values[0]:g} to {axis.values[-1]:g} {axis.unit or ''}".strip()


def _picture(scene: Scene) -> str:
    """Return three bands of a scene; none of a scene that cannot be read now, nor of a table."""
    if scene.table:
        return ""
    try:
        source = png(false_colour(scene, max_side=SIDE))
    except UserError as error:
        return f"<p>{escape(str(error))}</p>"
    return f'<p><img alt="three bands of the scene" style="max-width:{SIDE}px" src="{source}"></p>'


FACTS: Final[Mapping[type, Callable[[Any], Mapping[str, Any]]]] = {Scene: _scene, Recipe: _recipe, Model: _model}
"""What is said of each kind of value."""
