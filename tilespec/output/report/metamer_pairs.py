"""Metamers: the two pixels of a truth with nearly one colour and the most different spectra, and their predictions."""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.output.report import plots
from tilespec.output.report.page_parts import Key, Picture, Row
from tilespec.output.report.reconstructed import ReconstructionSet
from tilespec.spectra.colour.lab import ciede2000
from tilespec.spectra.colour.observer import Observer

ALIKE: Final = 1.0
"""The CIEDE2000 difference that is hardly visible."""
DARK: Final = 10.0
"""The lightness below which differences of spectra are noise."""
WHITE: Final = 2.0
"""The largest value of reflectance; if there are larger values, the largest is white."""


@final
@dataclass(frozen=True, kw_only=True)
class MetamerPair:
    """Two pixels with nearly the same colour."""

    places: tuple[tuple[int, int], tuple[int, int]]
    """The row and the column of each pixel in the scene."""
    delta_e: float
    """The CIEDE2000 difference of their colours."""
    apart: float
    """The root mean square difference of their spectra, divided by the root mean square of both."""


def metamer_pair(reconstructions: ReconstructionSet) -> MetamerPair | None:
    """Return the pair of sampled pixels of nearly one colour whose spectra differ most; None without such a pair.

    Colours are those of reflectance under D65 for the 10-degree observer. The result is also None if the wavelengths do
    not cover the visible range, or colour-science is not installed.
    """
    axis, spectra = reconstructions.truth.axis, reconstructions.sample.astype(np.float64)
    if axis is None or axis.name != "wavelength" or len(spectra) < 2:
        return None
    try:
        observer = Observer.at(axis.values)
    except UserError:
        return None
    top = float(spectra.max())
    colours = observer.lab(spectra / (top if top > WHITE else 1.0))
    one, other = _alike(colours)
    if not len(one):
        return None
    apart = np.sqrt(np.square(spectra[one] - spectra[other]).mean(axis=1))
    apart /= np.sqrt((np.square(spectra[one]).mean(axis=1) + np.square(spectra[other]).mean(axis=1)) / 2)
    best = int(apart.argmax())
    pair = int(one[best]), int(other[best])
    delta = ciede2000(colours[pair[0]][None], colours[pair[1]][None])
    return MetamerPair(
        places=(reconstructions.places[pair[0]], reconstructions.places[pair[1]]),
        delta_e=float(delta[0]),
        apart=float(apart[best]),
    )


def of_metamers(reconstructions: ReconstructionSet) -> list[Row]:
    """Return the spectra of such a pair, true and predicted by each method."""
    pair = metamer_pair(reconstructions)
    if pair is None:
        return []
    spectra = [reconstructions.spectra(*place) for place in pair.places]
    values = np.concatenate([np.ravel(curve) for curves in spectra for curve in curves])
    top = float(np.nanmax(values)) * 1.05
    pictures = tuple(
        Picture(
            source=plots.compared(reconstructions.truth.axis, truth, predicted, top=top),
            title=f"row {y}, column {x}",
            caption="",
            plot=True,
        )
        for (y, x), (truth, *predicted) in zip(pair.places, spectra, strict=True)
    )
    note = (
        f"ΔE00 {pair.delta_e:.2f} between them, yet the true spectra differ by {100 * pair.apart:.0f} %; of "
        f"{len(reconstructions.sample)} pixels the pair that differs most"
    )
    keys = [Key.of(plots.INK, "truth")]
    keys += [
        Key.of(plots.COLOURS[i % len(plots.COLOURS)], one.run.name)
        for i, one in enumerate(reconstructions.reconstructions)
    ]
    return [Row(pictures=pictures, title="Two pixels of nearly one colour", note=note, legend=tuple(keys))]


def _alike(
    colours: Float64[np.ndarray, "pixel 3"],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of pixels whose colours hardly differ, without dark ones."""
    near = np.abs(colours[:, None] - colours[None]).max(axis=2) < 3 * ALIKE  # a fast and wider condition
    light = colours[:, 0] >= DARK
    one, other = np.nonzero(np.triu(near & light[:, None] & light[None], 1))
    if not len(one):
        return one, other
    keep = ciede2000(colours[one], colours[other]) < ALIKE
    return one[keep], other[keep]
