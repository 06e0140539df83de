"""Locks in a process that forks."""

import os
import threading
from typing import ClassVar
from weakref import WeakSet

__all__ = ["ForkLock"]


class ForkLock:
    """A lock that is free in a child of fork, whichever thread of the parent had it.

    That thread is not in the child, so nobody would ever give the lock back.
    """

    _every: ClassVar["WeakSet[ForkLock]"] = WeakSet()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        ForkLock._every.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    @staticmethod
    def renew() -> None:
        """Free all of them; called in the child before anything else runs there."""
        for lock in list(ForkLock._every):
            lock._lock = threading.Lock()


os.register_at_fork(after_in_child=ForkLock.renew)
