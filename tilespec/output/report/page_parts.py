"""Page parts: the contents of the page as values for the template, which escapes all text of users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

Colour = tuple[int, int, int]


@final
@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of a legend."""

    colour: str
    """The colour in CSS."""
    text: str
    """The meaning of the colour."""

    @classmethod
    def of(cls, colour: Colour | str, text: str) -> "Key":
        """Return the legend entry of a colour, given as text or as three bytes."""
        return cls(colour=colour if isinstance(colour, str) else "#{:02x}{:02x}{:02x}".format(*colour), text=text)


@final
@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image with its caption."""

    source: str
    """The data URI of the image."""
    caption: str
    """The caption of one or two sentences."""
    title: str = ""
    """The title of a few words above the caption."""
    frame: tuple[float, float, float, float] | None = None
    """The top, left, height and width in percent of a frame over the image."""
    plot: bool = False
    """Whether the image is a drawing of lines and not of pixels."""


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """Pictures side by side, and the legend they share."""

    pictures: tuple[Picture, ...]
    """The pictures from left to right."""
    title: str = ""
    """The title above the pictures."""
    note: str = ""
    """The note beside the title, a figure or two."""
    legend: tuple[Key, ...] = ()
    """The legend below the pictures."""
    columns: int = 2
    """The number of pictures in a line on a wide screen."""


@final
@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table of text, in which numbers are aligned by their digits."""

    head: tuple[str, ...]
    """The titles of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """The cells by rows."""
    muted: tuple[int, ...] = ()
    """The indices of the rows with published figures."""
    best: tuple[int, ...] = ()
    """The indices of the rows to emphasise."""
    text_columns: int = 1
    """The number of columns at the left that are words."""
    title: str = ""
    """The title above the table."""
    notes: tuple[str, ...] = ()
    """The notes below the table."""
    upright: bool = False
    """Whether the titles of the columns are written upright: a table of many narrow columns."""
    shades: tuple[tuple[float, ...], ...] = ()
    """How strongly each cell is coloured, from 0 to 1; none: not at all."""


@final
@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of the page."""

    key: str
    """The anchor of the section."""
    title: str
    """The heading of the section."""
    lead: str
    """The description in a sentence or two."""
    tables: tuple[PageTable, ...] = ()
    """The tables before the pictures."""
    rows: tuple[Row, ...] = ()
    """The rows of pictures."""
    facts: tuple[tuple[str, str], ...] = ()
    """The names and values after the pictures."""

    @property
    def empty(self) -> bool:
        """Whether the section has no contents."""
        return not (self.tables or self.rows or self.facts)


def plain(value: Any) -> str:
    """Return a value as text for the reader."""
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
    """Return a value inside another one as text."""
    return f"({plain(value)})" if isinstance(value, Mapping) else plain(value)
