"""Scale check: whether two scenes have the same scale of values, from a small sample of each.

Reflectance comes as 0 to 1, in percent, or times 10,000, and files do not always state which. A recipe that is applied
to another scale than it was fitted on gives wrong results without an error. Bright values of scenes with one scale are
within an order of magnitude of each other, those of different scales are not.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np
from jaxtyping import Float

from tilespec.core.errors import UserError
from tilespec.core.types import Roi, Spectra
from tilespec.spectra.passes import some
from tilespec.storage.blocks import blocks
from tilespec.storage.scene import Scene

Values = Float[np.ndarray, "pixel band"]
BLOCKS: Final = 4
"""The number of blocks in the sample."""
PIXELS: Final = 128
"""The number of pixels from each of these blocks."""
BRIGHT: Final = 0.95
"""The quantile of all values that is compared: dark backgrounds differ more between scenes than bright values."""
DARKEST, BRIGHTEST = 1e-3, 3.0
"""Bright values of reflectance lie between these, with specular highlights and dark scenes among them."""
RATIO: Final = 30.0
"""The smallest ratio between two scales; percent and fractions differ by a factor of 100."""


def quick_sample(scene: Scene, roi: Roi) -> Spectra:
    """Return some pixels of a few blocks spread over a region; blocks without data or with damage give none."""
    where, samples = blocks(scene, roi), []
    for index in sorted({round(i) for i in np.linspace(0, len(where) - 1, BLOCKS + 2)[1:-1]}):
        with suppress(UserError):  # a later reading of the block reports its damage
            samples.append(some(scene, where[index], PIXELS, np.random.default_rng(index)))
    return np.concatenate(samples) if samples else np.empty((0, scene.shape[2]), np.float32)


def brightness(spectra: Values) -> float | None:
    """Return the size of the bright values of spectra, or None without any value."""
    magnitudes = np.abs(spectra[np.isfinite(spectra)])
    return float(np.quantile(magnitudes, BRIGHT)) if len(magnitudes) else None


def not_reflectance(scene: Scene, spectra: Values) -> str | None:
    """Return why spectra of a scene are no reflectance of 0 to 1, as words for a note; None where they may be."""
    if scene.attrs.get("recipe_digest") is not None:
        return "the scene went through a recipe"
    level = brightness(spectra)
    if level and not DARKEST < level < BRIGHTEST:
        return f"bright values are about {level:.3g}, where reflectance is 0 to 1"
    return None


def check_encoding(scene: Scene, *, decodes: bool) -> None:
    """Refuse to take the values of a scene for sRGB (the step ``light``) where the scene does not say that they are.

    Raises:
        UserError: a recipe ``decodes`` sRGB, and the scene has no ``colour_space`` of sRGB.
    """
    if decodes and scene.attrs.get("colour_space") != "sRGB":
        raise UserError(
            scene.url,
            found="a scene that is not marked as sRGB",
            expected="a picture: the step light decodes sRGB, and reflectance or counts are not encoded",
            do="Ingest the picture from PNG, JPEG or with --rgb, or leave the step light away.",
        )


def same_scale(where: Sequence[tuple[Scene, Roi]]) -> None:
    """Refuse scenes whose values are not on one scale, such as reflectance and counts: they would be mixed silently.

    Raises:
        UserError: the brightness of one differs from that of the first by a factor of `RATIO`.
    """
    first, *others = where
    if not others:
        return
    level = brightness(quick_sample(*first))
    for scene, roi in others:
        check_scale(level, scene, roi, of=f"as in {first[0].url}")


def check_scale(level: float | None, scene: Scene, roi: Roi, *, of: str = "as the recipe was fitted on") -> None:
    """Refuse a scene whose brightness differs much from ``level``, that ``of`` something, if both are known.

    Raises:
        UserError: it is larger or smaller than ``level`` by a factor of `RATIO`.
    """
    level_here = brightness(quick_sample(scene, roi)) if level else None
    if level and level_here and not 1 / RATIO < level_here / level < RATIO:
        raise UserError(
            scene.url,
            found=f"bright values of about {level_here:.3g}",
            expected=f"about {level:.3g}, {of}",
            do="They are on different scales, such as 0 to 1 and 0 to 10,000. Bring both in as reflectance: ingest "
            "with --white and --dark, or from a source that says its scale factor; then fit again.",
        )
