"""Queues of a running model: when each entry may be taken, and whom that wakes."""

from lightmamba.estimate.jit import kernel
from lightmamba.estimate.places import (
    NEVER,
    Q_COUNT,
    Q_FROM,
    Q_HEAD,
    Q_MASK,
    Q_RING,
    Q_ROOM,
    Q_SIZE,
    Q_TO,
    QUEUE_TABLE,
    WAKE,
)  # fmt: skip

__all__ = ["clear", "entry", "pop", "push", "release", "room", "wake", "when"]


@kernel
def wake(a, unit, at):
    """Let a unit act at ``at``, or earlier if it would anyway."""
    if at < a[WAKE + unit]:
        a[WAKE + unit] = at


@kernel
def when(a, t, queue):
    """First cycle in which the oldest entry may be taken; never, without one."""
    row = QUEUE_TABLE + queue * Q_SIZE
    if a[row + Q_COUNT] == 0:
        return NEVER
    return t[a[row + Q_RING] + (a[row + Q_HEAD] & a[row + Q_MASK])]


@kernel
def entry(a, t, queue, place):
    """The same of the entry at a place; the oldest is at 0."""
    row = QUEUE_TABLE + queue * Q_SIZE
    if place >= a[row + Q_COUNT]:
        return NEVER
    return t[a[row + Q_RING] + ((a[row + Q_HEAD] + place) & a[row + Q_MASK])]


@kernel
def room(a, queue):
    """Whether another entry fits."""
    row = QUEUE_TABLE + queue * Q_SIZE
    return a[row + Q_COUNT] < a[row + Q_ROOM]


@kernel
def push(a, t, queue, at):
    """Put an entry that may be taken from ``at`` on."""
    row = QUEUE_TABLE + queue * Q_SIZE
    place = (a[row + Q_HEAD] + a[row + Q_COUNT]) & a[row + Q_MASK]
    t[a[row + Q_RING] + place] = at
    a[row + Q_COUNT] += 1
    wake(a, a[row + Q_TO], at)


@kernel
def pop(a, queue, now):
    """Take the oldest entry; who puts in sees the room in the next cycle."""
    row = QUEUE_TABLE + queue * Q_SIZE
    a[row + Q_HEAD] += 1
    a[row + Q_COUNT] -= 1
    wake(a, a[row + Q_FROM], now + 1)


@kernel
def release(a, t, queue, count, at):
    """Let the newest ``count`` entries be taken from ``at`` on."""
    row = QUEUE_TABLE + queue * Q_SIZE
    end = a[row + Q_HEAD] + a[row + Q_COUNT]
    for place in range(end - count, end):
        t[a[row + Q_RING] + (place & a[row + Q_MASK])] = at
    wake(a, a[row + Q_TO], at)


@kernel
def clear(a, queue, now):
    """Forget all entries."""
    row = QUEUE_TABLE + queue * Q_SIZE
    a[row + Q_COUNT] = 0
    wake(a, a[row + Q_FROM], now + 1)
