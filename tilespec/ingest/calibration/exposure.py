"""Exposure: how long and how sensitive a camera was, from header keys in the spellings and units of their vendors."""

import re
from dataclasses import dataclass
from math import isfinite
from typing import Final, final

from tilespec.core.errors import UserError
from tilespec.ingest.readers.source import Facts
from tilespec.ingest.readers.wavelengths import decimal

TIMES: Final = ("integration time", "exposure time", "exposure", "integration", "tint", "shutter")
"""The header keys of the time, whose unit is ms unless key or value names another; ``tint`` is Specim's, ``shutter``
Resonon's.
"""
MILLISECONDS: Final = {
    **dict.fromkeys(("", "ms", "msec", "msecs", "millisecond", "milliseconds"), 1.0),
    **dict.fromkeys(("us", "usec", "µs", "μs", "microsecond", "microseconds"), 1e-3),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-6),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1e3),
}
"""The milliseconds in one unit."""
GAIN: Final = "gain"
"""The header key of the gain of the camera in decibels."""
DOUBTED: Final = re.compile(r"integration|exposure|shutter|\btint\b|\bgain\b")
"""Keys that speak of exposure, whether they are understood or not."""
DESCRIBED: Final = re.compile(r"integration time\s*[=:,]\s*([^\n,}]+)", re.IGNORECASE)
"""The time in HySpex's description."""
VALUE: Final = re.compile(r"([-+]?[\d.,]+(?:e[-+]?\d+)?)(?:\s*/\s*([\d.]+))?\s*([^\d\s.,/(]*)", re.IGNORECASE)
"""A number, or a fraction, and a unit."""


@final
@dataclass(frozen=True, kw_only=True)
class Exposure:
    """The exposure of one file."""

    time: float | None
    """The integration time in ms; None when no key tells it."""
    gain: float | None
    """The gain in decibels; None when no key tells it."""
    doubted: tuple[str, ...]
    """The keys of the header that speak of exposure and are not understood."""

    @property
    def light(self) -> float:
        """The counts for a unit of light, relative to those of 1 ms without gain."""
        return (self.time or 1.0) * 10.0 ** ((self.gain or 0.0) / 20.0)


def exposure_of(facts: Facts) -> Exposure:
    """Return the exposure of a file from its header.

    Raises:
        UserError: a time has an unknown unit.
    """
    keys = {key: _split(key) for key in facts.header}
    times = [_time(facts, key, unit) for name in TIMES for key, (bare, unit) in keys.items() if bare == name]
    described = DESCRIBED.search(facts.header.get("description", ""))
    if described:
        times.append(_number(described[1])[0])
    gains = [_decibels(facts.header[key], unit) for key, (bare, unit) in keys.items() if bare == GAIN]
    known = {*TIMES, GAIN}
    return Exposure(
        time=next((time for time in times if time is not None), None),
        gain=next((gain for gain in gains if gain is not None), None),
        doubted=tuple(key for key, (bare, _) in keys.items() if DOUBTED.search(bare) and bare not in known),
    )


def relative_light(scene: Facts, white: Facts) -> tuple[float, tuple[str, ...]]:
    """Return the exposure of a white reference divided by that of its scene, and notes."""
    ours, theirs = exposure_of(scene), exposure_of(white)
    notes = []
    if ours.time is None or theirs.time is None:
        notes.append("integration times are not in both headers: taken as equal")
        ours, theirs = (Exposure(time=None, gain=one.gain, doubted=one.doubted) for one in (ours, theirs))
    if (ours.gain is None) != (theirs.gain is None):
        notes.append("the gain is in one header only: taken as equal")
        ours, theirs = (Exposure(time=one.time, gain=None, doubted=one.doubted) for one in (ours, theirs))
    elif ours.gain != theirs.gain:
        notes.append(f"gains of {ours.gain:g} dB (scene) and {theirs.gain:g} dB (white) are taken into account")
    doubted = dict.fromkeys((*ours.doubted, *theirs.doubted))
    if doubted:
        notes.append(f"header keys that are not understood: {', '.join(doubted)}; exposure is taken as equal in them")
    return theirs.light / ours.light, tuple(notes)


def _split(key: str) -> tuple[str, str]:
    """Return a key without its unit, and the unit: in brackets, or as its last word."""
    text = " ".join(key.replace("_", " ").lower().split())
    match = re.fullmatch(r"(.*?)\s*[(\[]\s*(.*?)\s*[)\]]", text)
    if match:
        return match[1], match[2]
    bare, _, last = text.rpartition(" ")
    return (bare, last) if last in MILLISECONDS or last == "db" else (text, "")


def _number(text: str) -> tuple[float | None, str]:
    """Return the first number of a value, None if it is not above 0 or no number, and its unit."""
    match = VALUE.match(text.strip("{} \n"))
    if match is None:
        return None, ""
    words = match[1].strip(",").split(",")
    try:
        number = decimal(match[1].strip(",")) if len(words) <= 2 else float(words[0])
        number /= float(match[2] or 1)
    except (ValueError, ZeroDivisionError):
        return None, match[3]
    return (number if isfinite(number) else None), match[3]


def _time(facts: Facts, key: str, unit: str) -> float | None:
    """Return a time in ms."""
    number, named = _number(facts.header[key])
    unit = named.lower() or unit
    if number is None or number <= 0:
        return None
    if unit not in MILLISECONDS:
        raise UserError(
            f"{facts.files[0].name if facts.files else 'header'}: {key}",
            found=f"{facts.header[key]!r}, of the unit {unit!r}",
            expected="an integration time in s, ms, us or ns",
            do="Correct the header's unit.",
        )
    return number * MILLISECONDS[unit]


def _decibels(text: str, unit: str) -> float | None:
    """Return a gain in decibels; None for one in another unit."""
    number, named = _number(text)
    return number if (named.lower() or unit or "db") == "db" else None
