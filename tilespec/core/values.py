"""Plain values: what people hold in Python, as the plain data that verbs take."""

import os
import sys
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return paths as text, NumPy's numbers as Python's, and both inside mappings, lists and tuples too."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if is_scalar(value):
        return value.item()
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return type(value)(map(plain, value)) if isinstance(value, list | tuple) else [plain(each) for each in value]
    return value


def span(value: Any) -> Any:
    """Return a span of rows or columns as text ``A:B``, from a text, a slice, a range, or a pair of numbers."""
    if isinstance(value, slice | range):
        value = (value.start, value.stop) if value.step in {None, 1} else value
    elif is_array(value):
        value = value.tolist()
    if isinstance(value, list | tuple) and len(value) == 2:
        return ":".join("" if end is None else str(plain(end)) for end in value)
    return value if value is None or isinstance(value, str) else str(value)


def listed(value: Any) -> Any:
    """Return the texts of a list, such as steps, as one text with commas; anything else as it is."""
    return ",".join(str(plain(each)) for each in value) if isinstance(value, list | tuple) else value


def is_array(value: Any) -> bool:
    """Return whether a value is an array in memory: of NumPy, or one or several of xarray."""
    numpy, xarray = sys.modules.get("numpy"), sys.modules.get("xarray")
    several = numpy is not None and isinstance(value, numpy.ndarray) and value.ndim > 0
    return several or (xarray is not None and isinstance(value, xarray.DataArray | xarray.Dataset))


def is_scalar(value: Any) -> bool:
    """Return whether a value is a single number of NumPy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and (
        isinstance(value, numpy.generic) or (isinstance(value, numpy.ndarray) and not value.ndim)
    )
