"""Progress of an evaluation; resumed work is excluded from the rate."""

from lightmamba.evaluate.model import Progress

__all__ = ["Count"]


class Count:
    """Tells a progress bar how many tokens are done.

    What an earlier run did is not reported until something is done, so that a bar that estimates
    the time left begins to measure there.

    Parameters
    ----------
    progress : callable (done, total), optional
    total : int
        Tokens in all.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total = progress, total
        self._done, self._reported = 0, True

    def add(self, tokens: int) -> None:
        """Add to the number done."""
        self.end()
        self._done += tokens
        self._reported = False
        self.end()

    def skip(self, tokens: int) -> None:
        """Add to the number done by an earlier run."""
        self._done += tokens
        self._reported = False

    def end(self) -> None:
        """Report what was not reported yet."""
        if not self._reported and self._progress is not None:
            self._progress(self._done, self._total)
        self._reported = True
