"""The raw counts as ENVI files of other sizes, and as plain NumPy: what the peers and the checks read."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

WRITTEN = 64
"""Lines that are copied at once."""


@final
@dataclass(frozen=True, kw_only=True)
class Counts:
    """A BIL file of uint16 counts, little endian."""

    header: Path
    """The header; the data lie beside it, as ``.bil``."""
    lines: int
    """Rows."""
    samples: int
    """Columns."""
    bands: int
    """Bands."""
    time: float
    """Integration time in ms."""
    panel: float
    """Reflectance of the panel; 1 where the file shows none."""

    @classmethod
    def open(cls, header: str | Path) -> "Counts":
        """Read a header of the simulator's."""
        text = Path(header).read_text()
        numbers = [int(_value(text, key)) for key in ("lines", "samples", "bands")]
        assert _value(text, "interleave") == "bil"
        assert _value(text, "data type") == "12"
        return cls(
            header=Path(header),
            lines=numbers[0],
            samples=numbers[1],
            bands=numbers[2],
            time=float(_value(text, "integration time")),
            panel=float(_value(text, "panel reflectance", "1")),
        )

    @property
    def data(self) -> Path:
        """The data file."""
        return self.header.with_suffix(".bil")

    def memmap(self) -> np.ndarray:
        """Return the counts as ``y, band, x``, mapped."""
        return np.memmap(self.data, "<u2", "r", shape=(self.lines, self.bands, self.samples))


def references(raw: str, white: str, dark: str) -> tuple[np.ndarray, np.ndarray]:
    """Return dark and gain of every detector element, float32 ``x band``: reflectance = (counts - dark) * gain."""
    here, bright, shut = (Counts.open(name) for name in (raw, white, dark))
    zero = shut.memmap().mean(axis=0, dtype=np.float64).T
    light = bright.memmap().mean(axis=0, dtype=np.float64).T - zero
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = bright.panel * (bright.time / here.time) / light
    gain[~(light > 0)] = np.nan
    return np.ascontiguousarray(zero, np.float32), np.ascontiguousarray(gain, np.float32)


def cropped(source: Path, out: Path, lines: int, samples: int) -> Path:
    """Write the first lines and columns of a file; return the header."""
    found = Counts.open(source)
    lines, samples = min(lines, found.lines), min(samples, found.samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    values = found.memmap()
    with out.with_suffix(".bil").open("wb") as file:
        for y in range(0, lines, WRITTEN):
            file.write(np.ascontiguousarray(values[y : min(y + WRITTEN, lines), :, :samples]).data)
    out.write_text(_sized(source.read_text(), lines, samples))
    return out


def repeated(source: Path, out: Path, times: int) -> Path:
    """Write a file ``times`` times over; return the header."""
    found = Counts.open(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_suffix(".bil").open("wb") as file:
        for _ in range(times):
            with found.data.open("rb") as part:
                shutil.copyfileobj(part, file, 1 << 24)
    out.write_text(_sized(source.read_text(), times * found.lines, found.samples))
    return out


def _value(text: str, key: str, default: str | None = None) -> str:
    """Return a value of a header."""
    found = re.search(rf"^{key}\s*=\s*(.*)$", text, re.MULTILINE | re.IGNORECASE)
    if found is None and default is not None:
        return default
    assert found is not None, f"no {key!r} in the header"
    return found.group(1).strip("{} ")


def _sized(text: str, lines: int, samples: int) -> str:
    """Return a header of another size."""
    for key, number in (("lines", lines), ("samples", samples)):
        text = re.sub(rf"^{key}\s*=.*$", f"{key} = {number}", text, flags=re.MULTILINE)
    return text
