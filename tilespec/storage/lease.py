"""Lease: the right of a run to write a product, or the part of it that the run has claimed."""

from dataclasses import dataclass
from typing import final

from tilespec.core.errors import LeaseLostError
from tilespec.storage.backends.base import StorePath
from tilespec.storage.files import read_json


@final
@dataclass(frozen=True, kw_only=True)
class Lease:
    """An object that names the run which may write; a small value that is sent to workers."""

    path: StorePath
    """The place of the object: the lock of the product, or the claim of a part."""
    token: str
    """The text that names the run."""

    @property
    def held(self) -> bool:
        """Whether the object names the run still."""
        return (read_json(self.path) or {}).get("token") == self.token

    def check(self) -> None:
        """Do nothing while the run may write.

        Raises:
            LeaseLostError: another run has taken over, because this one gave no sign of life.
        """
        if not self.held:
            raise LeaseLostError(f"{self.path} names another run, which has taken over; this one writes no more")
