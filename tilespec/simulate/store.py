"""The simulated scene as a Scene: calibrated reflectance with labels, plants and materials, resumable."""

from typing import Any

import numpy as np

from tilespec.core.cpu import cores
from tilespec.core.progress import Progress
from tilespec.core.types import SpectralAxis
from tilespec.simulate.block import EDGE, MATERIALS
from tilespec.simulate.optics import SensorBands
from tilespec.simulate.plant_layout import PlantLayout
from tilespec.simulate.sensor import sensor
from tilespec.simulate.stripes import painter
from tilespec.storage.layout import constants, cube_spec, layer_spec
from tilespec.storage.product import Product

CLASSES = ("background", "plant")


def axis(bands: int) -> SpectralAxis:
    """Return the spectral axis of ``bands`` simulated bands."""
    even = SensorBands.even(bands)
    return SpectralAxis(name="wavelength", unit="nm", values=even.centre, fwhm=(even.fwhm,) * bands)


def write_scene(
    layout: PlantLayout, out: str, settings: dict[str, Any], workers: int, progress: Progress
) -> dict[str, int]:
    """Write the scene at ``out``, or finish writing it, and return its counts of pixels."""
    plane = (layout.rows, layout.cols)
    spectral = axis(layout.bands)
    specs = [
        cube_spec((*plane, layout.bands), "float32", spectral=spectral),
        layer_spec("labels", plane, classes=CLASSES),
        layer_spec("plant", plane, "uint16"),
        layer_spec("material", plane, classes=MATERIALS),
    ]
    attrs = {"title": "Simulated plants in pots", "simulation": settings}
    product = Product.open(out, specs, settings=settings, attrs=attrs, constants=constants(spectral))
    options = {key: value for key, value in settings.items() if key not in ("verb", "version")}
    product.ledger.command("simulate", out=out, **options)
    assert product.edge in (EDGE, layout.rows), "a stripe of blocks is a row of stored objects"
    camera = sensor(layout.seed, layout.bands)
    missing = product.missing()
    progress.start("simulate", len(missing) * layout.cols * product.edge / 1e6, "Mpixel")
    with painter(layout, camera.calibrated, "float32", workers) as paint:
        for row in missing:
            stripe = paint(row)
            blocks: dict[str, np.ndarray] = {
                "cube": stripe.cube,
                "labels": stripe.labels,
                "plant": stripe.plant,
                "material": stripe.material,
            }
            product.write(row, blocks, stripe.counts())
            progress.advance(stripe.plant.size / 1e6)
    progress.finish()
    product.finish()
    return product.counts()


def default_workers() -> int:
    """Return the number of rendering threads: as many as this process may use, at most 8."""
    return min(cores(), 8)
