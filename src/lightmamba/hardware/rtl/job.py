"""Command handling of every unit: take one when idle, be busy until it is done; count."""

from typing import Any

from amaranth.hdl import Module, Signal, Value

__all__ = ["Countdown", "Job"]


class Job:
    """The command that a unit works on.

    Parameters
    ----------
    m : Module
    command : stream interface
        Where commands come from; one is taken whenever the unit is idle.
    busy : Signal
        Output of the unit: 1 from the transfer of a command until :meth:`end`.

    Attributes
    ----------
    fields : data.View
        The command, stable while the unit works.
    start : Signal
        A command is taken in this cycle; its values are in ``command.payload``.
    active : Signal
        The unit works. Registered: first 1 in the cycle after ``start``.
    """

    def __init__(self, m: Module, command: Any, busy: Any) -> None:
        self.m = m
        self.active, self.start = Signal(), Signal()
        self.fields: Any = Signal(command.payload.shape(), reset_less=True)
        m.d.comb += [
            command.ready.eq(~self.active),
            self.start.eq(command.valid & ~self.active),
            busy.eq(self.active | command.valid),
        ]
        with m.If(self.start):
            m.d.sync += [self.active.eq(1), self.fields.eq(command.payload)]

    def end(self, done: Value) -> None:
        """Be idle from the cycle after ``done``."""
        with self.m.If(self.active & done):
            self.m.d.sync += self.active.eq(0)


class Countdown:
    """Remaining steps of a job, with both comparisons in registers.

    Parameters
    ----------
    bits : int
        Of the count.
    by : int
        That a step takes off; the last one may be less.

    Attributes
    ----------
    some, last : Signal
        More than none is left; no more than one step.
    """

    def __init__(self, bits: int, by: int = 1) -> None:
        self.some, self.last, self.by = Signal(), Signal(), by
        self._left = Signal(bits)

    def load(self, count: Value) -> list[Any]:
        """Assignments that begin anew."""
        last = count == 1 if self.by == 1 else (count != 0) & (count <= self.by)
        return [self._left.eq(count), self.some.eq(count != 0), self.last.eq(last)]

    def step(self) -> list[Any]:
        """Assignments that take a step's off; some is left."""
        left, by = self._left, self.by
        return [
            left.eq(left - by), self.some.eq(~self.last),
            self.last.eq(left == 2 if by == 1 else ~self.last & (left <= 2 * by)),
        ]  # fmt: skip
