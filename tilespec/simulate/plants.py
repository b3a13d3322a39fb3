"""Plants: potted plants under a line camera from 407 to 997 nm, as reflectance or as raw counts."""

from functools import partial

from tilespec.core.types import SpectralAxis
from tilespec.simulate.block import CLASSES, MATERIALS, pixel_counts, render
from tilespec.simulate.layout import EDGE
from tilespec.simulate.optics import SensorBands
from tilespec.simulate.options import SimulateOptions
from tilespec.simulate.plant_layout import PlantLayout
from tilespec.simulate.raw import images, write_raw
from tilespec.simulate.sensor import Sensor, sensor
from tilespec.simulate.store import SimulatedScene, Simulation, write_scene
from tilespec.simulate.stripes import Arrays
from tilespec.storage.backends.paths import local
from tilespec.storage.layout import layer_spec

VERSION = 1
"""The version of the simulation, which is raised whenever the same seed would give another scene."""


def plants(out: str, options: SimulateOptions) -> Simulation:
    """Return the simulation of plants: a Scene with ``labels``, ``plant``, ``material``, or raw counts.

    Raises:
        UserError: an impossible size, or raw counts that would not lie on this machine.
    """
    size = {key: getattr(options, key) for key in ("rows", "cols", "bands", "plants", "seed")}
    layout, raw = PlantLayout.of(**size), options.raw
    settings = {"verb": "simulate", "version": VERSION, **size, "raw": raw}
    if raw:
        local(out, "raw counts")
    scene = _scene(layout, settings)
    counts = sum(image.lines * image.line_bytes(layout.cols) for image in images(layout))
    return Simulation(
        layout=layout,
        settings=settings,
        facts={"pot_pixels": layout.pot},
        bytes=counts if raw else scene.bytes,
        itemsize=2 if raw else 4,
        write=partial(write_raw, layout, settings) if raw else partial(write_scene, scene),
    )


def _scene(layout: PlantLayout, settings: dict[str, object]) -> SimulatedScene:
    """Return the scene of calibrated reflectance."""
    plane, bands = (layout.rows, layout.cols), SensorBands.even(layout.bands)
    return SimulatedScene(
        title="Simulated plants in pots",
        layout=layout,
        settings=settings,
        spectral=SpectralAxis(name="wavelength", unit="nm", values=bands.centre, fwhm=(bands.fwhm,) * layout.bands),
        layers=(
            layer_spec("labels", plane, classes=CLASSES),
            layer_spec("plant", plane, "uint16"),
            layer_spec("material", plane, classes=MATERIALS),
        ),
        paint=partial(_paint, layout, sensor(layout.seed, layout.bands)),
        count=pixel_counts,
    )


def _paint(layout: PlantLayout, camera: Sensor, row: int, col: int) -> Arrays:
    """Return the measured reflectance of a block and its truth."""
    block = render(layout, row, col)
    return block.truth | {"cube": camera.calibrated(block.reflectance, (row, col), col * EDGE)}
