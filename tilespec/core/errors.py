"""What users are told, and the exit code that goes with it."""

from typing import final


@final
class UserError(ValueError):
    """The user's mistake: one message with the place, what was found, what was expected, what to do (exit 2)."""

    def __init__(self, where: object, *, found: object, expected: object, do: str) -> None:
        super().__init__(f"{where}: found {found}; expected {expected}. {do}")


@final
class IncompleteError(RuntimeError):
    """Work that ended, but not whole: the product says which parts are missing (exit 3)."""


EXIT_DONE, EXIT_USER, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 0, 2, 3, 130
