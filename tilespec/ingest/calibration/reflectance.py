"""Reflectance: the calibration from counts to reflectance that a request names, and its reference files."""

from dataclasses import replace
from pathlib import Path

from tilespec.core.errors import UserError
from tilespec.ingest.calibration.empirical_line import line_calibration, nothing_before
from tilespec.ingest.calibration.panel import panel_calibration
from tilespec.ingest.calibration.reference_panels import known, read_targets
from tilespec.ingest.calibration.white_dark import Calibration, calibration, zero_of
from tilespec.ingest.readers.reader_table import open_source
from tilespec.ingest.readers.source import Options, Source


def reflectance(  # noqa: PLR0913 - the verb's options, all by name
    source: Source,
    *,
    white: str | None = None,
    dark: str | None = None,
    panel: str | None = None,
    panel_reflectance: str | None = None,
    targets: str | None = None,
    repair: bool = True,
) -> tuple[Calibration | None, tuple[Source, ...]]:
    """Return the calibration of a scene, or None when values do not change, and its reference sources.

    Args:
        source: The source of the scene.
        white: The white reference.
        dark: The dark reference for white, panel or targets.
        panel: The rectangle of a white panel in the scene.
        panel_reflectance: The reflectance of the panel: a number, or a text file of wavelength and reflectance.
        targets: The CSV file of targets for the empirical line, after white or alone.
        repair: Whether to interpolate isolated dead elements.

    Raises:
        UserError: options exclude each other, or a file or a rectangle that they name is invalid.
    """
    _check(white, dark, panel, panel_reflectance, targets)
    if white is None and panel is None and targets is None:
        return None, ()
    options = Options(kind="reference")
    black = None if dark is None else open_source(dark, options)
    bright = None if white is None else open_source(white, options)
    base: Calibration
    if bright is not None:
        base = calibration(source.facts, bright, black, names=(str(white), dark or ""), repair=repair)
    elif panel is not None:
        flat = known("--panel-reflectance", panel_reflectance or "1", source.facts)
        assumed = () if panel_reflectance else ("no --panel-reflectance: taken as 1",)
        base = panel_calibration(source, panel, flat, zero_of(source.facts, black, dark or ""), repair=repair)
        base = replace(base, notes=(*base.notes, *assumed))
    else:
        base = nothing_before(source.facts, zero_of(source.facts, black, dark or ""), repair=repair)
    if targets is not None:
        base = line_calibration(source, read_targets(Path(targets), source.facts), base)
        base = replace(base, files=(*base.files, Path(targets)))
    return base, tuple(reference for reference in (bright, black) if reference is not None)


def _check(
    white: str | None, dark: str | None, panel: str | None, panel_reflectance: str | None, targets: str | None
) -> None:
    """Refuse options that exclude each other, or that have no effect alone."""
    if panel is not None and (white is not None or targets is not None):
        raise UserError(
            "--panel",
            found=f"a panel beside {'--white' if white is not None else '--targets'}",
            expected="one source of the gain",
            do="Give --panel alone; a panel among targets is a line of the targets' file.",
        )
    if panel_reflectance is not None and panel is None:
        raise UserError(
            "--panel-reflectance",
            found="no panel",
            expected="--panel A:B,C:D beside it",
            do="A white reference has its reflectance in its header, 'panel reflectance'.",
        )
    if dark is not None and white is None and panel is None and targets is None:
        raise UserError("--dark", found="a dark reference alone", expected="white and dark", do="Give --white too.")
