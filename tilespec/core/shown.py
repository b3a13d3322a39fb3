"""Shown: values that notebooks show as a picture and a table."""

from typing import Final

from tilespec.core.registry import import_object

PAGE: Final = "tilespec.output.notebook:page"
"""The function that draws them, which nobody loads who does not look."""


class Shown:
    """A value that Jupyter shows in its own way."""

    def _repr_html_(self) -> str:
        """Return the value as Jupyter shows it."""
        return str(import_object(PAGE, "function")(self))
