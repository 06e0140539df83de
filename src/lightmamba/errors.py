"""The exceptions that the command line turns into one sentence."""

__all__ = ["DeviceError", "InputError"]


class InputError(ValueError):
    """Bad input: one sentence that says what is wrong, where, and what would be right.

    The command line prints it and exits with status 2.
    """


class DeviceError(RuntimeError):
    """The device did not do what its contract says, or was used against it.

    The command line prints it and exits with status 1.
    """
