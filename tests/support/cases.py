"""Cases of two lists of parameters: every pair in ``make test-all``, a diagonal in others."""

from collections.abc import Sequence
from typing import Any

import pytest

__all__ = ["crossed"]


def crossed(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    """All pairs, joined if they are tuples; quick ones have every value of both lists.

    Parameters
    ----------
    first, second
        Values, or tuples of several parameters.
    """
    size = max(len(first), len(second))
    quick = {(n % len(first), n % len(second)) for n in range(size)}
    return [
        pytest.param(*_joined(a), *_joined(b), marks=[pytest.mark.slow] * ((i, j) not in quick))
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]


def _joined(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)
