"""Queues of a running model: when each item may be taken, and whom that wakes."""

from lightmamba.estimate.jit import kernel
from lightmamba.estimate.places import NEVER, QUEUES

__all__ = ["BEATS", "clear", "entry", "give", "pop", "push", "release", "room", "wake", "when"]

BEATS = len(QUEUES)  # of the first reader


@kernel
def wake(m, unit, at):
    """Let a unit act at ``at``, or earlier if it would anyway."""
    m.units[unit].wake = min(m.units[unit].wake, at)


@kernel
def entry(m, t, queue, place):
    """First cycle in which the item at a place may be taken, 0 the oldest; never, without one."""
    q = m.queues[queue]
    return t[q.ring + ((q.head + place) & q.mask)] if place < q.count else NEVER


@kernel
def when(m, t, queue):
    """The same of the oldest item; a word whose beat was taken is there."""
    if queue >= BEATS and m.readers[queue - BEATS].have:
        return 0
    return entry(m, t, queue, 0)


@kernel
def room(m, queue):
    """Whether another item fits."""
    return m.queues[queue].count < m.queues[queue].room


@kernel
def push(m, t, queue, at):
    """Put an item that may be taken from ``at`` on."""
    q = m.queues[queue]
    t[q.ring + ((q.head + q.count) & q.mask)] = at
    q.count += 1
    wake(m, q.target, at)


@kernel
def give(m, t, queue, now):
    """Put an item that comes out of its unit when its latency has passed."""
    push(m, t, queue, now + m.queues[queue].latency)


@kernel
def pop(m, queue, now):
    """Take the oldest item; who puts in sees the room in the next cycle."""
    q = m.queues[queue]
    q.head += 1
    q.count -= 1
    wake(m, q.source, now + 1)


@kernel
def release(m, t, queue, count, now):
    """Let the newest ``count`` items go: they come out when the unit's latency has passed."""
    q = m.queues[queue]
    if count == 0:
        return
    for place in range(q.count - count, q.count):
        t[q.ring + ((q.head + place) & q.mask)] = now + q.latency
    wake(m, q.target, now + q.latency)


@kernel
def clear(m, queue, now):
    """Forget all items."""
    m.queues[queue].count = 0
    wake(m, m.queues[queue].source, now + 1)
