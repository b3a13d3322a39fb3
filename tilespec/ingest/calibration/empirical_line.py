"""Empirical line: gain and offset of each band from targets of known reflectance (Smith & Milton 1999).

    reflectance = gain * value + offset, by least squares over the means of the targets

A value is that of the scene: counts, counts minus dark, radiance, or reflectance by a white reference. One
target gives the gain alone. A band whose targets differ by no more than noise has no line and no data.

G. M. Smith, E. J. Milton: The use of the empirical line method to calibrate remotely sensed data to reflectance.
International Journal of Remote Sensing 20 (1999) 2653-2662.
"""

from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float64

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.ingest.calibration.reference_panels import ReferencePanel
from tilespec.ingest.calibration.white_dark import Calibration, Zero, repairs
from tilespec.ingest.readers.source import Facts, Source, lines_per_read, without_data

ERRORS: Final = 3.0
"""The smallest difference of the darkest and the brightest target of a band, in standard errors."""


@final
@dataclass(frozen=True, kw_only=True)
class EmpiricalLine:
    """The gain and the offset of each band, and the quality of the fit."""

    gain: Float64[np.ndarray, " band"]
    """The reflectance of one unit of the value; NaN without contrast."""
    offset: Float64[np.ndarray, " band"]
    """The reflectance at the value 0; 0 for one target."""
    residual: Float64[np.ndarray, " band"]
    """The root mean squared residual over the targets in reflectance; NaN without contrast."""
    used: Bool[np.ndarray, "target band"]
    """Whether each target was used in each band: it has no saturation, but data and a known reflectance."""


def empirical_line(
    means: Float64[np.ndarray, "target band"],
    errors: Float64[np.ndarray, "target band"],
    reflectances: Float64[np.ndarray, "target band"],
) -> EmpiricalLine:
    """Return the line of each band.

    Args:
        means: The mean value of each target, ``target band``; NaN for a target that cannot be used.
        errors: The standard error of each mean.
        reflectances: The reflectance of each target, ``target band``; NaN if unknown.

    With one target the line goes through the origin. A band has no line if its targets differ by less than `ERRORS`
    standard errors, if brighter targets have lower values, or if only one of several targets can be used.
    """
    used = np.isfinite(means) & np.isfinite(reflectances)
    x, y = np.where(used, means, 0.0), np.where(used, reflectances, 0.0)
    if len(means) == 1:
        good = used[0] & (x[0] > ERRORS * np.nan_to_num(errors[0]))
        gain = np.divide(y[0], x[0], out=np.full(good.shape, np.nan), where=good)
        return EmpiricalLine(
            gain=gain, offset=np.where(good, 0.0, np.nan), residual=np.where(good, 0.0, np.nan), used=used
        )
    count = used.sum(axis=0)
    share = np.where(count > 0, 1.0 / np.maximum(count, 1), np.nan)
    mx, my = x.sum(axis=0) * share, y.sum(axis=0) * share
    dx, dy = np.where(used, x - mx, 0.0), np.where(used, y - my, 0.0)
    sxx, sxy = (dx * dx).sum(axis=0), (dx * dy).sum(axis=0)
    good = (count >= 2) & _contrast(means, errors, used) & (sxy > 0)
    gain = np.divide(sxy, sxx, out=np.full(good.shape, np.nan), where=good)
    offset = my - gain * mx
    squares = np.where(used, y - gain * x - offset, 0.0) ** 2
    return EmpiricalLine(gain=gain, offset=offset, residual=np.sqrt(squares.sum(axis=0) * share), used=used)


def _contrast(
    means: Float64[np.ndarray, "target band"],
    errors: Float64[np.ndarray, "target band"],
    used: Bool[np.ndarray, "target band"],
) -> Bool[np.ndarray, " band"]:
    """Return the bands in which the darkest and the brightest target differ by more than noise."""
    low, high = np.where(used, means, np.inf), np.where(used, means, -np.inf)
    bands = np.arange(means.shape[1])
    ends = [np.nan_to_num(errors[which, bands]) for which in (low.argmin(axis=0), high.argmax(axis=0))]
    contrast: np.ndarray = (high.max(axis=0) - low.min(axis=0)) > ERRORS * np.hypot(*ends)
    return contrast


def line_calibration(source: Source, targets: tuple[ReferencePanel, ...], base: Calibration) -> Calibration:
    """Return ``base`` followed by the empirical line of targets in the scene.

    Args:
        source: The source of the scene.
        targets: The targets of known reflectance in the scene.
        base: The calibration before the line: dark and white, or neither.

    Raises:
        UserError: no band has contrast.
    """
    bands = source.facts.shape[2]
    measured = [_measure(source, target.roi, base) for target in targets]
    reflectances = np.array([target.known.values for target in targets]).reshape(-1, bands)
    line = empirical_line(np.array([m for m, _ in measured]), np.array([e for _, e in measured]), reflectances)
    flat = np.isnan(line.gain)
    if flat.all():
        raise UserError(
            "--targets",
            found="targets that do not differ (or saturate, or have no data) in any band",
            expected="dark and bright targets, the brighter ones with the higher reflectance",
            do="Check rectangles (rows, then columns) and reflectances.",
        )
    return replace(
        base,
        gain=(base.gain * line.gain).astype(np.float32),
        offset=None if len(targets) == 1 else line.offset.astype(np.float32),
        facts={**base.facts, "empirical_line": _facts(targets, line)},
        notes=(*base.notes, *(note for target in targets for note in target.known.notes), *_notes(targets, line)),
        files=(*base.files, *(path for target in targets for path in target.known.files)),
    )


def nothing_before(facts: Facts, zero: Zero, *, repair: bool) -> Calibration:
    """Return the calibration that only subtracts dark counts; elements on the list of bad ones are dead."""
    alive = ~zero.bad
    fix = repairs(alive if repair else np.ones_like(alive))
    return Calibration(
        dark=zero.values.astype(np.float32),
        gain=np.where(alive, 1.0, np.nan).astype(np.float32).reshape(facts.shape[1:]),
        repair=fix,
        facts={"dead_elements": int((~alive).sum()), "repaired_elements": len(fix.x), **zero.facts},
        notes=(),
        files=zero.files,
    )


def _measure(source: Source, roi: Roi, base: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard error of each band over a rectangle; NaN if any count of it is saturated."""
    facts, cols = source.facts, slice(roi.x0, roi.x1)
    shift: np.ndarray | None = None
    total, squares, count = np.zeros((3, facts.shape[2]))
    saturated = np.zeros(facts.shape[2], bool)
    step = lines_per_read(facts)
    for y0 in range(roi.y0, roi.y1, step):
        raw = source.read_rows(y0, min(y0 + step, roi.y1))[:, cols]
        values = (raw.astype(np.float64) - base.dark[cols]) * base.gain[cols]
        hidden = without_data(raw, facts.nodata)
        if facts.dtype.kind in "iu":
            saturated |= ((raw == np.iinfo(facts.dtype).max) & ~hidden).any(axis=(0, 1))
        valid = np.isfinite(values) & ~hidden
        if shift is None:
            shift = np.where(valid, values, 0.0).sum(axis=(0, 1)) / np.maximum(valid.sum(axis=(0, 1)), 1)
        part = np.where(valid, values - shift, 0.0)
        total += part.sum(axis=(0, 1))
        squares += (part * part).sum(axis=(0, 1))
        count += valid.sum(axis=(0, 1))
    none = (count == 0) | saturated
    divisor = np.maximum(count, 1)
    variance = np.maximum(squares - total * total / divisor, 0.0) / np.maximum(count - 1, 1)
    mean = np.where(none, np.nan, total / divisor + (0.0 if shift is None else shift))
    return mean, np.where(none, np.nan, np.sqrt(variance / divisor))


def _facts(targets: tuple[ReferencePanel, ...], line: EmpiricalLine) -> dict[str, object]:
    """Return the fit as plain data, with None for a band without a line."""
    return {
        "targets": [f"{target.name} ({target.roi})" for target in targets],
        "bands_without_contrast": np.flatnonzero(np.isnan(line.gain)).tolist(),
        **{
            name: [None if np.isnan(value) else float(value) for value in getattr(line, name)]
            for name in ("gain", "offset", "residual")
        },
    }


def _notes(targets: tuple[ReferencePanel, ...], line: EmpiricalLine) -> tuple[str, ...]:
    """Return notes about the fit for the user."""
    notes = []
    flat = np.flatnonzero(np.isnan(line.gain))
    if len(flat):
        shown = ", ".join(map(str, flat[:8])) + (", ..." if len(flat) > 8 else "")
        notes.append(f"{len(flat)} bands have no contrast between the targets ({shown}): no data there")
    for target, used in zip(targets, line.used, strict=True):
        if not used.all():
            notes.append(f"target {target.name}: saturated, without data or unknown in {int((~used).sum())} bands")
    if len(targets) == 1:
        notes.append("one target: gain alone, the offset (haze, stray light) is taken as 0")
    elif len(targets) == 2:
        notes.append("two targets: the line goes through both, residuals say nothing")
    else:
        notes.append(f"largest residual of the empirical line: {float(np.nanmax(line.residual)):.4f} reflectance")
    return tuple(notes)
