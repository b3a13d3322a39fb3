"""Camera: the red, green and blue responses of a camera from a table, in place of an observer."""

from typing import Final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.spectra.colour.cie_tables import illumination
from tilespec.spectra.colour.observer import CHANNELS, Wavelengths, check_visible, widths
from tilespec.spectra.numerics.curve_files import read_curves

WHERE: Final = "--camera"


def camera_primaries(
    path: str, wavelengths: Wavelengths, illuminant: str = "D65", *, radiance: bool = False
) -> Float64[np.ndarray, "band 3"]:
    """Return the weight of each band in linear red, green and blue of a camera, scaled so that white is (1, 1, 1).

    Args:
        path: A text table: wavelength (nm), then responses whose headers begin with R, G and B; several of one letter
            (``G1``, ``G2``) are averaged. Responses are relative, and 0 outside of the table.
        wavelengths: The band centres of the scene in nm.
        illuminant: The light on the scene; with ``radiance`` it defines only the white.
        radiance: Whether the spectra are radiance and not reflectance.

    Returns:
        The weights, float64 ``band 3``.

    Raises:
        UserError: the table does not exist, a colour has no channel, or the bands do not cover the visible range.
    """
    centres = np.asarray(wavelengths, np.float64)
    check_visible(centres)
    curves = read_curves(path, WHERE)
    groups = [[i for i, name in enumerate(curves.names) if name.lower().startswith(c[0])] for c in CHANNELS]
    if not all(groups) or (curves.values < 0).any():
        raise UserError(
            f"{WHERE} {path}",
            found=f"responses {', '.join(curves.names) or 'without a header'}, the smallest {curves.values.min():g}",
            expected="responses of 0 and more whose headers begin with R, G and B",
            do="Give the table a header such as wavelength,R,G,B.",
        )
    light = illumination(centres, illuminant)
    mean = [curves.values[group].mean(axis=0) for group in groups]
    response = np.stack([np.interp(centres, curves.places, of, left=0, right=0) for of in mean], axis=1)
    response *= widths(centres)[:, None]
    white = light @ response
    if not (white > 0).all():
        raise UserError(
            f"{WHERE} {path}",
            found=f"responses from {curves.places[0]:g} to {curves.places[-1]:g} that see nothing of the scene's bands",
            expected="responses to wavelengths in nm from 400 to 700",
            do="Check the unit of the first column.",
        )
    return (response if radiance else response * light[:, None]) / white
