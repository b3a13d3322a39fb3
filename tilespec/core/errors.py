"""Errors: messages for users, and the exit code of the command that ends with each."""

import re
from typing import Any, Final, final

CREDENTIALS: Final = (
    (re.compile(r"(?<=://)[^/\s'\"@]*@"), ""),
    (re.compile(r"(?<![^\s'\"])[^\s:@/'\"]+:[^\s@/'\"]+@(?=[\w\[])"), ""),
    (
        re.compile(r"(?i)\b((?:x-amz-)?(?:signature|credential|security-token|password|secret|token|sig)=)[^&\s'\"]+"),
        r"\1...",
    ),
)
"""The parts of an address that nobody else may read, and what a message has in their place."""


def without_credentials(text: str) -> str:
    """Return a text without the user, the password and the signatures of the addresses in it."""
    for pattern, instead in CREDENTIALS:
        text = pattern.sub(instead, text)
    return text


class UserError(ValueError):
    """A mistake of the user; the message has the place, what was found, what was expected, what to do (exit code 2).

    No message names the user or the password of an address.
    """

    def __init__(self, where: object, *, found: object, expected: object, do: str) -> None:
        super().__init__(without_credentials(f"{where}: found {found}; expected {expected}. {do}"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what another process makes it of: without this, a pool would wait for ever for an error of its own."""
        return _again, (type(self), str(self))


@final
class OccupiedError(UserError):
    """The place of an output holds another output, or a file; the option ``overwrite`` replaces it."""

    def __init__(self, where: object, *, found: object, expected: object, do: str) -> None:
        super().__init__(where, found=found, expected=expected, do=f"{do} --overwrite replaces it.")
        self.place = str(where)
        """The place of the output."""


class IncompleteError(RuntimeError):
    """The work ended, but parts of the product are missing; the message says which parts (exit code 3)."""

    def __init__(self, text: str) -> None:
        super().__init__(without_credentials(text))


@final
class LeaseLostError(IncompleteError):
    """Another run has taken over what this one was writing."""


def _again(kind: type[UserError], text: str) -> UserError:
    """Return an error with a message that is complete."""
    error = kind.__new__(kind, text)
    error.args = (text,)
    return error


EXIT_DONE, EXIT_USER, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 0, 2, 3, 130
