"""Members: the images of a data set, and the code that all data sets of this kind share."""

from dataclasses import dataclass
from typing import Final, Literal, final

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis

VISIBLE: Final = tuple(400.0 + 10.0 * i for i in range(31))
"""The band centres (nm) of ICVL, CAVE and ARAD-1K."""


@final
@dataclass(frozen=True, kw_only=True)
class Member:
    """One image of a data set."""

    kind: Literal["cube", "rgb"]
    """The contents: spectra, or the picture in sRGB."""
    name: str
    """The name in the data set's own lists."""
    src: str
    """The source ``PATH`` or ``PATH:VARIABLE``."""
    reader: str
    """The name of the reader in `tilespec.ingest.readers.reader_table.READERS`."""
    labels: str | None = None
    """The source of the classes from 1 on, with 0 for none; None: without labels."""
    classes: tuple[str, ...] = ()
    """The names of the classes 1, 2, ...; none: they are numbered."""


def visible_axis() -> SpectralAxis:
    """Return the spectral axis of 31 bands from 400 to 700 nm."""
    return SpectralAxis(name="wavelength", unit="nm", values=VISIBLE)


def check_bands(where: str, bands: int, dataset: str) -> None:
    """Refuse a number of bands that differs from the published one."""
    if bands != len(VISIBLE):
        raise UserError(
            where,
            found=f"{bands} bands",
            expected=f"{len(VISIBLE)}, from 400 to 700 nm, as {dataset} has",
            do="Give the files as published; ingest another cube by itself, with --wavelengths.",
        )
