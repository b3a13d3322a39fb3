"""Source header: the keys of a scene's source that its store carries along, and what becomes of them with its bands.

A list with an entry for each band follows the bands or is left out, and so is what speaks of pixels that are gone.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tilespec.core.types import SpectralAxis

BAND_LISTS: Final = frozenset(
    {
        *("band names", "wavelength", "fwhm", "bbl", "data gain values", "data offset values", "solar irradiance"),
        *("data reflectance gain values", "data reflectance offset values"),
    }
)
"""The keys whose value has an entry for each band."""
SHOWN: Final = "default bands"
"""The key of the bands that viewers show, counted from 1."""
PIXEL_KEYS: Final = frozenset(
    {"map info", "coordinate system string", "geo points", "pixel size", "x start", "y start", "rpc info", "igm"}
)
"""The keys that speak of pixels of the source."""

Header = dict[str, str]
Left = tuple[str, ...]


def entries(value: str) -> tuple[str, ...]:
    """Return the entries of a list."""
    text = " ".join(value.strip().removeprefix("{").removesuffix("}").split()).rstrip(", ")
    return tuple(entry.strip() for entry in text.split(","))


def listed(words: Sequence[str]) -> str:
    """Return the text of a list."""
    return "{" + ", ".join(words) + "}"


def followed(
    before: SpectralAxis | None, after: SpectralAxis | None, counts: tuple[int, int]
) -> tuple[int, ...] | None:
    """Return the band before for each band after, or None where bands are new ones.

    Args:
        before: The spectral axis of the bands before.
        after: The spectral axis of the bands after.
        counts: The numbers of bands before and after.
    """
    if before is None or after is None:
        return tuple(range(counts[0])) if before is after and counts[0] == counts[1] else None
    places = {value: i for i, value in enumerate(before.values)}
    known = (before.name, before.unit) == (after.name, after.unit) and len(places) == len(before.values)
    return tuple(places[v] for v in after.values) if known and set(after.values) <= set(places) else None


def header_after(
    header: Mapping[str, str],
    before: SpectralAxis | None,
    after: SpectralAxis | None,
    counts: tuple[int, int],
    *,
    other_pixels: bool,
) -> tuple[Header, Left]:
    """Return the header of a scene that is made of another one, and the keys that are left out.

    Args:
        header: The keys and values of the other scene.
        before: The spectral axis of the other scene.
        after: The spectral axis of the new scene.
        counts: The numbers of bands of the other and the new scene.
        other_pixels: Whether the new scene has other pixels.
    """
    banded, lists = with_bands(header, counts[0], followed(before, after, counts))
    placed, pixels = without_pixels(banded) if other_pixels else (banded, ())
    return placed, (*lists, *pixels)


def with_bands(header: Mapping[str, str], count: int, selected: Sequence[int] | None) -> tuple[Header, Left]:
    """Return a header for other bands, and the keys that are left out.

    Args:
        header: The keys and their values.
        count: The number of bands that the header speaks of.
        selected: The number of the old band for each new one; None for bands that are no old ones.
    """
    if selected is not None and list(selected) == list(range(count)):
        return dict(header), ()
    out: Header = {}
    for key, value in header.items():
        if not isinstance(value, str):
            out[key] = value
            continue
        new = _shown(value, count, selected) if key == SHOWN else _picked(key, value, count, selected)
        if new is not None:
            out[key] = new
    return out, tuple(key for key in header if key not in out)


def without_pixels(header: Mapping[str, str]) -> tuple[Header, Left]:
    """Return a header for other pixels, and the keys that are left out."""
    return {k: v for k, v in header.items() if k not in PIXEL_KEYS}, tuple(k for k in header if k in PIXEL_KEYS)


def fitting(header: Mapping[str, str], count: int) -> tuple[Header, Left]:
    """Return a header without lists of another number of bands, and the keys that are left out."""
    stale = [key for key, value in header.items() if key in BAND_LISTS and len(entries(value)) != count]
    if SHOWN in header and _shown(header[SHOWN], count, range(count)) is None:
        stale.append(SHOWN)
    return {key: value for key, value in header.items() if key not in stale}, tuple(stale)


def _picked(key: str, value: str, count: int, selected: Sequence[int] | None) -> str | None:
    """Return a value with the entries of the new bands; None when there are none."""
    words = entries(value)
    if len(words) != count or (count == 1 and key not in BAND_LISTS):
        return None if key in BAND_LISTS else value
    return None if selected is None else listed([words[i] for i in selected])


def _shown(value: str, count: int, selected: Sequence[int] | None) -> str | None:
    """Return the shown bands in the new numbers; None if one of them is gone."""
    try:
        shown = [int(float(word)) - 1 for word in entries(value)]
    except (ValueError, OverflowError):
        return None
    place = {old: new for new, old in enumerate(selected or ())}
    whole = all(0 <= band < count and band in place for band in shown)
    return listed([str(place[band] + 1) for band in shown]) if whole else None
