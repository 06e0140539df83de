"""The exceptions that the command line turns into one sentence."""

from typing import Any

__all__ = ["DeviceError", "InputError", "Terminated", "installing", "shown"]

SHOWN = 60  # characters of a wrong value that a sentence shows
LONGEST = 1500  # characters of a sentence


class InputError(ValueError):
    """Bad input: one sentence that says what is wrong, where, and what would be right.

    Names and messages of others may be part of it, so its text is put on one line, characters that
    would move a terminal's cursor are spelled out, and an endless one is cut in its middle.

    The command line prints it and exits with status 2.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_line(text))


def _line(text: str) -> str:
    lines = " ".join(line.strip() for line in text.splitlines())
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in lines)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 300]} … {plain[-290:]}"


class DeviceError(RuntimeError):
    """The device did not do what its contract says, or was used against it.

    The command line prints it and exits with status 1.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a verb as Ctrl+C does, and a chat too."""


def installing(extra: str) -> str:
    """Command that installs an extra; the package is not on PyPI."""
    return f"pip install '.[{extra}]' (in a clone of LightMamba)"


def shown(value: Any) -> str:
    """A wrong value as a sentence shows it: on one line, cut where it is long."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:  # a number of more digits than Python writes
        return "a very large number"
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
