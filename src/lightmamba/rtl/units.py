"""The units of the datapath, made and wired as the graph of the machine says."""

from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.graph import Unit
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.program import COMMANDS
from lightmamba.rtl.counters import Counters
from lightmamba.rtl.layouts import shape
from lightmamba.rtl.streams import StreamQueue, join

__all__ = ["Units"]


class Units(Elaboratable):
    """All units of a machine; each is an attribute under its name in the graph.

    What is left open is the side of the memory: the streams of the graph from and to ``memory``.

    Parameters
    ----------
    config : ArchConfig

    Attributes
    ----------
    busy : Signal
        Some unit has a command that is not finished. Registered.
    working : Signal
        Which of them, in the order of the table of commands.
    """

    # Those that something else than a stream connects to.
    bc: Any
    head: Any
    lanes: Any
    quant_in: Any
    ssm: Any

    def __init__(self, config: ArchConfig) -> None:
        self.parts: dict[str, Any] = {}
        for unit in sorted(MACHINE.units, key=lambda u: u.name == "lanes"):
            self.parts[unit.name] = self._made(unit, config)
        for stream in MACHINE.between():
            if stream.queue:
                queue = StreamQueue(shape(stream.payload), stream.depth(config))
                self.parts[f"{stream.name}_queue"] = queue
        for name, part in self.parts.items():
            setattr(self, name, part)
        self.busy = Signal()
        self.working = Signal(len(COMMANDS))
        self.for_head = Signal()  # what quant_in works on is the head's input

    def _made(self, unit: Unit, config: ArchConfig) -> Any:
        """A unit: made of the build parameters, or of nothing, but for three."""
        file, name = unit.rtl.split(":")
        kind = getattr(import_module(f"lightmamba.rtl.{file}"), name)
        if name == "Residual":
            return kind(config.in_channels)
        if name == "Quantizer":
            return kind(config.projection.act, config.head.act)
        if name == "Lanes":
            return kind(config, self.parts["activations"])
        return kind(config) if "config" in signature(kind).parameters else kind()

    def port(self, end: str) -> Any:
        """A port, ``unit.port``, as the graph names it."""
        unit, port = end.split(".")
        return getattr(self.parts[unit], port)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in dict.fromkeys([*COMMANDS, *self.parts]):
            m.submodules[name] = self.parts[name]
        for o, i in self._streams():
            join(m, o, i)
        m.d.comb += [
            self.bc.address.eq(self.ssm.address),
            Value.cast(self.ssm.B).eq(Value.cast(self.bc.B)),
            Value.cast(self.ssm.C).eq(Value.cast(self.bc.C)),
        ]
        with m.If(self.quant_in.command.valid & self.quant_in.command.ready):
            m.d.sync += self.for_head.eq(self.quant_in.command.payload.head)
        working = Cat(self.parts[u].busy | self.parts[u].command.valid for u in COMMANDS)
        m.d.sync += [self.working.eq(working), self.busy.eq(working.any())]
        return m

    def _streams(self) -> Iterator[tuple[Any, Any]]:
        """Output and input of every connection, in the order of the graph."""
        for stream in MACHINE.between():
            source, target = self.port(stream.source), self.port(stream.target)
            if stream.queue:
                queue = self.parts[f"{stream.name}_queue"]
                yield source, queue.i
                source = queue.o
            yield source, target

    def count(self, counters: Counters) -> None:
        """Connect everything that the units count."""
        events = {c.name: [self.port(event) for event in c.events] for c in MACHINE.counters}
        working = Cat(events[c.name] for c in MACHINE.counters if c.kind == "cycle")
        lost = self.quant_in.lost_scale
        events["idle"] = [~working.any()]
        events["ssm_busy"] = [self.ssm.busy & ~self.ssm.waiting]
        events["in_proj.scale"] = [Mux(self.for_head, 0, lost)]
        events["head.scale"] = [Mux(self.for_head, lost, 0)]
        for name, added in events.items():
            for event in added:
                counters.count(name, event)

    def seen(self) -> Iterator[tuple[str, Value, list[Value]]]:
        """Every probe: its name, when it has something to show, and its fields."""
        for unit in MACHINE.units:
            for shown in unit.shows:
                port = self.port(f"{unit.name}.{shown.port}")
                if not hasattr(port, "ready"):
                    yield shown.name, port.valid, [getattr(port, e.name) for e in shown.elements]
                    continue
                payload = port.payload
                fields = getattr(payload.shape(), "members", {})
                values = [getattr(payload, e.name) if fields else payload for e in shown.elements]
                yield shown.name, port.valid & port.ready, values
