"""Parts of the page as values: what the template lays out. They hold text of users; the template escapes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

Colour = tuple[int, int, int]


@final
@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of a legend."""

    colour: str
    """As CSS writes it."""
    text: str
    """What it means."""

    @classmethod
    def of(cls, colour: Colour | str, text: str) -> "Key":
        """Return the entry of a colour, given as text or as three bytes."""
        return cls(colour=colour if isinstance(colour, str) else "#{:02x}{:02x}{:02x}".format(*colour), text=text)


@final
@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image with its caption."""

    source: str
    """Data URI."""
    caption: str
    """One or two sentences."""
    title: str = ""
    """A few words above the caption."""
    frame: tuple[float, float, float, float] | None = None
    """Top, left, height and width of a frame drawn over it, in percent."""
    plot: bool = False
    """A drawing of lines, not of pixels."""


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """Pictures side by side, and the legend they share."""

    pictures: tuple[Picture, ...]
    """From left to right."""
    title: str = ""
    """Above them."""
    note: str = ""
    """Beside the title: a figure or two."""
    legend: tuple[Key, ...] = ()
    """Below them."""
    columns: int = 2
    """Pictures in a line on a wide screen."""


@final
@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text; numbers are aligned by their digits."""

    head: tuple[str, ...]
    """Titles of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells."""
    muted: tuple[int, ...] = ()
    """Rows that are not ours: published figures."""
    best: tuple[int, ...] = ()
    """Rows to stress."""
    text_columns: int = 1
    """How many columns at the left are words."""
    title: str = ""
    """Above it."""
    notes: tuple[str, ...] = ()
    """Below it."""


@final
@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of the page."""

    key: str
    """Its anchor."""
    title: str
    """Its heading."""
    lead: str
    """What it shows, in a sentence or two."""
    tables: tuple[Table, ...] = ()
    """Before the pictures."""
    rows: tuple[Row, ...] = ()
    """Pictures."""
    facts: tuple[tuple[str, str], ...] = ()
    """Name and value, after the pictures."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.tables or self.rows or self.facts)


def plain(value: Any) -> str:
    """Return a value as a reader would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_nested(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return " · ".join(f"{key}: {_nested(item)}" for key, item in value.items())
    return str(value)


def _nested(value: Any) -> str:
    """Return a value inside another one."""
    return f"({plain(value)})" if isinstance(value, Mapping) else plain(value)
