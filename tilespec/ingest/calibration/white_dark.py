"""White and dark calibration: from counts to reflectance for each detector element (column and band).

    reflectance = (raw - dark) / t_raw / ((white - dark) / t_white) * panel

A line camera images every line with the same row of detector elements, so references are means over their lines.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from tilespec.core.errors import UserError
from tilespec.ingest.calibration.exposure import exposure_of, relative_light
from tilespec.ingest.readers.hyspex import detector
from tilespec.ingest.readers.source import Facts, Source, lines_per_read, without_data
from tilespec.ingest.readers.wavelengths import COMMA, check_count, decimal, numbers

Element = Float32[np.ndarray, "x band"]

LARGEST: Final = 1e15
"""The gain below which the reflectance of every integer is finite in float32."""
RUN: Final = 3
"""The largest number of adjacent dead elements along the bands that are interpolated."""


@final
@dataclass(frozen=True, kw_only=True)
class Repair:
    """Dead elements that are interpolated along the bands of the same pixel, sorted by column."""

    x: Int64[np.ndarray, " n"]
    """The column of each element."""
    band: Int64[np.ndarray, " n"]
    """The band of each element."""
    low: Int64[np.ndarray, " n"]
    """The nearest intact band below."""
    high: Int64[np.ndarray, " n"]
    """The nearest intact band above."""
    share: Float32[np.ndarray, " n"]
    """The weight of the band above."""


@final
@dataclass(frozen=True, kw_only=True)
class Terms:
    """The numbers of a calibration for some columns, in the memory order of the array that they are applied to."""

    dark: Element
    """The dark counts of each element."""
    gain: Element
    """The reflectance of one count; NaN for a dead element."""
    offset: Float32[np.ndarray, " band"] | None
    """The reflectance of zero counts; None means 0."""
    fix: Repair
    """The dead elements of these columns, with columns numbered from 0."""
    finite: bool
    """Whether every count has a finite reflectance after interpolation of dead elements."""

    def apply(self, raw: Shaped[np.ndarray, "_y x band"], out: Float32[np.ndarray, "_y x band"]) -> None:
        """Write reflectance into ``out``, with NaN for dead elements."""
        np.subtract(raw, self.dark, out=out, casting="same_kind")
        np.multiply(out, self.gain, out=out)
        if self.offset is not None:
            np.add(out, self.offset, out=out)

    def mend(self, out: Float32[np.ndarray, "_y x band"]) -> None:
        """Interpolate the dead elements in place."""
        fix = self.fix
        if len(fix.x):
            low, high = out[:, fix.x, fix.low], out[:, fix.x, fix.high]
            out[:, fix.x, fix.band] = low + (high - low) * fix.share


@final
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The calibration from counts to reflectance: ``(counts - dark) * gain + offset``."""

    dark: Element
    """The dark counts of each element."""
    gain: Element
    """The reflectance of one count; NaN for a dead element."""
    repair: Repair
    """The dead elements that are interpolated."""
    facts: dict[str, object]
    """The times, the panel and the numbers of dead and repaired elements, for the product's provenance."""
    notes: tuple[str, ...]
    """The assumptions that were made."""
    offset: Float32[np.ndarray, " band"] | None = None
    """The reflectance of zero counts; None means 0."""
    files: tuple[Path, ...] = ()
    """The files that decide the calibration, except the references' own."""

    def terms(self, cols: slice, along: tuple[int, int] = (2, 1)) -> Terms:
        """Return the terms of some columns, in the memory order of an array with strides ``along`` of x and band."""
        # operands in the same memory order are 4 times as fast
        order: Literal["C", "F"] = "F" if along[0] < along[1] else "C"
        fix = self.repair
        first, last = np.searchsorted(fix.x, [cols.start, cols.stop])
        part = {key: getattr(fix, key)[first:last] for key in ("band", "low", "high", "share")}
        with np.errstate(invalid="ignore"):
            lost = ~(np.abs(self.gain[cols]) < LARGEST)
        lost[fix.x[first:last] - cols.start, part["band"]] = False
        return Terms(
            finite=not lost.any(),
            dark=np.asarray(self.dark[cols], order=order),
            gain=np.asarray(self.gain[cols], order=order),
            offset=self.offset,
            fix=Repair(x=fix.x[first:last] - cols.start, **part),
        )


@final
@dataclass(frozen=True, kw_only=True)
class Zero:
    """The dark counts of a detector, and its list of bad elements."""

    values: Float64[np.ndarray, "x band"]
    """The dark counts of each element."""
    bad: Bool[np.ndarray, "x band"]
    """The elements on the camera's list of bad ones."""
    facts: dict[str, object]
    """The facts for the product's provenance."""
    notes: tuple[str, ...]
    """The assumptions that were made."""
    files: tuple[Path, ...] = ()
    """The files that decide the values."""


@final
@dataclass(frozen=True, kw_only=True)
class MeanLines:
    """The mean over the lines of a reference."""

    values: Float64[np.ndarray, "x band"]
    """The mean counts of each element; NaN for one without data."""
    saturated: Bool[np.ndarray, "x band"]
    """The elements with any saturated count."""
    notes: tuple[str, ...]
    """The lines that were left out."""


def zero_of(raw: Facts, dark: Source | None, name: str) -> Zero:
    """Return the dark counts of a file: from a dark reference, else from the camera, else 0.

    Args:
        raw: The source of the file: the scene, or its white reference.
        dark: The dark reference, if there is one.
        name: The name of the dark reference for messages.

    Raises:
        UserError: the dark reference has another width or other bands.
    """
    own = detector(raw)
    bad = np.zeros(raw.shape[1:], bool) if own is None else own.bad
    notes = () if own is None else own.notes
    facts: dict[str, object] = {} if own is None else {"listed_bad_elements": int(bad.sum())}
    if dark is not None:
        _check_wavelengths(name, raw, dark)
        means = mean_lines(name, raw, dark)
        unknown = np.isnan(means.values)
        values = np.where(unknown, 0.0, means.values)
        return Zero(values=values, bad=bad | means.saturated | unknown, facts=facts, notes=(*notes, *means.notes))
    if own is not None and own.dark is not None:
        return Zero(values=own.dark, bad=bad, facts={**facts, "dark": "of the camera"}, notes=notes)
    notes = (*notes, "no dark reference: dark counts are taken as 0")
    return Zero(values=np.zeros(raw.shape[1:]), bad=bad, facts=facts, notes=notes)


def calibration(
    raw: Facts, white: Source, dark: Source | None, *, names: tuple[str, str], repair: bool = True
) -> Calibration:
    """Return the calibration of a scene by its white and dark references.

    Args:
        raw: The source of the scene.
        white: The image of a white panel with any number of lines, and the scene's columns and bands.
        dark: The image with the shutter closed; None takes the camera's own dark frame, or 0.
        names: The names of white and dark for messages.
        repair: Whether to interpolate isolated dead elements.

    Raises:
        UserError: a reference has another width or other bands, or white is nowhere brighter than dark.
    """
    _check_wavelengths(names[0], raw, white)
    means = mean_lines(names[0], raw, white)
    bright, saturated = means.values, means.saturated
    zero = zero_of(raw, dark, names[1])
    shutter = zero.values if dark is not None else zero_of(white.facts, None, names[1]).values * _unit(white.facts, raw)
    light = bright - shutter
    alive = _alive(names[0], light, saturated) & ~zero.bad
    ratio, times, notes = _times(raw, white.facts, None if dark is None else dark.facts)
    panel, panel_notes = _panel(names[0], white.facts)
    gain = np.full(bright.shape, np.nan)
    np.divide(panel * ratio, light, out=gain, where=alive)
    fix = repairs(alive) if repair else repairs(np.ones_like(alive))
    facts = {
        **times,
        "panel_reflectance": float(np.mean(panel)),
        "dead_elements": int((~alive).sum()),
        "repaired_elements": len(fix.x),
        "saturated_white_elements": int(saturated.sum()),
        **zero.facts,
    }
    return Calibration(
        dark=zero.values.astype(np.float32),
        gain=gain.astype(np.float32),
        repair=fix,
        facts=facts,
        notes=(*means.notes, *zero.notes, *notes, *panel_notes),
    )


def mean_lines(name: str, raw: Facts, reference: Source) -> MeanLines:
    """Return the mean over the lines of a reference in the stored unit of the scene.

    Elements without data do not count, nor do lines in which every element has one and the same number: no detector
    writes these, but software fills gaps with them.
    """
    facts = reference.facts
    if facts.shape[1:] != raw.shape[1:]:
        raise UserError(
            name,
            found=f"{facts.shape[1]} columns x {facts.shape[2]} bands",
            expected=f"{raw.shape[1]} columns x {raw.shape[2]} bands, as the scene has",
            do="Give the reference that was taken with the same camera settings.",
        )
    total, count = np.zeros(facts.shape[1:]), np.zeros(facts.shape[1:], np.int64)
    saturated, top = np.zeros(facts.shape[1:], bool), np.iinfo(facts.dtype).max if facts.dtype.kind in "iu" else np.inf
    flat: list[float] = []
    gaps = 0
    step = min(lines_per_read(facts), 1 << 16)
    for y0 in range(0, facts.shape[0], step):
        rows = reference.read_rows(y0, min(y0 + step, facts.shape[0]))
        hidden = without_data(rows, facts.nodata)
        constant = _constant(rows) & ~hidden.all(axis=(1, 2))
        flat += rows[constant, 0, 0].tolist()
        gaps += int((hidden.any(axis=(1, 2))).sum())
        hidden[constant] = True
        total += np.where(hidden, 0, rows).sum(axis=0, dtype=np.float64)
        count += (~hidden).sum(axis=0)
        saturated |= ((rows == top) & ~hidden).any(axis=0)
    filled = len(flat)
    if filled and not count.any():  # a reference of constant lines alone, such as a simulated one, is one
        counts = [value for value in flat if 0 <= value < top] or flat
        total, count, filled = (
            np.full(count.shape, sum(counts)),
            np.full(count.shape, len(counts)),
            filled - len(counts),
        )
        saturated |= top in counts
    if not count.any():
        raise UserError(
            name,
            found="lines without data alone",
            expected="a reference of which some lines have data",
            do="Check its ignore value, and that it is the right file.",
        )
    texts = (
        (gaps, "lines with elements without data, which do not count"),
        (filled, "lines of one number are left out"),
    )
    return MeanLines(
        values=np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0) * _unit(facts, raw),
        saturated=saturated,
        notes=tuple(f"{name}: {lines} of {facts.shape[0]} {text}" for lines, text in texts if lines),
    )


def _constant(rows: Shaped[np.ndarray, "y x band"]) -> Bool[np.ndarray, " y"]:
    """Return which lines of several elements have one number in all of them."""
    if rows.shape[1] * rows.shape[2] < 2:
        return np.zeros(len(rows), bool)
    return np.asarray((rows == rows[:, :1, :1]).all(axis=(1, 2)))


def _unit(reference: Facts, raw: Facts) -> float:
    """Return the stored units of the scene in one stored unit of a reference."""
    return reference.scale / raw.scale


def _alive(
    name: str, light: Float64[np.ndarray, "x band"], saturated: Bool[np.ndarray, "x band"]
) -> Bool[np.ndarray, "x band"]:
    """Return which elements are brighter in white than in dark; refuse references without any such element."""
    with np.errstate(invalid="ignore"):
        alive: np.ndarray = (light > 0) & ~saturated
    if not alive.any():
        raise UserError(
            name,
            found="a white reference that is nowhere brighter than the dark one (or saturated)",
            expected="white > dark",
            do="Check that --white and --dark are not the same file and not swapped.",
        )
    return alive


def _check_wavelengths(name: str, raw: Facts, reference: Source | None) -> None:
    """Refuse a reference whose wavelengths differ from those of the scene."""
    theirs = None if reference is None else reference.facts.spectral
    ours = raw.spectral
    if ours is None or theirs is None or ours.unit != theirs.unit or len(ours.values) != len(theirs.values):
        return
    shift = np.abs(np.subtract(ours.values, theirs.values))
    if len(shift) > 1 and shift.max() > np.median(np.abs(np.diff(ours.values))):
        band = int(shift.argmax())
        raise UserError(
            f"{name}: wavelength",
            found=f"{theirs.values[band]:g} {theirs.unit} for band {band}",
            expected=f"{ours.values[band]:g}, as the scene has, within one band",
            do="Give the reference that was taken with the same camera settings.",
        )


def _times(raw: Facts, white: Facts, dark: Facts | None) -> tuple[float, dict[str, object], tuple[str, ...]]:
    """Return white's exposure divided by the scene's, the times, and notes."""
    ratio, notes = relative_light(raw, white)
    t_raw, t_white, t_dark = (None if one is None else exposure_of(one).time for one in (raw, white, dark))
    facts: dict[str, object] = {"integration_time_ms": t_raw, "white_ms": t_white, "dark_ms": t_dark}
    if None not in (t_raw, t_white, t_dark) and t_dark not in (t_raw, t_white):
        notes = (*notes, f"dark was taken with {t_dark:g} ms, the scene with {t_raw:g} ms: used as it is")
    return ratio, facts, notes


def _panel(name: str, white: Facts) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the panel's reflectance as one value, or as one for each band."""
    text = white.header.get("panel reflectance", "").strip("{} ")
    if not text:
        return np.array(1.0), ("no 'panel reflectance' in the white header: taken as 1",)
    single = COMMA.fullmatch(text) is not None and white.shape[2] != 2
    values = (decimal(text),) if single else numbers(f"{name}: panel reflectance", text.replace("\n", " "))
    if len(values) > 1:
        check_count(f"{name}: panel reflectance", values, white.shape[2])
    if not all(0 < value <= 1.2 for value in values):
        raise UserError(
            f"{name}: panel reflectance",
            found=f"{min(values):g} to {max(values):g}",
            expected="reflectance between 0 and 1",
            do="Divide percent by 100.",
        )
    return np.asarray(values if len(values) > 1 else values[0]), ()


def repairs(alive: Bool[np.ndarray, "x band"]) -> Repair:
    """Return the interpolation of dead elements: runs of at most `RUN` bands between intact ones."""
    bands = np.arange(alive.shape[1])
    low = np.maximum.accumulate(np.where(alive, bands, -1), axis=1)
    high = np.minimum.accumulate(np.where(alive, bands, len(bands))[:, ::-1], axis=1)[:, ::-1]
    fixable = ~alive & (low >= 0) & (high < len(bands)) & (high - low <= RUN + 1)
    x, band = np.nonzero(fixable)
    below, above = low[x, band], high[x, band]
    share = ((band - below) / np.maximum(above - below, 1)).astype(np.float32)
    return Repair(x=x, band=band, low=below, high=above, share=share)
