"""Errors: messages for users, and the exit code of the command that ends with each."""

from typing import final


@final
class UserError(ValueError):
    """A mistake of the user; the message has the place, what was found, what was expected, what to do (exit code 2)."""

    def __init__(self, where: object, *, found: object, expected: object, do: str) -> None:
        super().__init__(f"{where}: found {found}; expected {expected}. {do}")


@final
class IncompleteError(RuntimeError):
    """The work ended, but parts of the product are missing; the message says which parts (exit code 3)."""


EXIT_DONE, EXIT_USER, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 0, 2, 3, 130
