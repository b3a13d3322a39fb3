"""Options of `view`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from tilespec.core.options import PYTHON, DryRun


@final
@dataclass(frozen=True, kw_only=True)
class ViewOptions(DryRun):
    """The options of `view`."""

    port: int = field(default=0, metadata={"between": (0, 65535)})
    """The page is served on this port of this machine; 0 takes a free one."""
    cache: str | None = field(default=None, metadata={"metavar": "DIR"})
    """The coarser copies lie in this folder. The default is beside each store, in STORE.tilespec, or this user's cache
    folder where nobody may write."""
    draw: str | None = field(default=None, metadata={"metavar": "OUT"})
    """What is drawn on the page is saved as labels in this store, for data.labels of a training. The drawing of a store
    that is there already is continued."""
    browser: bool = False
    """The page is opened in a browser of this machine too."""
    ready: Callable[[Mapping[str, Any]], None] | None = field(default=None, metadata=PYTHON)
    """This is called with the result when the page can be opened."""
