"""White and dark calibration: counts to reflectance, for each detector element (column and band).

    reflectance = (raw - dark) / t_raw / ((white - dark) / t_white) * panel

A line camera images every line with the same row of detector elements, so references are means over their lines.
"""

import re
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from tilespec.errors import UserError
from tilespec.ingest.source import Facts, Source, lines_per_read
from tilespec.ingest.spectral import check_count, numbers
from tilespec.types import Cube

Element = Float32[np.ndarray, "x band"]

TIMES: Final = ("integration time", "integration time (ms)", "exposure time", "tint")
"""Header keys of the integration time in ms; ``tint`` is Specim's."""
RUN: Final = 3
"""Dead elements in a row along the bands that are still repaired: more would be invented."""


@final
@dataclass(frozen=True, kw_only=True)
class Repair:
    """Elements that are interpolated along the bands of the same pixel, sorted by column."""

    x: Int64[np.ndarray, " n"]
    """Column of each."""
    band: Int64[np.ndarray, " n"]
    """Band of each."""
    low: Int64[np.ndarray, " n"]
    """The living band below."""
    high: Int64[np.ndarray, " n"]
    """The living band above."""
    share: Float32[np.ndarray, " n"]
    """Weight of the band above."""


@final
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What turns counts into reflectance."""

    dark: tuple[Element, Element]
    """Counts without light; the same values twice, bands contiguous and columns contiguous in memory."""
    gain: tuple[Element, Element]
    """Reflectance for one count, NaN where the element is dead; twice, as ``dark``."""
    repair: Repair
    """Dead elements that are interpolated."""
    facts: dict[str, object]
    """Times, panel, numbers of dead and repaired elements: part of the product's provenance."""
    notes: tuple[str, ...]
    """What was assumed."""

    def apply(self, raw: Cube, cols: slice, out: Float32[np.ndarray, "y x band"]) -> None:
        """Write the reflectance of some columns into ``out``; NaN where an element is dead."""
        order = int(raw.strides[1] < raw.strides[2])  # operands of one memory order: 4 times the speed
        np.subtract(raw, self.dark[order][cols], out=out, casting="same_kind")
        np.multiply(out, self.gain[order][cols], out=out)

    def mend(self, cols: slice, out: Float32[np.ndarray, "y x band"]) -> None:
        """Interpolate the dead elements of some columns, in place."""
        fix = self.repair
        first, last = np.searchsorted(fix.x, [cols.start, cols.stop])
        if first < last:
            x, here = fix.x[first:last] - cols.start, slice(first, last)
            low, high = out[:, x, fix.low[here]], out[:, x, fix.high[here]]
            out[:, x, fix.band[here]] = low + (high - low) * fix.share[here]


def calibration(
    raw: Facts, white: Source, dark: Source | None, *, names: tuple[str, str], repair: bool = True
) -> Calibration:
    """Return the calibration of a scene by its references.

    Args:
        raw: The scene.
        white: Image of a white panel: any number of lines, the scene's columns and bands.
        dark: Image with the shutter closed; None: dark is 0.
        names: White and dark, for messages.
        repair: Interpolate isolated dead elements.

    Raises:
        UserError: a reference of another width or other bands; white nowhere brighter than dark.
    """
    for name, source in zip(names, (white, dark), strict=True):
        _check_wavelengths(name, raw, source)
    bright, saturated = mean_lines(names[0], raw, white)
    zero = np.zeros_like(bright) if dark is None else mean_lines(names[1], raw, dark)[0]
    alive = _alive(names[0], bright - zero, saturated)
    ratio, times, notes = _times(raw, white.facts, None if dark is None else dark.facts)
    panel, panel_notes = _panel(names[0], white.facts)
    gain = np.full(bright.shape, np.nan)
    np.divide(panel * ratio, bright - zero, out=gain, where=alive)
    fix = _repair(alive) if repair else _repair(np.ones_like(alive))
    facts = {
        **times,
        "panel_reflectance": float(np.mean(panel)),
        "dead_elements": int((~alive).sum()),
        "repaired_elements": len(fix.x),
        "saturated_white_elements": int(saturated.sum()),
    }
    return Calibration(
        dark=_both_orders(zero),
        gain=_both_orders(gain),
        repair=fix,
        facts=facts,
        notes=(*notes, *panel_notes),
    )


def _both_orders(values: Float64[np.ndarray, "x band"]) -> tuple[Element, Element]:
    """Return float32 values in both memory orders."""
    return values.astype(np.float32, order="C"), values.astype(np.float32, order="F")


def mean_lines(
    name: str, raw: Facts, reference: Source
) -> tuple[Float64[np.ndarray, "x band"], Bool[np.ndarray, "x band"]]:
    """Return the mean over the lines of a reference, and where any of its counts is saturated."""
    facts = reference.facts
    if facts.shape[1:] != raw.shape[1:]:
        raise UserError(
            name,
            found=f"{facts.shape[1]} columns x {facts.shape[2]} bands",
            expected=f"{raw.shape[1]} columns x {raw.shape[2]} bands, as the scene has",
            do="Give the reference that was taken with the same camera settings.",
        )
    total, saturated = np.zeros(facts.shape[1:]), np.zeros(facts.shape[1:], bool)
    step = lines_per_read(facts)
    for y0 in range(0, facts.shape[0], step):
        rows = reference.read_rows(y0, min(y0 + step, facts.shape[0]))
        total += rows.sum(axis=0, dtype=np.float64)
        if facts.dtype.kind in "iu":
            saturated |= (rows == np.iinfo(facts.dtype).max).any(axis=0)
    return total / facts.shape[0], saturated


def _alive(
    name: str, light: Float64[np.ndarray, "x band"], saturated: Bool[np.ndarray, "x band"]
) -> Bool[np.ndarray, "x band"]:
    """Return which elements see white brighter than dark; refuse references where none does."""
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
    """Refuse a reference whose wavelengths are those of other bands."""
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
    """Return the integration time in ms: a header key, or a line of HySpex's description; None when unknown."""
    texts = [facts.header[key] for key in TIMES if key in facts.header]
    found = re.search(r"integration time\s*[=:,]\s*([^\s,}]+)", facts.header.get("description", ""), re.IGNORECASE)
    for text in [*texts, found.group(1) if found else ""]:
        try:
            value = float(text.strip("{} ").split(",")[0].split()[0])
        except (ValueError, IndexError):
            continue
        if np.isfinite(value) and value > 0:
            return value
    return None


def _times(raw: Facts, white: Facts, dark: Facts | None) -> tuple[float, dict[str, object], tuple[str, ...]]:
    """Return white's integration time over the scene's, what was found, and notes."""
    t_raw, t_white = integration_time(raw), integration_time(white)
    t_dark = None if dark is None else integration_time(dark)
    facts: dict[str, object] = {"integration_time_ms": t_raw, "white_ms": t_white, "dark_ms": t_dark}
    notes = [] if dark is not None else ["no dark reference: dark counts are taken as 0"]
    if t_raw is None or t_white is None:
        notes.append("integration times are not in both headers: taken as equal")
        return 1.0, facts, tuple(notes)
    if t_dark is not None and t_dark not in (t_raw, t_white):
        notes.append(f"dark was taken with {t_dark:g} ms, the scene with {t_raw:g} ms: used as it is")
    return t_white / t_raw, facts, tuple(notes)


def _panel(name: str, white: Facts) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the panel's reflectance, one value or one for each band."""
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


def _repair(alive: Bool[np.ndarray, "x band"]) -> Repair:
    """Return how dead elements are interpolated: runs of at most `RUN` bands with living ones on both sides."""
    bands = np.arange(alive.shape[1])
    low = np.maximum.accumulate(np.where(alive, bands, -1), axis=1)
    high = np.minimum.accumulate(np.where(alive, bands, len(bands))[:, ::-1], axis=1)[:, ::-1]
    fixable = ~alive & (low >= 0) & (high < len(bands)) & (high - low <= RUN + 1)
    x, band = np.nonzero(fixable)
    below, above = low[x, band], high[x, band]
    share = ((band - below) / np.maximum(above - below, 1)).astype(np.float32)
    return Repair(x=x, band=band, low=below, high=above, share=share)
