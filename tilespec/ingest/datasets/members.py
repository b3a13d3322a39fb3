"""Members: one image of a data set, and what all data sets of this kind have in common."""

from dataclasses import dataclass
from typing import Final, Literal, final

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis

VISIBLE: Final = tuple(400.0 + 10.0 * i for i in range(31))
"""Band centres (nm) of ICVL, CAVE and ARAD-1K."""


@final
@dataclass(frozen=True, kw_only=True)
class Member:
    """One image of a data set."""

    kind: Literal["cube", "rgb"]
    """Spectra, or the picture in sRGB."""
    name: str
    """As the data set's own lists name it."""
    src: str
    """``PATH`` or ``PATH:VARIABLE``."""
    reader: str
    """Name in `tilespec.ingest.readers.table.READERS`."""


def visible_axis() -> SpectralAxis:
    """Return the axis of 31 bands from 400 to 700 nm."""
    return SpectralAxis(name="wavelength", unit="nm", values=VISIBLE)


def check_bands(where: str, bands: int, dataset: str) -> None:
    """Refuse another number of bands than the data set publishes."""
    if bands != len(VISIBLE):
        raise UserError(
            where,
            found=f"{bands} bands",
            expected=f"{len(VISIBLE)}, from 400 to 700 nm, as {dataset} has",
            do="Give the files as published; ingest another cube by itself, with --wavelengths.",
        )
