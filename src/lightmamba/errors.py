"""The one exception that a user's input may raise."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input: one sentence that says what is wrong, where, and what would be right.

    The command line prints it and exits with status 2.
    """
