"""Selector: one of several streams to a port, as the command of its unit says."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from lightmamba.hardware.rtl.layouts import i_stream, o_stream

__all__ = ["Select"]


class Select(wiring.Component):
    """Pass on the transfers of the chosen input; the others wait.

    Combinational, a transfer per cycle.

    Parameters
    ----------
    shape
        Of the payload.
    count : int
        Inputs.

    Members
    -------
    choice : In(range(count))
        Registered by whoever gives it.
    i0, i1, ... : In(stream of shape)
    o : Out(stream of shape)
    """

    latency, interval = 0, 1

    choice: Any
    o: Any

    def __init__(self, shape: Any, count: int) -> None:
        self.count = count
        inputs = {f"i{n}": i_stream(shape) for n in range(count)}
        super().__init__({"choice": In(range(count)), **inputs, "o": o_stream(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid: Value = Const(0, 1)
        value: Value = Const(0, len(Value.cast(self.o.payload)))
        for n in range(self.count):
            given, ours = getattr(self, f"i{n}"), self.choice == n
            valid |= ours & given.valid
            value |= Mux(ours, Value.cast(given.payload), 0)
            m.d.comb += given.ready.eq(ours & self.o.ready)
        m.d.comb += [self.o.valid.eq(valid), Value.cast(self.o.payload).eq(value)]
        return m
