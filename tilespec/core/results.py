"""Results: what a verb returns, a dictionary of plain data that people can read and address by names."""

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any, Final, final

LONG: Final = 160
"""The number of characters after which a value is cut."""
BYTES: Final = re.compile(r"(?:^|_)(?:bytes|memory)(?:_|$)")
"""The names of counts of bytes."""
UNITS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
"""The units of bytes, the largest first."""


@final
class Result(dict[str, Any]):
    """The result of a verb: ``result["oa"]`` and ``result.oa`` are the same, and it prints as lines for people."""

    def __getattr__(self, name: str) -> Any:
        """Return the value of a name.

        Raises:
            AttributeError: the result has no such name.
        """
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the result has no {name!r}; it has {', '.join(self)}") from None

    def __dir__(self) -> list[str]:
        """Return the names of the values too, for completion."""
        return [*super().__dir__(), *map(str, self)]

    def __repr__(self) -> str:
        return human(self)


def human(result: Mapping[str, Any], indent: str = "") -> str:
    """Return a result as aligned lines."""
    width = max((len(str(key)) for key in result), default=0)
    lines = []
    for key, value in result.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}", human(value, indent + "  ")]
        elif isinstance(value, str) and "\n" in value:
            lines += [f"{indent}{key}", textwrap.indent(value, f"{indent}  " if indent else "")]
        elif isinstance(value, list) and value and all(isinstance(row, Mapping) and row for row in value):
            lines += [f"{indent}{key}", *_table(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key!s:<{width}}  {_short(str(key), value)}")
    return "\n".join(lines)


def _table(rows: list[Mapping[str, Any]], indent: str) -> list[str]:
    """Return values with the same names as the lines of a table, the names above; others line by line."""
    heads = [str(key) for key in rows[0]]
    if any(list(map(str, row)) != heads for row in rows):
        return [line for row in rows for line in (human(row, indent), "")][:-1]
    cells = [heads, *([_short(key, row[key]) for key in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    return [
        (
            indent
            + "  ".join(c.ljust(w) if text else c.rjust(w) for c, w, text in zip(line, widths, left, strict=True))
        ).rstrip()
        for line in cells
    ]


def _short(name: str, value: Any) -> str:
    """Return a value on one line: bytes in their unit, six digits of a number, and the start of a long list."""
    if isinstance(value, int) and not isinstance(value, bool) and BYTES.search(name):
        return in_bytes(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(_rounded(value), ensure_ascii=False) if isinstance(value, list) else str(value)
    whole = isinstance(value, list) and all(isinstance(each, str) for each in value)  # names are of use as a whole
    return text if len(text) <= LONG or whole else text[: LONG - 3] + "..."


def _rounded(value: Any) -> Any:
    """Return lists of numbers with six digits each."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def in_bytes(size: float) -> str:
    """Return a count of bytes with three digits and its unit, such as ``710 MB``."""
    scale, unit = next(((scale, unit) for scale, unit in UNITS if abs(size) >= scale), (1, "bytes"))
    return f"{size / scale:.3g} {unit}" if scale > 1 else f"{size:.0f} {unit}"
