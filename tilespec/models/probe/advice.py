"""Advice: sentences for the user that follow from the measurements."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tilespec.core.types import TileClass
from tilespec.models.probe.receptive_field import TOLERANCE, Measurement

WIDE = 2
"""The excess of a declared halo over the needed one, in alignments, from which it is mentioned."""


def governing(declared: TileClass | None, measured: Measurement | None) -> TileClass:
    """Return the tile class for planning: the declared one unless the measured one contradicts it."""
    if measured is None:
        return declared or TileClass(kind="approximate")
    return declared if declared is not None and agrees(declared, measured) else measured.tile_class


def agrees(declared: TileClass | None, measured: Measurement | None) -> bool | None:
    """Return whether a declared class is correct; None when no class is declared or measured.

    An approximate class is always correct, because it claims no equality.
    """
    if declared is None or measured is None:
        return None
    if declared.kind == "approximate":
        return True
    reach, error = measured.reach, measured.tile_error
    if reach is None or (error is not None and error > TOLERANCE):
        return False
    return reach.halo <= declared.halo and declared.align % measured.line.align == 0


def notes(report: Mapping[str, Any], trained: int | None) -> list[str]:
    """Return sentences about a probe's report for the user.

    Args:
        report: The report from `tilespec.models.probe.probe.probe`.
        trained: The side in pixels of the patches that the net was trained on.
    """
    return [sentence for about in ABOUT for sentence in about(report, trained)]


def _about_class(report: Mapping[str, Any], _: int | None) -> Iterator[str]:
    declared, measured, field = report["declared"], report["measured"], report["receptive_field"]
    if field is None:
        yield "The net takes inputs of one size only, so its reach could not be measured: predict with that tile."
        return
    if field["lower_bound"]:
        yield (
            "The net hides NaN (it compares or takes a maximum): its reach was tried with random changes and is a "
            "lower bound. Rely on the declared tile class if it is wider."
        )
    if declared is None:
        yield f"The net declares no tile_class; it was measured to be {_text(measured)}. Add `tile_class` to it."
    elif report["agrees"] is False:
        yield (
            f"The net declares {_text(declared)} but is {_text(measured)}: tiles will not equal the scene. Correct its "
            "`tile_class` before predicting."
        )
    elif declared["kind"] == "approximate" and measured["kind"] != "approximate" and not field["lower_bound"]:
        yield (f"The net declares approximate but is {_text(measured)}: declare that, and overlap is no longer needed.")
    elif declared["kind"] == "exact" and declared["halo"] >= field["halo"] + WIDE * measured["align"]:
        yield f"The declared halo of {declared['halo']} pixels is wider than the {field['halo']} that are needed."


def _about_layers(report: Mapping[str, Any], trained: int | None) -> Iterator[str]:
    layers, norms = report["global_layers"], report["spatial_norms"]
    if layers:
        names = ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
        yield f"Every output pixel depends on the whole tile, through {names}."
    if norms:
        size = f"tiles of {trained} pixels, as it was trained" if trained else "tiles of the size it was trained on"
        yield (
            f"{len(norms)} norms take their statistics from the tile: predict with --norm frozen, which takes those of "
            f"the scene, or with {size}. Judge by accuracy: blending hides the seams of such nets, not their errors."
        )
    elif layers:
        yield "Predict with tiles of the size that the net was trained on, and overlap them by half."
    if report["random_layers"]:
        yield (
            f"{', '.join(report['random_layers'])} drop values at prediction too: each tile draws a mask of its "
            "own, so tiles differ where they overlap. The masks are seeded by the tile's number and repeat."
        )


def _about_tiles(report: Mapping[str, Any], _: int | None) -> Iterator[str]:
    best, effective = report["recommended"], report["effective"]
    if best["met"]:
        yield (
            f"Recommended: --tile {best['tile']} --overlap {best['overlap']}, {best['work']:.2f} times the network "
            f"work of bare tiles; expected error {best['error']:.2g} (rms)."
        )
    elif best["error"] is not None:
        yield (
            f"No overlap up to half a tile brings the error below {report['tolerance']:g} (rms): at best "
            f"{best['error']:.2g} with --overlap {best['overlap']}. Larger tiles"
            f"{', or --norm frozen,' if report['spatial_norms'] else ''} bring it down further."
        )
    elif not report["seams"]:
        yield (
            f"Seams were not measured, since the net sees everything, or changes the size: half a tile of overlap "
            f"(--overlap {best['overlap']}) is usual."
        )
    if best["error"] and effective is not None and 2 * effective["95"] >= report["tile"]:
        yield (
            f"95 % of what moves a pixel lies within {effective['95']:.0f} pixels: tiles of {report['tile']} pixels "
            "hold that at their centre only."
        )


def _about_bits(report: Mapping[str, Any], _: int | None) -> Iterator[str]:
    same = report["determinism"]
    if not same["repeated"]:
        yield "The net answers differently each time: predictions cannot be repeated. Seed or remove what is random."
        return
    if not same["neighbours"]:
        yield "A tile's answer depends on the other tiles of its batch: the net must be in evaluation mode."
    if not (same["order"] and same.get("batch_sizes", True)):
        yield "Bits depend on the batch that a tile is in: predict keeps to canonical batches, which it does by itself."
    if not same["threads"]:
        yield "Bits depend on the number of torch's threads: keep it the same wherever equal bytes matter."


ABOUT: tuple[Callable[[Mapping[str, Any], int | None], Iterator[str]], ...] = (
    _about_class,
    _about_layers,
    _about_tiles,
    _about_bits,
)


def _text(tile_class: Mapping[str, Any]) -> str:
    """Return a description of a tile class."""
    if tile_class["kind"] != "exact":
        return f"{tile_class['kind']}"
    return f"exact with halo {tile_class['halo']} and alignment {tile_class['align']}"
