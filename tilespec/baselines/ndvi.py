"""NDVI: a threshold on the vegetation index, fixed or Otsu's, for reflectance and never for normalised spectra."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.passes import reduce_scene
from tilespec.spectra.statistics import Histogram
from tilespec.storage.blocks import blocks
from tilespec.storage.scene import Scene

RED, NIR = 670.0, 800.0
"""The wavelengths in nm at which chlorophyll absorbs and leaf tissue reflects."""
NEAR = 20.0
"""The largest distance in nm of a band from these wavelengths."""
BINS = 2000
"""The number of bins of the histogram from -1 to 1; a width of 0.001 is finer than published thresholds."""
CLASSES = ("background", "plant")


@final
class Fixed:
    """NDVI above a threshold from the user."""

    STEPS: ClassVar[str | None] = None
    USES: ClassVar[tuple[str, ...]] = ("threshold",)

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the net with the given threshold."""
        return _fitted(on.scene, on.options.threshold, {})


@final
class Otsu:
    """NDVI above Otsu's threshold of the region."""

    STEPS: ClassVar[str | None] = None
    USES: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the net with the threshold from one pass over the region."""
        red, nir = bands(on.scene)
        histogram = reduce_scene(
            blocks(on.scene, on.roi),
            (Ratio(red=red, nir=nir),),
            Histogram.zero(-1.0, 1.0, BINS),
            client=on.client,
            progress=on.progress,
        )
        pixels = int(histogram.counts.sum())
        if not pixels:
            raise UserError(on.scene.url, found="no valid pixel", expected="a region with data", do="Choose another.")
        return _fitted(on.scene, histogram.finish(), {"pixels": pixels, "invalid_pixels": histogram.invalid})


@final
@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The normalised difference of two bands, as an operator."""

    name: ClassVar[str] = "ratio"
    red: int
    """The index of the red band."""
    nir: int
    """The index of the near-infrared band."""

    def apply(self, x: Any) -> Any:
        """Return NDVI as the only band, NaN for 0/0."""
        red, nir = x[:, self.red, None], x[:, self.nir, None]
        with np.errstate(divide="ignore"):
            return (nir - red) / (nir + red)

    def out(self, bands: Bands) -> Bands:
        """Return the axis of one band."""
        del bands
        return Bands(count=1, axis=None)


def bands(scene: Scene) -> tuple[int, int]:
    """Return the indices of the red and the near-infrared band.

    Raises:
        UserError: the scene has no wavelengths, or none within `NEAR` of 670 and of 800 nm.
    """
    axis = scene.spectral
    if axis is None or axis.name != "wavelength" or axis.unit != "nm":
        raise UserError(
            scene.url,
            found="no spectral axis" if axis is None else f"bands by {axis.name} in {axis.unit}",
            expected="wavelengths in nm, to find 670 and 800 nm",
            do="Ingest the scene with --wavelengths FILE.",
        )
    indices = axis.nearest(RED), axis.nearest(NIR)
    for index, wanted in zip(indices, (RED, NIR), strict=True):
        if abs(axis.values[index] - wanted) > NEAR:
            raise UserError(
                scene.url,
                found=f"{axis.values[index]:g} nm as the band nearest to {wanted:g} nm",
                expected=f"a band within {NEAR:g} nm",
                do="NDVI needs red and near infrared; use plsda or mlp for this sensor.",
            )
    return indices


def _fitted(scene: Scene, threshold: float, facts: dict[str, Any]) -> FittedBaseline:
    """Return the net of a threshold."""
    red, nir = bands(scene)
    axis = scene.spectral
    assert axis is not None, "bands() refused it"
    places = {"red_nm": axis.values[red], "nir_nm": axis.values[nir]}
    return FittedBaseline(
        net={"name": "ndvi", "red": red, "nir": nir, "threshold": threshold},
        weights={},
        classes=CLASSES,
        head="tanh",
        facts={"threshold": threshold, **places, **facts},
    )
