"""Header: ENVI headers in the form of a HySpex VNIR-1800."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from tilespec.simulate.optics import SensorBands
from tilespec.simulate.plant_layout import PlantLayout

DATA_TYPE = {"u1": 1, "<u2": 12}
ACQUIRED = {"acquisition date": "2021-06-15", "acquisition start time": "10:00:00"}
"""The acquisition time, a constant, because a simulation must not depend on the clock."""
COLOURS_NM = (641.0, 551.0, 460.0)


@final
@dataclass(frozen=True, kw_only=True)
class Image:
    """The description of one ENVI file before it exists."""

    name: str
    """The name without suffix."""
    lines: int
    """The number of rows."""
    bands: int
    """The number of bands; 1 for the truth."""
    dtype: str
    """The data type, little endian."""
    milliseconds: float | None = None
    """The integration time of counts in ms."""
    panel: float | None = None
    """The reflectance of the white reference."""
    classes: tuple[str, ...] = ()
    """The names of the classes of a class map."""

    def line_bytes(self, samples: int) -> int:
        """The number of bytes in one line of all bands."""
        return samples * self.bands * np.dtype(self.dtype).itemsize


def header(image: Image, layout: PlantLayout) -> str:
    """Return the text of an image's ``.hdr``."""
    fields: dict[str, Any] = {
        "description": _description(image, layout),
        "samples": layout.cols,
        "lines": image.lines,
        "bands": image.bands,
        "header offset": 0,
        "file type": "ENVI Classification" if image.classes else "ENVI Standard",
        "data type": DATA_TYPE[image.dtype],
        "interleave": "bil",
        "byte order": 0,
        **(_counts(image, layout) if image.milliseconds is not None else _truth(image)),
    }
    return "ENVI\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


def _description(image: Image, layout: PlantLayout) -> str:
    """Return the block of camera settings that HySpex writes, one on each line."""
    if image.milliseconds is None:
        return "{ Simulated plants in pots, truth: " + image.name + " }"
    settings: Mapping[str, Any] = {
        "Frameperiod": f"{image.milliseconds + 1.0:.3f}",
        "Integration time": f"{image.milliseconds:.3f}",
        "Binning": 1,
        "Number of frames": image.lines,
        "Lens": "30 cm",
        "NumberOfAvg": 1,
        "CalibAvailable": 0,
        "ID": "VNIR-1800",
        "Comment": f"simulated by tilespec, {image.name}, seed {layout.seed}",
    }
    return "{\n" + "\n".join(f"{key} = {value}" for key, value in settings.items()) + " }"


def _counts(image: Image, layout: PlantLayout) -> dict[str, Any]:
    """Return the fields of an image of counts; ``integration time`` in ms, ``panel reflectance`` as a fraction."""
    even = SensorBands.even(layout.bands)
    centre = np.asarray(even.centre)
    shown = [int(np.argmin(np.abs(centre - nm))) + 1 for nm in COLOURS_NM]
    fields: dict[str, Any] = {
        "sensor type": "HySpex VNIR-1800 (simulated)",
        **ACQUIRED,
        "integration time": image.milliseconds,
        "default bands": "{" + ",".join(map(str, shown)) + "}",
        "wavelength units": "nm",
        "wavelength": _list(even.centre),
        "fwhm": _list((even.fwhm,) * image.bands),
    }
    if image.panel is not None:
        fields["panel reflectance"] = image.panel
    return fields


def _truth(image: Image) -> dict[str, Any]:
    """Return the fields of a class map, or of plant numbers."""
    if not image.classes:
        return {"band names": "{" + image.name + "}"}
    return {"classes": len(image.classes), "class names": "{" + ", ".join(image.classes) + "}"}


def _list(values: tuple[float, ...]) -> str:
    return "{" + ", ".join(f"{v:.4f}" for v in values) + "}"
