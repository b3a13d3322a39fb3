"""Render: the sRGB image of a scene for an observer or a camera, written as a scene with three bands."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.memory import Peak
from tilespec.core.options import Region, Workers, values_of, with_options
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.spectra.bands import Bands
from tilespec.spectra.colour.camera import camera_primaries
from tilespec.spectra.colour.observer import CHANNELS, NEAR, VISIBLE, Observer, check_visible
from tilespec.spectra.colour.options import ColourOptions, RenderOptions
from tilespec.spectra.colour.rendering import Rendering
from tilespec.spectra.operators import Take
from tilespec.spectra.passes import reduce_scene
from tilespec.spectra.scale_check import BRIGHTEST, DARKEST, brightness, quick_sample
from tilespec.spectra.statistics import Spread
from tilespec.spectra.transform import StoredForm, header_of, open_product, write_scene
from tilespec.storage.blocks import blocks
from tilespec.storage.lock import locked
from tilespec.storage.product import Product
from tilespec.storage.rasters import scale_of
from tilespec.storage.scene import Scene
from tilespec.storage.selection import PixelSelection

FORMS: Final = {
    "float32": StoredForm(limits=(0.0, 1.0)),
    "uint8": StoredForm(dtype="uint8", scale=1 / 255, limits=(0.0, 1.0)),
    "uint16": StoredForm(dtype="uint16", scale=1 / 65535, limits=(0.0, 1.0)),
}
"""The stored forms of sRGB values 0..1, by the name of the data type."""
SEEN: Final = (360.0, 830.0)
"""The wavelengths (nm) to which the CIE's observers respond."""
"""The largest and the smallest plausible ratio of a scene's bright values to its white."""


@with_options(RenderOptions)
def render(scene: str, out: str, options: RenderOptions, progress: Progress) -> dict[str, Any]:
    """Write ``scene`` as sRGB: three bands red, green, blue of 0..1; resume what was interrupted.

    Georeference and layers are copied. Pixels without data in a band of 360 to 830 nm have no data. Colours out of
    gamut are clipped, and the result gives the number of such pixels.

    Args:
        scene: URL of a scene, or of a prediction of spectra.
        out: Where the product goes.
        options: How the scene is seen; given by name.
        progress: Where each pass is reported.

    Returns:
        ``pixels``, ``invalid_pixels``, ``clipped_pixels``, ``black`` and ``white`` (values of the scene), ``notes``,
        ``seconds``, ``startup_seconds``, ``peak_memory``.
    """
    source = Scene.open(scene)
    roi, form, take = _region(source, options.rows, options.cols), _form(options.dtype), _visible_spectra(source)
    primaries = _primaries(options, _centres(source)[take.index])
    PixelSelection(mask=options.mask).check(source)
    pixels = roi.shape[0] * roi.shape[1]
    planned = {
        "out": out,
        "shape": [*roi.shape, 3],
        "dtype": options.dtype,
        "bands_seen": len(take.index),
        "bytes_to_read": (1 + (options.scale == "image")) * pixels * source.shape[2] * source.dtype.itemsize,
        "bytes_to_write": pixels * 3 * np.dtype(options.dtype).itemsize,
    }
    if options.dry_run:
        return planned | {"dry_run": True}
    began = time.monotonic()
    with locked(out) as hold, connect(options.workers, options.cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        pass_options: dict[str, Any] = {"client": client, "progress": progress}
        black, top = _limits(source, roi, take, options, pass_options)
        operators = (take, Rendering.of(primaries, black, top))
        product = _open(source, out, roi, form, operators, _attrs(source, roi, options, (black, top)))
        values = values_of(options, ColourOptions, Region, Workers)
        product.ledger.command("render", scene=scene, out=out, dtype=options.dtype, **values)
        counts = write_scene(source, operators, product, hold=hold, roi=roi, form=form, what="render", **pass_options)
    spent = {"seconds": peak.seconds, "startup_seconds": startup, "peak_memory": peak.bytes}
    return planned | counts | {"black": black, "white": top, "notes": _notes(source, counts)} | spent


def _primaries(options: ColourOptions, wavelengths: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, "band 3"]:
    """Return the weight of each band in linear red, green and blue, ``band 3``."""
    if options.camera is not None:
        return camera_primaries(options.camera, wavelengths, options.illuminant, radiance=options.radiance)
    observer = Observer.at(wavelengths, options.illuminant, degrees=options.observer, radiance=options.radiance)
    return observer.primaries


def _form(dtype: str) -> StoredForm:
    """Return the stored form of sRGB values."""
    if dtype not in FORMS:
        raise UserError("--dtype", found=repr(dtype), expected=f"one of {', '.join(FORMS)}", do="Choose one of these.")
    return FORMS[dtype]


def _region(source: Scene, rows: str | None, cols: str | None) -> Roi:
    """Return the region; refuse a part of a plane whose pixels differ in size from those of a scene."""
    roi = Roi.of(source.shape, rows, cols)
    if roi != source.roi and scale_of(source.attrs) != "1":
        raise UserError(
            source.url,
            found=f"{roi} of a plane with {scale_of(source.attrs)} pixels for one of its scene",
            expected="the whole plane",
            do="Leave --rows and --cols out.",
        )
    return roi


def _centres(source: Scene) -> Float64[np.ndarray, " band"]:
    """Return the wavelengths of a scene in nm.

    Raises:
        UserError: the scene has no wavelengths.
    """
    axis = source.spectral
    if axis is None or (axis.name, axis.unit) != ("wavelength", "nm"):
        there = "no spectral axis" if axis is None else f"bands by {axis.name} in {axis.unit!r}"
        raise UserError(
            source.url,
            found=f"{source.shape[2]} bands with {there}",
            expected=f"bands by wavelength in nm, from {VISIBLE[0]:g} to {VISIBLE[1]:g} nm",
            do="Ingest the scene with --wavelengths FILE; components, channels and wavenumbers have no colour.",
        )
    return np.asarray(axis.values, np.float64)


def _visible_spectra(source: Scene) -> Take:
    """Return the indices of the used bands: those to which an observer responds and that are not marked as bad."""
    centres, axis = _centres(source), source.spectral
    good = np.ones(len(centres), bool) if axis is None or axis.good is None else np.asarray(axis.good)
    check_visible(centres[good], source.url)
    return Take(index=np.flatnonzero((centres >= SEEN[0]) & (centres <= SEEN[1]) & good))


def _limits(
    source: Scene, roi: Roi, take: Take, options: ColourOptions, pass_options: dict[str, Any]
) -> tuple[float, float]:
    """Return the values that become black and white."""
    if options.scale == "fixed":
        _plausible(source, roi, take, options)
        return 0.0, 1.0 if options.white is None else options.white
    spread: Spread = reduce_scene(
        blocks(source, roi, PixelSelection(mask=options.mask)),
        (take,),
        Spread.zero(np.zeros(len(take.index), np.float32)),
        **pass_options,
    )
    centres = _centres(source)[take.index]
    visible = (centres >= VISIBLE[0]) & (centres <= VISIBLE[1])
    low, high = float(spread.low[visible].min()), float(spread.high[visible].max())
    if not (spread.n and high > low):
        raise UserError(
            f"{source.url}, {roi}",
            found=f"values from {low:g} to {high:g}" if spread.n else "no pixel with data",
            expected="more than one value from 400 to 700 nm, for --scale image",
            do="Choose another region or --mask, or --scale fixed with --white VALUE.",
        )
    return low, high


def _plausible(source: Scene, roi: Roi, take: Take, options: ColourOptions) -> None:
    """Refuse values that are implausible for a white of 1; a white that the user gave is accepted."""
    if options.white is not None:
        return
    level = brightness(quick_sample(source, roi)[:, take.index])
    if level and not DARKEST < level < BRIGHTEST:
        raise UserError(
            source.url,
            found=f"bright values of about {level:.3g}",
            expected="reflectance, where white is 1",
            do="Say what white is with --white VALUE (as 4095 or 65535 for counts), or give --scale image.",
        )


def _open(
    source: Scene, out: str, roi: Roi, form: StoredForm, operators: tuple[Take, Rendering], attrs: Mapping[str, Any]
) -> Product:
    """Open the product; equal settings lead to equal bytes."""
    take, rendering = operators
    settings = {
        "rendering": attrs["rendering"],
        "bands": take.index.tolist(),
        "primaries": fingerprint(rendering.primaries.tolist()),
    }
    bands = rendering.out(Bands(count=len(take.index), axis=None))
    return open_product(source, bands, out, settings=settings, attrs=attrs, roi=roi, form=form)


def _attrs(source: Scene, roi: Roi, options: ColourOptions, limits: tuple[float, float]) -> dict[str, Any]:
    """Return the root attributes in addition to those of the scene."""
    y, x = (int(v) for v in source.attrs.get("origin", (0, 0)))
    part = {} if roi == source.roi else {"origin": [y + roi.y0, x + roi.x0]}
    camera = None if options.camera is None else Path(options.camera).name  # where it lies is no part of the product
    return {
        "title": f"Colours of {source.attrs.get('title') or Path(source.url).name}",
        "channels": list(CHANNELS),
        "header": {**_header(source, roi), "band names": f"{{{', '.join(CHANNELS)}}}"},
        "colour_space": "sRGB",
        "rendering": {**values_of(options, ColourOptions), "camera": camera, "black": limits[0], "white": limits[1]},
        **part,
    }


def _header(source: Scene, roi: Roi) -> dict[str, str]:
    """Return the header of the scene without what speaks of its bands."""
    return header_of(source, Bands(count=len(CHANNELS), axis=None), other_pixels=roi != source.roi)[0]


def _notes(source: Scene, counts: Mapping[str, int]) -> list[str]:
    """Return notes about the colours for the user."""
    notes = []
    whole = counts["pixels"] - counts["invalid_pixels"]
    if whole == 0:
        notes.append("no pixel has data in all bands from 360 to 830 nm: all of the product is nodata")
    if counts["clipped_pixels"]:
        share = f"{counts['clipped_pixels']:,} pixels ({counts['clipped_pixels'] / whole:.2%} of those with data)"
        notes.append(f"{share} have a colour out of gamut, which was clipped")
    centres = _centres(source)
    gaps = (centres.min() - VISIBLE[0], VISIBLE[1] - centres.max())
    ends = [f"{end:g}" for end, gap in zip(VISIBLE, gaps, strict=True) if gap > NEAR]
    if ends:
        notes.append(f"no band near {' and '.join(ends)} nm: colours are approximate, and white is a little off")
    if "recipe_digest" in source.attrs:
        notes.append("the scene went through a recipe: its colours are of what that left, not of the scene's light")
    return notes
