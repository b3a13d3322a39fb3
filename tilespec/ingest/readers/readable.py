"""Readable: what a parser says of a file that it cannot read becomes one message that names the file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.readers.source import Facts, Source, SourceLayer


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn every error of a parser into a `UserError`.

    Parsers of other people's formats raise whatever their code meets on damaged input; there is no list of it.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            path,
            found=f"sizes that the memory cannot hold ({error})",
            expected="a whole file",
            do="If the file is not damaged, save it in a format that is read by rows: .npy, Zarr, HDF5 or ENVI.",
        ) from error
    except Exception as error:
        raise UserError(
            path,
            found=f"a file that cannot be read ({type(error).__name__}: {str(error)[:200]})",
            expected="a whole file of its format",
            do="It is damaged or of another format: copy it again, or save it anew.",
        ) from error


@final
@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A source whose parser's errors are messages, when it is opened and when its rows are read."""

    path: Path
    """The path of the file, for messages."""
    facts: Facts
    """The facts, with layers that are guarded too."""
    inner: Source
    """The source of the values."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows of the inner source."""
        with readable(self.path):
            return self.inner.read_rows(y0, y1)


def guarded_facts(path: Path, facts: Facts) -> Facts:
    """Return facts whose layers are read with messages for errors."""
    return replace(facts, layers=tuple(replace(layer, read=_guarded(path, layer)) for layer in facts.layers))


def _guarded(path: Path, layer: SourceLayer) -> Callable[[int, int], np.ndarray]:
    def read(y0: int, y1: int) -> np.ndarray:
        with readable(path):
            return layer.read(y0, y1)

    return read
