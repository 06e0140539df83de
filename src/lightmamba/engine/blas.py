"""Numpy's matrix products on one thread: the engine brings its own, and two pools would fight.

(On two cores shared with another job, a pool of two in each of our threads was sixty times slower.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


@lru_cache
def _pools() -> Any:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit numpy's BLAS to one thread, in this whole process, while the body runs."""
    with _pools().limit(limits=1):
        yield
