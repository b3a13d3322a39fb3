"""Tables: what the tables of a configuration are made of, and the table ``[validate]``."""

from collections.abc import Mapping
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Table(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Named(BaseModel):
    """A table whose further keys belong to the plug-in that it names."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: str
    """In the table of plug-ins, or the dotted path ``package.module:Name`` of one of your own."""


STORES = ("scene", "labels", "target")
"""Keys that name stores, one or a list."""


def listed(given: Any) -> Any:
    """Return a table in which one scene, or one store of labels or of a target, is a list of one."""
    if not isinstance(given, Mapping):
        return given
    return {k: [v] if k in STORES and isinstance(v, str) else v for k, v in given.items()}


@final
class Validate(Table):
    """What a training is judged on while it goes on: by `tilespec predict` itself, on pixels that it never learns from.

    Nothing is held out as long as rows, cols and scene are all None.
    """

    rows: str | None = None
    """``"A:B"``: rows that are held out; they overlap neither the training nor the test region."""
    cols: str | None = None
    """``"A:B"``: columns that are held out."""
    scene: tuple[str, ...] | None = None
    """One other scene or a list, of which rows and cols are; None: those of ``data.scene``."""
    labels: tuple[str, ...] | None = None
    """Stores with a ``labels`` layer, one for each of these scenes; None: as for ``data.scene``, else their own."""
    target: tuple[str, ...] | None = None
    """Stores whose ``cube`` should be answered, one for each of these scenes; None: as for ``data.scene``."""
    every: int = Field(default=100, ge=1)
    """Steps between two validations; the last step is always followed by one."""
    metric: str | None = None
    """What is compared, such as ``iou``, ``miou``, ``oa``, ``kappa``; None: the task's first."""
    patience: int = Field(default=0, ge=0)
    """Validations in a row without a better one after which the training ends; 0: it never ends early."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the model: those of the best validation (of equals, the earliest), or the last ones."""
    tile: int | None = Field(default=None, ge=1)
    """Side of the tiles as in `tilespec predict --tile`; None: the model's own, the patch."""
    overlap: int | None = Field(default=None, ge=0)
    """Pixels that neighbouring tiles share, as in `tilespec predict --overlap`; None: the model's own."""
    norm: Literal["tile", "frozen"] = "tile"
    """Statistics of norms over space, as in `tilespec predict --norm`."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        return listed(given)

    @property
    def held_out(self) -> bool:
        """Whether anything is."""
        return any((self.rows, self.cols, self.scene))
