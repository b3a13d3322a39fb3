"""Channels: predicted channels, or one predicted quantity, against true ones."""

from functools import partial
from typing import Any

import numpy as np

from tilespec.errors import UserError
from tilespec.evaluate.case import Case, facts, region_of
from tilespec.placed import PlacedField
from tilespec.residuals import FieldPair, PatchErrors, Residuals
from tilespec.spectra.match import same_bands
from tilespec.spectra.operators import Bands
from tilespec.types import Roi

VALUES = 1 << 22
"""About how many values of each of the two are held at once, if stored objects are no larger."""


def channels_case(pred: str, truth: str, layer: str | None, rows: str | None, cols: str | None) -> Case:
    """Return the case of predicted channels and the cube (or the ``layer``) of a scene, or another prediction.

    Raises:
        UserError: the two lie on different planes, or their channels differ.
    """
    predicted, true = PlacedField.open(pred), PlacedField.open(truth, layer)
    roi = region_of(predicted, true, rows, cols)
    _check_channels(predicted, true)
    zero = Residuals.zero(predicted.channels)
    return Case(
        roi=roi,
        plane=(true.roi.y1, true.roi.x1),
        plan={**facts(predicted, true, roi), "axis": None if true.axis is None else list(true.axis.values)},
        pieces=_pieces(roi, predicted.chunks, predicted.channels),
        read=partial(_pair, predicted, true),
        folds=(zero,),
        patches=PatchErrors.zero,
        scores=("rmse", "mae", "bias", "r2", "r2_mean", "psnr", "sam"),
        counts=("values", "missing"),
        result=_result,
    )


def _result(folds: tuple[Any, ...], patch: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of all pixels and of the patches."""
    return {**folds[0].finish(), **patch}


def _pieces(roi: Roi, chunks: tuple[int, int], channels: int) -> list[Roi]:
    """Cut a region along stored objects of the prediction, several where they are small."""
    height, width = chunks
    across = max(1, VALUES // (height * width * channels))
    width *= across
    return [
        Roi(y0=max(y, roi.y0), y1=min(y + height, roi.y1), x0=max(x, roi.x0), x1=min(x + width, roi.x1))
        for y in range(roi.y0 // height * height, roi.y1, height)
        for x in range(roi.x0 // width * width, roi.x1, width)
    ]


def _pair(predicted: PlacedField, true: PlacedField, piece: Roi) -> FieldPair:
    """Return truth and prediction of a piece."""
    return np.stack([true.read(piece), predicted.read(piece)])


def _check_channels(predicted: PlacedField, true: PlacedField) -> None:
    """Refuse another number of channels, or bands at other wavelengths."""
    if predicted.channels != true.channels:
        raise UserError(
            predicted.url,
            found=f"{predicted.channels} channels",
            expected=f"{true.channels}, as {true.layer or 'the cube'} of {true.url} has",
            do="Name the truth of the same channels; --layer names one layer of a scene.",
        )
    axes = [field.axis for field in (true, predicted)]
    if all(axis is not None and axis.name in ("wavelength", "wavenumber") for axis in axes):
        ours, theirs = (Bands(count=true.channels, axis=axis) for axis in axes)
        same_bands(ours, theirs, predicted.url)
