"""Checks: numbers that make no net, and images whose sides a net cannot halve, are refused in one way."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tilespec.core.errors import UserError

Limit = tuple[Any, bool, str]
"""What was found, whether it will do, and what was expected."""


def within(limits: Mapping[str, Limit]) -> None:
    """Refuse the first parameter, by its name in the configuration, that is beyond its limit.

    Raises:
        UserError: a parameter that makes no net.
    """
    for where, (found, good, expected) in limits.items():
        if not good:
            raise UserError(where, found=found, expected=expected, do="Change it in the configuration.")


def multiples(where: str, x: Float[Tensor, "batch channel y x"], align: int, *, why: str, do: str) -> None:
    """Refuse an image whose sides are no multiples of ``align``: `tilespec predict` pads, direct calls do not.

    Raises:
        UserError: with the multiple to use.
    """
    height, width = x.shape[2:]
    if height % align or width % align:
        expected = f"sides that are multiples of {why} = {align}"
        raise UserError(where, found=f"{height} x {width} pixels", expected=expected, do=do)
