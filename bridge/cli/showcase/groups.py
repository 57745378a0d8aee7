"""Exception groups, reduced to the one error that a command shows."""

from typing import TypeVar

Error = TypeVar("Error", bound=BaseException)


def first_error(errors: BaseExceptionGroup[Error]) -> Error:
    """Find the first error of a group, however deep it lies; the others are its consequences."""
    first = errors.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
