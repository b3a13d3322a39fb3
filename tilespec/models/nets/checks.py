"""Checks: invalid parameters of nets, and images whose sides a net cannot halve, are refused."""

from collections.abc import Collection, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tilespec.core.errors import UserError

DEEPEST = 16
"""The largest number of halvings of a net: of an image of 65,536 pixels one is left."""
Limit = tuple[Any, bool, str]
"""A condition on a parameter: the value as found, whether it is valid, and what was expected."""


def one_of(value: str, known: Collection[str]) -> Limit:
    """Return the condition that a parameter is one of the known names."""
    return repr(value), value in known, f"one of {', '.join(known)}"


def within(limits: Mapping[str, Limit]) -> None:
    """Refuse the first parameter, by its name in the configuration, that violates its limit.

    Raises:
        UserError: a parameter defines no valid net.
    """
    for where, (found, good, expected) in limits.items():
        if not good:
            raise UserError(where, found=found, expected=expected, do="Change it in the configuration.")


def multiples(where: str, x: Float[Tensor, "batch channel y x"], align: int, *, why: str, do: str) -> None:
    """Refuse an image whose sides are not multiples of ``align``: `tilespec predict` pads, direct calls do not.

    Raises:
        UserError: a side is not a multiple; the message gives the multiple to use.
    """
    height, width = x.shape[2:]
    if height % align or width % align:
        expected = f"sides that are multiples of {why} = {align}"
        raise UserError(where, found=f"{height} x {width} pixels", expected=expected, do=do)
