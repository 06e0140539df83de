"""Runners of jobs, this process or workers: they take orders and give outcomes."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from lightmamba.study.sweep.verbs import Progress
from lightmamba.study.sweep.work import Order, Outcome, attempt

__all__ = ["InProcess", "Runner"]


class Runner(Protocol):
    """Takes orders and gives outcomes, in whatever order they come.

    Attributes
    ----------
    places : int
        Orders that it can work on at once; no more are started.
    threads : int
        Of each job.
    """

    @property
    def places(self) -> int: ...

    @property
    def threads(self) -> int: ...

    def start(self, order: Order) -> None:
        """Begin an order."""
        ...

    def wait(self, progress: Progress) -> Outcome | None:
        """Wait for one that is finished; None after about a second.

        ``progress`` gets the progress of this process's orders.
        """
        ...

    def close(self) -> None:
        """Let go of the workers; what they are at is lost."""
        ...


class InProcess:
    """One job after the other, here.

    Parameters
    ----------
    threads : int
    do : callable
        What is done with an order.
    """

    places = 1

    def __init__(
        self, threads: int = 1, do: Callable[[Order, Progress | None], Outcome] = attempt
    ) -> None:
        self.threads, self._do = threads, do
        self._orders: deque[Order] = deque()

    def start(self, order: Order) -> None:
        """Begin an order, as soon as somebody waits for it."""
        self._orders.append(order)

    def wait(self, progress: Progress) -> Outcome | None:
        """Do the next order."""
        return self._do(self._orders.popleft(), progress)

    def close(self) -> None:
        """Nothing is held."""
