"""Panel: a white panel in the scene gives the gain of each band, or of each column and band, from its own pixels.

    reflectance = (raw - dark) / mean(panel - dark) * panel reflectance

A panel across the whole width calibrates every detector element by its own column, as a white reference does. A panel
over some of the columns gives one gain for each band, because the illumination beside it is unknown.
"""

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.ingest.calibration.reference_panels import KnownReflectance, rectangle
from tilespec.ingest.calibration.white_dark import Calibration, Zero, repairs
from tilespec.ingest.readers.source import Source, lines_per_read, without_data


def panel_calibration(
    source: Source, text: str, reflectance: KnownReflectance, zero: Zero, *, repair: bool = True
) -> Calibration:
    """Return the calibration of a scene by a panel inside it.

    Args:
        source: The source of the scene.
        text: The rectangle of the panel, ``A:B,C:D``: rows, columns.
        reflectance: The reflectance of the panel.
        zero: The dark counts.
        repair: Whether to interpolate isolated dead elements, if the panel covers every column.

    Raises:
        UserError: the rectangle is not inside the scene; or the panel is nowhere brighter than dark, or saturated
            everywhere.
    """
    facts = source.facts
    roi = rectangle("--panel", text, facts.shape)
    whole = roi.shape[1] == facts.shape[1]
    bright, saturated = _mean(source, roi, zero.values)
    if not whole:
        count = np.isfinite(bright).sum(axis=0)
        total = np.nansum(bright, axis=0)
        light = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        bright = np.broadcast_to(light, zero.values.shape)
        saturated = np.broadcast_to(saturated.any(axis=0), zero.values.shape)
    with np.errstate(invalid="ignore"):
        alive = (bright > 0) & ~saturated & np.isfinite(reflectance.values) & ~zero.bad
    if not alive.any():
        raise UserError(
            "--panel",
            found=f"no light, or saturated counts, in every band of {roi}",
            expected="a panel brighter than dark, and a known reflectance, in some bands",
            do="Give another rectangle; check that --dark is the dark reference.",
        )
    gain = np.full(bright.shape, np.nan)
    np.divide(reflectance.values, bright, out=gain, where=alive)
    unlit = int((~alive).all(axis=0).sum())
    fix = repairs(np.where(alive.any(axis=0), alive, True) if repair else np.ones_like(alive))
    return Calibration(
        dark=zero.values.astype(np.float32),
        gain=gain.astype(np.float32),
        repair=fix,
        facts={
            "panel": str(roi),
            "panel_gain": "per column and band" if whole else "per band",
            "panel_reflectance": float(np.nanmean(reflectance.values)),
            "dead_elements": int((~alive).sum()),
            "repaired_elements": len(fix.x),
            "saturated_panel_elements": int(saturated.sum()),
            "bands_without_panel": unlit,
            **zero.facts,
        },
        notes=(*zero.notes, *reflectance.notes, *_notes(roi, facts.shape[1], unlit, int(saturated.all(axis=0).sum()))),
        files=(*reflectance.files, *zero.files),
    )


def _notes(roi: Roi, width: int, unlit: int, saturated: int) -> tuple[str, ...]:
    """Return notes about a panel for the user."""
    notes = []
    if roi.shape[1] < width:
        notes.append(
            f"the panel covers columns {roi.x0}:{roi.x1} of {width}: one gain a band for all columns, "
            "differences of light and of detector elements along the line stay"
        )
    if unlit:
        notes.append(f"{unlit} bands have no panel ({saturated} of them saturated): no data there")
    return tuple(notes)


def _mean(source: Source, roi: Roi, dark: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean counts minus dark of a rectangle for each column and band, and which of them are saturated."""
    facts = source.facts
    cols = slice(roi.x0, roi.x1)
    total, count = np.zeros((2, roi.shape[1], facts.shape[2]))
    saturated = np.zeros(total.shape, bool)
    step = lines_per_read(facts)
    for y0 in range(roi.y0, roi.y1, step):
        rows = source.read_rows(y0, min(y0 + step, roi.y1))[:, cols]
        hidden = without_data(rows, facts.nodata)
        if facts.dtype.kind == "f":
            hidden |= ~np.isfinite(rows)
        else:
            saturated |= ((rows == np.iinfo(facts.dtype).max) & ~hidden).any(axis=0)
        total += np.where(hidden, 0, rows).sum(axis=0, dtype=np.float64)
        count += (~hidden).sum(axis=0)
    light = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0) - dark[cols]
    return light, saturated
