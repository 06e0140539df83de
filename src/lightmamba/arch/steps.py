"""Tables of steps: what a unit takes and gives in each step of a job, as the estimate runs it.

Most follow from the graph: an item of a stream every few steps. What is irregular is written down
where it belongs: of the spine in ``hardware/machine/steps.py``, of a kind in
``steps`` of its hardware (``blocks/KIND/hardware.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLEAR", "EMPTY", "HELD", "KEPT", "NONE", "SINGLY", "Column", "Table", "column", "encode",
    "every", "joined",
]  # fmt: skip

# Items that a step takes: a number (0 only waits until there is one), or one of these.
NONE = -1  # ignores the queue (also for items that a step gives)
KEPT = -2  # takes one item, whose place stays occupied
CLEAR = -3  # frees all places that KEPT left occupied
# Items that a step gives: a number (0 only waits until there is space for one), or one of these.
EMPTY = -2  # waits until the queue is empty
SINGLY = -3  # gives two items, one after the other
HELD = 64  # HELD + n: gives one item that is held back, and releases the last n

Column = int | NDArray[np.int16]
MOST = 1 << 20  # different steps that could be, up to which a list of all finds them


@dataclass(frozen=True)
class Table:
    """Steps of a job.

    Parameters
    ----------
    steps : int
    takes, gives : {name: items}
        Of streams and links, a number or one for each step. ``memory.CLIENT`` are beats of a
        client, ``leave.CLIENT`` commands that it may carry out.
    pause : int or one for each step
        Cycles to the next step.
    why : int or one for each step
        What the cycle of a step counts as; -1: the unit's cycles are not counted.
    missing : {name: int}
        What a cycle counts as that waits for a stream.
    mark : int or one for each step
        1 in the middle of a job and 2 at its end, where this is logged.
    split : bool
        What a step gives leaves one by one, as it fits.
    """

    steps: int
    takes: Mapping[str, Column]
    gives: Mapping[str, Column]
    pause: Column = 1
    why: Column = -1
    missing: Mapping[str, int] = field(default_factory=dict)
    mark: Column = 0
    split: bool = False


def column(steps: int, value: int = NONE) -> NDArray[np.int16]:
    """A number for each step."""
    return np.full(steps, value, np.int16)


def every(steps: int, period: int) -> NDArray[np.int16]:
    """One item with the last step of each group, and with the last step of all."""
    found = column(steps, 0)
    found[period - 1 :: period] = found[-1] = 1
    return found


def joined(*tables: Table) -> Table:
    """Tables of one unit, whose cycles are not counted, one after the other."""

    def long(table: Table, items: Column) -> NDArray[np.int16]:
        return np.broadcast_to(np.asarray(items, np.int16), table.steps)

    def together(which: str) -> dict[str, Column]:
        names = dict.fromkeys(name for table in tables for name in getattr(table, which))
        return {
            name: np.concatenate([long(t, getattr(t, which).get(name, NONE)) for t in tables])
            for name in names
        }

    pauses = np.concatenate([long(table, table.pause) for table in tables])
    steps = sum(table.steps for table in tables)
    return Table(steps, together("takes"), together("gives"), pauses)


def encode(table: Table) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Number of every step, (steps,), and the place of the first step of each number.

    Tables are long, but few of their steps are different.
    """
    columns = [*table.takes.values(), *table.gives.values(), table.pause, table.why, table.mark]
    key, size = np.zeros(table.steps, np.int64), 1
    for items in columns:
        if isinstance(items, int):
            continue
        low = int(items.min())
        span = int(items.max()) - low + 1
        key *= span
        key += items
        key -= low
        size *= span
    if size > MOST:
        _, key = np.unique(key, return_inverse=True)
        size = int(key.max()) + 1
    first = np.full(size, table.steps, np.int64)
    first[key[::-1]] = np.arange(table.steps)[::-1]
    there = np.flatnonzero(first < table.steps)
    number = np.zeros(size, np.uint8)
    number[there] = np.arange(len(there))
    return number[key], first[there]
