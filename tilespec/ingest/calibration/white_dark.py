"""White and dark calibration: from counts to reflectance for each detector element (column and band).

    reflectance = (raw - dark) / t_raw / ((white - dark) / t_white) * panel

A line camera images every line with the same row of detector elements, so references are means over their lines.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from tilespec.core.errors import UserError
from tilespec.ingest.readers.hyspex import detector
from tilespec.ingest.readers.source import Facts, Source, lines_per_read
from tilespec.ingest.readers.wavelengths import check_count, numbers

Element = Float32[np.ndarray, "x band"]

TIMES: Final = ("integration time", "integration time (ms)", "exposure time", "tint")
"""The header keys of the integration time in ms; ``tint`` is Specim's."""
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
        return Zero(values=mean_lines(name, raw, dark)[0], bad=bad, facts=facts, notes=notes)
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
    bright, saturated = mean_lines(names[0], raw, white)
    zero = zero_of(raw, dark, names[1])
    light = bright - (zero if dark is not None else zero_of(white.facts, None, names[1])).values
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
        notes=(*zero.notes, *notes, *panel_notes),
    )


def mean_lines(
    name: str, raw: Facts, reference: Source
) -> tuple[Float64[np.ndarray, "x band"], Bool[np.ndarray, "x band"]]:
    """Return the mean over the lines of a reference, ``x band``, and which elements have any saturated count."""
    facts = reference.facts
    if facts.shape[1:] != raw.shape[1:]:
        raise UserError(
            name,
            found=f"{facts.shape[1]} columns x {facts.shape[2]} bands",
            expected=f"{raw.shape[1]} columns x {raw.shape[2]} bands, as the scene has",
            do="Give the reference that was taken with the same camera settings.",
        )
    total, saturated = np.zeros(facts.shape[1:]), np.zeros(facts.shape[1:], bool)
    small = facts.dtype.kind == "u" and facts.dtype.itemsize <= 2  # sums of few lines are exact, and cheaper
    step = min(lines_per_read(facts), 1 << 16)
    for y0 in range(0, facts.shape[0], step):
        rows = reference.read_rows(y0, min(y0 + step, facts.shape[0]))
        total += rows.sum(axis=0, dtype=np.uint32 if small else np.float64)
        if facts.dtype.kind in "iu":
            saturated |= rows.max(axis=0) == np.iinfo(facts.dtype).max
    return total / facts.shape[0], saturated


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


def integration_time(facts: Facts) -> float | None:
    """Return the integration time in ms from a header key, or from HySpex's description; None when unknown."""
    texts = [facts.header[key] for key in TIMES if key in facts.header]
    match = re.search(r"integration time\s*[=:,]\s*([^\s,}]+)", facts.header.get("description", ""), re.IGNORECASE)
    for text in [*texts, match.group(1) if match else ""]:
        try:
            value = float(text.strip("{} ").split(",")[0].split()[0])
        except (ValueError, IndexError):
            continue
        if np.isfinite(value) and value > 0:
            return value
    return None


def _times(raw: Facts, white: Facts, dark: Facts | None) -> tuple[float, dict[str, object], tuple[str, ...]]:
    """Return white's integration time divided by the scene's, the two times, and notes."""
    t_raw, t_white = integration_time(raw), integration_time(white)
    t_dark = None if dark is None else integration_time(dark)
    facts: dict[str, object] = {"integration_time_ms": t_raw, "white_ms": t_white, "dark_ms": t_dark}
    notes = []
    if t_raw is None or t_white is None:
        notes.append("integration times are not in both headers: taken as equal")
        return 1.0, facts, tuple(notes)
    if t_dark is not None and t_dark not in (t_raw, t_white):
        notes.append(f"dark was taken with {t_dark:g} ms, the scene with {t_raw:g} ms: used as it is")
    return t_white / t_raw, facts, tuple(notes)


def _panel(name: str, white: Facts) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the panel's reflectance as one value, or as one for each band."""
    text = white.header.get("panel reflectance", "").strip("{} ")
    if not text:
        return np.array(1.0), ("no 'panel reflectance' in the white header: taken as 1",)
    values = numbers(f"{name}: panel reflectance", text.replace("\n", " "))
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
