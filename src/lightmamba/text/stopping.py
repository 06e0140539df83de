"""Stop strings in a stream of text that arrives in pieces."""

from collections.abc import Sequence

from lightmamba.common.errors import InputError

__all__ = ["StopMatcher"]


class StopMatcher:
    """Let text through up to the first stop string, which is not part of it.

    The first is the one that ends first, and of those the longest; so the result does not depend on
    how the text was cut into pieces. Text that may be the beginning of a stop string is held back.

    Parameters
    ----------
    stop_strings : sequence of str

    Raises
    ------
    InputError
        If one of them is empty.
    """

    def __init__(self, stop_strings: Sequence[str]) -> None:
        if isinstance(stop_strings, str):
            stop_strings = (stop_strings,)
        if not all(stop_strings):
            raise InputError("a stop string is empty; give at least one character, such as '\\n'")
        self._stops = tuple(stop_strings)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Add text and return what is certain to come before any stop string."""
        if self.stopped:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        certain = len(text) - self._beginning(text)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """Return what was held back: no stop string came of it."""
        text, self._held = self._held, ""
        return text

    def _beginning(self, text: str) -> int:
        """Count the characters at the end of ``text`` that may begin a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
