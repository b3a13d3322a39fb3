"""Channels: predicted channels, or one predicted quantity, are compared with true ones."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.evaluate.colours import colours_of
from tilespec.evaluate.comparison import (
    Comparison,
    Excluded,
    JoinedStatistics,
    chosen,
    facts,
    mask_of,
    region_of,
    side_of,
)
from tilespec.evaluate.metrics.channel_errors import ChannelErrors, FieldPair, PatchErrors
from tilespec.evaluate.metrics.spectral_errors import FIGURES, SpectralErrors
from tilespec.evaluate.metrics.structural_similarity import StructuralSimilarity, TruthRange
from tilespec.evaluate.metrics.variogram import FIGURES as MAPS
from tilespec.evaluate.metrics.variogram import Variogram
from tilespec.evaluate.options import PAPER, ScoreOptions
from tilespec.spectra.bands import Bands, same_bands
from tilespec.storage.rasters import ValueRaster, scale_of
from tilespec.storage.selection import mask_notes

VALUES = 1 << 22
"""The approximate number of values of each array in memory, if stored objects are no larger."""
DEFAULT = ScoreOptions()
"""The options by default: every pixel with a value counts, except black pixels."""


def channels_case(
    pred: str, truth: str, layer: str | None, rows: str | None, cols: str | None, options: ScoreOptions = DEFAULT
) -> Comparison:
    """Return the comparison of predicted channels with the cube (or the ``layer``) of a scene, or another prediction.

    Raises:
        UserError: the two have different planes or channels, or the mask does not exist.
    """
    predicted, true, mask = ValueRaster.open(pred), ValueRaster.open(truth, layer), mask_of(truth, options.mask)
    side = side_of(predicted, true) if true.scene is None else 1
    if side > 1:
        true, mask = true.reduced(side), None if mask is None else mask.reduced(side)
    roi = region_of(predicted, true, rows, cols)
    _check_channels(predicted, true)
    colours, notes = colours_of(true.axis, options)
    notes = (*notes, *mask_notes(str(options.mask), {} if mask is None else mask.layer.attrs))
    spectra = SpectralErrors.zero(options.floor * options.factor)
    maps = (Variogram.zero(predicted.channels),) if true.axis is None else ()
    ratio = min(1.0, float(1 / Fraction(scale_of(predicted.attrs))))
    span = 0.0 if options.peak is None else PAPER
    similar = (StructuralSimilarity.zero(predicted.channels, span),) if options.ssim else ()
    parts = (ChannelErrors.zero(predicted.channels, ratio), spectra, *colours, *maps, *similar)
    return Comparison(
        roi=roi,
        plane=(true.roi.y1, true.roi.x1),
        plan={
            **facts(predicted, true, roi),
            **options.plain(),
            "axis": None if true.axis is None else list(true.axis.values),
        },
        pieces=_pieces(roi, predicted),
        read=partial(_pair, predicted, true, mask, options),
        channels=predicted.channels,
        statistics=(JoinedStatistics(parts=parts),),
        patches=PatchErrors.zero,
        scores=(
            "rmse",
            "mae",
            "bias",
            "r2",
            "r2_mean",
            "psnr",
            "snr",
            "ergas",
            "sam",
            *FIGURES,
            "mrae",
            *("delta_e",) * len(colours),
            *MAPS * len(maps),
            *("ssim",) * len(similar),
        ),
        counts=("values", "missing", "pixels"),
        result=partial(_result, options, notes),
        prepared=_over_the_truth if options.ssim and options.peak is None else None,
    )


def _over_the_truth(case: Comparison, progress: Progress) -> Comparison:
    """Return the comparison whose structural similarity knows the range of the truth, from one more reading."""
    progress.start("range of the truth", len(case.pieces), "blocks")
    span = reduce_blocks(case.pieces, lambda piece: TruthRange().of(case.read(piece)[0]), progress=progress).finish()
    progress.finish()
    score, *others = case.statistics
    parts = (replace(part, span=span) if isinstance(part, StructuralSimilarity) else part for part in score.parts)
    return replace(case, statistics=(replace(score, parts=tuple(parts)), *others))


def _result(
    options: ScoreOptions, notes: tuple[str, ...], folds: tuple[Any, ...], patch: dict[str, Any]
) -> dict[str, Any]:
    """Return the figures of all pixels and of the patches."""
    figures = {**dict.fromkeys(("delta_e", "delta_e_std", "ssim", *MAPS)), **folds[0].finish()}
    rmse = figures["rmse"]
    peak = None if options.peak is None or not rmse else 20 * math.log10(PAPER / rmse)
    return {**figures, "psnr_peak": peak, **patch, "notes": [*notes, *_stated(options, figures)]}


def _stated(options: ScoreOptions, figures: dict[str, Any]) -> list[str]:
    """Return notes about the figures for the user."""
    dark, bright = figures["ratios_left_out"], figures.pop("delta_e_high", None)
    notes = []
    if dark:
        notes.append(f"{dark} true values are not above the floor: the relative figures leave them out")
    if figures["values"] and not figures["pixels"]:
        notes.append("no pixel has every channel in truth and prediction: there are no figures of spectra")
    if options.ssim and figures["ssim"] is None:
        notes.append("no structural similarity: no window of 11 x 11 pixels has every value, or the truth is constant")
    if bright is not None:
        notes.append(f"no colour difference: true values reach {bright:g}, and 1 is white; --peak says what white is")
    return notes


def _pieces(roi: Roi, predicted: ValueRaster) -> list[Roi]:
    """Return a region in pieces along stored objects of the prediction, several objects each if they are small."""
    height, width = predicted.layer.chunks[:2]
    return roi.cut(height, width * max(1, VALUES // (height * width * predicted.channels)))


def _pair(
    predicted: ValueRaster, true: ValueRaster, mask: ValueRaster | None, options: ScoreOptions, piece: Roi
) -> tuple[FieldPair, Excluded]:
    """Return the truth and the prediction of a piece, scaled, with NaN for pixels left out, and their number."""
    pair = np.empty((2, *piece.shape, true.channels), np.float32)
    for plane, source in zip(pair, (true, predicted), strict=True):  # one after the other: no third copy
        plane[...] = source.read(piece)
    outside = None if mask is None else ~chosen(mask, piece)
    several = pair.shape[3] > 1 and not options.keep_black
    black = (pair[0] == 0).all(axis=2) if several else None
    for left in (outside, black):
        if left is not None:
            pair[0, left] = np.nan
    if options.factor != 1.0:
        pair *= np.float32(options.factor)
    return pair, Excluded.of(outside, black)


def _check_channels(predicted: ValueRaster, true: ValueRaster) -> None:
    """Refuse numbers of channels, or wavelengths of bands, that differ."""
    if predicted.channels != true.channels:
        raise UserError(
            predicted.url,
            found=f"{predicted.channels} channels",
            expected=f"{true.channels}, as {true.layer.name if true.scene is None else 'the cube'} of {true.url} has",
            do="Name the truth of the same channels; --layer names one layer of a scene.",
        )
    axes = [field.axis for field in (true, predicted)]
    if all(axis is not None and axis.name in ("wavelength", "wavenumber") for axis in axes):
        ours, theirs = (Bands(count=true.channels, axis=axis) for axis in axes)
        same_bands(ours, theirs, predicted.url)
