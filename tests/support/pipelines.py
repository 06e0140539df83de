"""A pipeline of ``rtl.pipe`` as a component of its own, so that ``drive`` can test it."""

from collections.abc import Callable, Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring

from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed

__all__ = ["Piped"]


class Piped(wiring.Component):
    """Pipeline from the fields of ``i`` to those of ``o``, one beat per cycle.

    Parameters
    ----------
    inputs : {name: shape}
    build
        Given the pipe and the inputs by name, returns the outputs by name.
    extra, settle
        Of the queue at the end.

    Attributes
    ----------
    stage : int
        Cycles of the pipeline without its queue.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        build: Callable[..., Mapping[str, Timed]],
        *,
        extra: int = 0,
        settle: bool = False,
    ) -> None:
        self.m, self.extra, self.settle = Module(), extra, settle
        self.given: Any = Signal(data.StructLayout(inputs))
        self.pipe = Pipe(self.m)
        made = build(self.pipe, **{name: self.pipe.input(self.given[name]) for name in inputs})
        self.results = self.pipe.align(*made.values())
        self.stage = self.results[0].stage
        self.busy = Signal()
        shapes = {name: r.value.shape() for name, r in zip(made, self.results, strict=True)}
        super().__init__(
            {"i": i_stream(self.given.shape()), "o": o_stream(data.StructLayout(shapes))}
        )

    def elaborate(self, platform: object) -> Module:
        m, issue = self.m, Signal()
        queue = Queue(m, self.o, latency=self.stage, extra=self.extra, settle=self.settle)
        m.d.comb += [
            self.given.eq(self.i.payload),
            self.i.ready.eq(queue.room),
            issue.eq(self.i.valid & queue.room),
            self.busy.eq(queue.busy),
        ]
        result = Cat(r.value for r in self.results)
        queue.connect(issue, self.pipe.valid(issue, self.stage), result)
        return m
