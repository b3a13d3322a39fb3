"""Render: the sRGB image of a scene for an observer or a camera, written as a scene with three bands."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.spectra.bands import Bands
from tilespec.spectra.colour.camera import camera_primaries
from tilespec.spectra.colour.observer import CHANNELS, VISIBLE, Observer, check_visible
from tilespec.spectra.colour.rendering import Rendering
from tilespec.spectra.operators import Take
from tilespec.spectra.passes import fold_scene
from tilespec.spectra.scale_check import brightness, glance
from tilespec.spectra.statistics import Spread
from tilespec.spectra.transform import Form, opened, write_scene
from tilespec.storage.blocks import blocks
from tilespec.storage.lock import locked
from tilespec.storage.product import Product
from tilespec.storage.rasters import scale_of
from tilespec.storage.scene import Scene
from tilespec.storage.selection import Choice

FORMS: Final = {
    "float32": Form(limits=(0.0, 1.0)),
    "uint8": Form(dtype="uint8", scale=1 / 255, limits=(0.0, 1.0)),
    "uint16": Form(dtype="uint16", scale=1 / 65535, limits=(0.0, 1.0)),
}
"""The stored forms of sRGB values 0..1, by the name of the data type."""
SCALES: Final = ("fixed", "image")
SEEN: Final = (360.0, 830.0)
"""The wavelengths (nm) to which the CIE's observers respond."""
BRIGHTEST, DARKEST = 10.0, 1e-3
"""The largest and the smallest plausible ratio of a scene's bright values to its white."""


@final
@dataclass(frozen=True, kw_only=True)
class Look:
    """The options that decide the colours of a rendered scene."""

    illuminant: str = "D65"
    """The CIE's name of the light."""
    observer: int = 10
    """The field of view in degrees: 10 or 2."""
    camera: str | None = None
    """The path of a table of responses in place of the observer."""
    radiance: bool = False
    """Whether values are radiance and not reflectance."""
    scale: str = "fixed"
    """The range of values: ``fixed`` from 0 to a white, ``image`` from the smallest to the largest value of the region.
    """
    white: float | None = None
    """The value of a white reflector for the fixed scale; None means 1."""
    mask: str | None = None
    """The layer whose pixels decide the scale of ``image``."""

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UserError("--scale", found=repr(self.scale), expected=" or ".join(SCALES), do="Choose one of these.")
        for name in ("white",) if self.scale == "image" else ("mask",):
            if getattr(self, name) is not None:
                raise UserError(
                    f"--{name}",
                    found=f"{getattr(self, name)!r} with --scale {self.scale}",
                    expected=f"no --{name}, which --scale {self.scale} does not look at",
                    do="Leave one of the two out.",
                )
        if self.white is not None and not (np.isfinite(self.white) and self.white > 0):
            raise UserError("--white", found=self.white, expected="a finite number above 0", do="Correct it.")

    def primaries(self, wavelengths: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, "band 3"]:
        """Return the weight of each band in linear red, green and blue, ``band 3``."""
        if self.camera is not None:
            return camera_primaries(self.camera, wavelengths, self.illuminant, radiance=self.radiance)
        seen = Observer.at(wavelengths, self.illuminant, degrees=self.observer, radiance=self.radiance)
        return seen.primaries


def render(  # noqa: PLR0913 - the options of a verb
    scene: str,
    out: str,
    *,
    illuminant: str = "D65",
    observer: int = 10,
    camera: str | None = None,
    radiance: bool = False,
    scale: str = "fixed",
    white: float | None = None,
    mask: str | None = None,
    dtype: str = "float32",
    rows: str | None = None,
    cols: str | None = None,
    workers: int = 0,
    cluster: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write ``scene`` as sRGB: three bands red, green, blue of 0..1; resume what was interrupted.

    Georeference and layers are copied. Pixels without data in a band of 360 to 830 nm have no data. Colours out of
    gamut are clipped, and the result gives the number of such pixels.

    Args:
        scene: The URL of a scene, or of a prediction of spectra.
        out: The URL of the product.
        illuminant: The light on the scene, by the CIE's name (D65, E, A, D50, ...).
        observer: The field of view in degrees: 10 (CIE 1964) or 2 (CIE 1931).
        camera: A table of responses (wavelength, R, G, B) in place of the observer.
        radiance: Whether values are radiance and not reflectance.
        scale: The range of values: ``fixed``, 0 to ``white``; or ``image``, the smallest to the largest value of the
            region's bands from 400 to 700 nm, as in Alvarez-Gila et al. (2017); two regions of a scene then have two
            scales.
        white: The value of a white reflector, for ``fixed``; default 1, which is refused where the scene's values are
            implausible for it.
        mask: A ``y, x`` layer, for ``image``: only pixels where it has a value and is not 0 decide the scale.
        dtype: The stored type: ``float32``, or ``uint8`` and ``uint16`` with a scale factor and a layer ``valid``.
        rows: The rows to render, "A:B".
        cols: The columns to render, "A:B".
        workers: The number of processes of a local cluster; 0 uses this process. The bytes are the same.
        cluster: The cluster of the workers, as for `predict`.
        dry_run: Whether to return only the plan: shape, bands that are used, bytes.
        progress: The progress that counts rows of objects.

    Returns:
        ``pixels``, ``invalid_pixels``, ``clipped_pixels``, ``black`` and ``white`` (values of the scene), ``notes``,
        ``seconds``, ``startup_seconds``, ``peak_memory``.
    """
    look = Look(
        illuminant=illuminant,
        observer=observer,
        camera=camera,
        radiance=radiance,
        scale=scale,
        white=white,
        mask=mask,
    )
    source = Scene.open(scene)
    roi, form, take = _region(source, rows, cols), _form(dtype), _seen(source)
    primaries = look.primaries(_centres(source)[take.index])
    Choice(mask=mask).check(source)
    pixels = roi.shape[0] * roi.shape[1]
    planned = {
        "out": out,
        "shape": [*roi.shape, 3],
        "dtype": dtype,
        "bands_seen": len(take.index),
        "bytes_to_read": (1 + (scale == "image")) * pixels * source.shape[2] * source.dtype.itemsize,
        "bytes_to_write": pixels * 3 * np.dtype(dtype).itemsize,
    }
    if dry_run:
        return planned | {"dry_run": True}
    began = time.monotonic()
    with locked(out), connect(workers, cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        told: dict[str, Any] = {"client": client, "progress": progress}
        black, top = _limits(source, roi, take, look, told)
        operators = (take, Rendering.of(primaries, black, top))
        product = _open(source, out, roi, form, operators, _attrs(source, roi, look, (black, top)))
        options = {"scene": scene, "out": out, **asdict(look), "dtype": dtype, "rows": rows, "cols": cols}
        product.ledger.command("render", **options, workers=workers, cluster=cluster)
        counts = write_scene(source, operators, product, roi=roi, form=form, **told)
    spent = {"seconds": peak.seconds, "startup_seconds": startup, "peak_memory": peak.bytes}
    return planned | counts | {"black": black, "white": top, "notes": _notes(source, counts)} | spent


def _form(dtype: str) -> Form:
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


def _seen(source: Scene) -> Take:
    """Return the indices of the used bands: those to which an observer responds and that are not marked as bad."""
    centres, axis = _centres(source), source.spectral
    good = np.ones(len(centres), bool) if axis is None or axis.good is None else np.asarray(axis.good)
    check_visible(centres[good], source.url)
    return Take(index=np.flatnonzero((centres >= SEEN[0]) & (centres <= SEEN[1]) & good))


def _limits(source: Scene, roi: Roi, take: Take, look: Look, told: dict[str, Any]) -> tuple[float, float]:
    """Return the values that become black and white."""
    if look.scale == "fixed":
        _plausible(source, roi, take, look)
        return 0.0, 1.0 if look.white is None else look.white
    found: Spread = fold_scene(
        blocks(source, roi, Choice(mask=look.mask)), (take,), Spread.zero(np.zeros(len(take.index), np.float32)), **told
    )
    centres = _centres(source)[take.index]
    visible = (centres >= VISIBLE[0]) & (centres <= VISIBLE[1])
    low, high = float(found.low[visible].min()), float(found.high[visible].max())
    if not (found.n and high > low):
        raise UserError(
            f"{source.url}, {roi}",
            found=f"values from {low:g} to {high:g}" if found.n else "no pixel with data",
            expected="more than one value from 400 to 700 nm, for --scale image",
            do="Choose another region or --mask, or --scale fixed with --white VALUE.",
        )
    return low, high


def _plausible(source: Scene, roi: Roi, take: Take, look: Look) -> None:
    """Refuse values that are implausible for a white of 1; a white that the user gave is accepted."""
    if look.white is not None:
        return
    level = brightness(glance(source, roi)[:, take.index])
    if level and not DARKEST < level < BRIGHTEST:
        raise UserError(
            source.url,
            found=f"bright values of about {level:.3g}",
            expected="reflectance, where white is 1",
            do="Say what white is with --white VALUE (as 4095 or 65535 for counts), or give --scale image.",
        )


def _open(
    source: Scene, out: str, roi: Roi, form: Form, operators: tuple[Take, Rendering], attrs: Mapping[str, Any]
) -> Product:
    """Open the product; equal settings lead to equal bytes."""
    take, rendering = operators
    settings = {
        "rendering": attrs["rendering"],
        "bands": take.index.tolist(),
        "primaries": fingerprint(rendering.primaries.tolist()),
    }
    bands = rendering.out(Bands(count=len(take.index), axis=None))
    return opened(source, bands, out, settings=settings, attrs=attrs, roi=roi, form=form)


def _attrs(source: Scene, roi: Roi, look: Look, limits: tuple[float, float]) -> dict[str, Any]:
    """Return the root attributes in addition to those of the scene."""
    y, x = (int(v) for v in source.attrs.get("origin", (0, 0)))
    part = {} if roi == source.roi else {"origin": [y + roi.y0, x + roi.x0]}
    camera = None if look.camera is None else Path(look.camera).name  # its folder is no part of the product
    return {
        "title": f"Colours of {source.attrs.get('title') or Path(source.url).name}",
        "channels": list(CHANNELS),
        "header": {**source.attrs.get("header", {}), "band names": f"{{{', '.join(CHANNELS)}}}"},
        "colour_space": "sRGB",
        "rendering": {**asdict(look), "camera": camera, "black": limits[0], "white": limits[1]},
        **part,
    }


def _notes(source: Scene, counts: Mapping[str, int]) -> list[str]:
    """Return notes about the colours for the user."""
    notes = []
    whole = counts["pixels"] - counts["invalid_pixels"]
    if whole == 0:
        notes.append("no pixel has data in all bands from 360 to 830 nm: all of the product is nodata")
    if counts["clipped_pixels"]:
        share = f"{counts['clipped_pixels']:,} pixels ({counts['clipped_pixels'] / whole:.2%} of those with data)"
        notes.append(f"{share} have a colour out of gamut, which was clipped")
    if "recipe_digest" in source.attrs:
        notes.append("the scene went through a recipe: its colours are of what that left, not of the scene's light")
    return notes
