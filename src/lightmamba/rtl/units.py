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
from lightmamba.machine.counters import of_vector
from lightmamba.rtl.counters import Counters
from lightmamba.rtl.layouts import shape
from lightmamba.rtl.slices import Slices, wide
from lightmamba.rtl.streams import Fork, StreamQueue, join

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
        self.config = config
        self.parts: dict[str, Any] = {}
        for unit in sorted(MACHINE.units, key=lambda u: u.name == "lanes"):
            self.parts[unit.name] = self._made(unit, config)
        for stream in MACHINE.between():
            if stream.queue:
                item = shape(stream.payload)
                item = item if stream.shared else wide(item, config.tokens)
                self.parts[f"{stream.name}_queue"] = StreamQueue(item, stream.depth(config))
        for name, part in self.parts.items():
            setattr(self, name, part)
        self.busy = Signal()
        self.working = Signal(len(COMMANDS))
        self.for_head = Signal()  # what quant_in works on is the head's input
        self.used = Signal(config.tokens)  # vectors of the pass that hold a token

    def _made(self, unit: Unit, config: ArchConfig) -> Any:
        """A unit that takes all tokens of a pass, or a copy of it for each of them."""
        if unit.whole:
            return self._one(unit, config)
        ends = [end for s in MACHINE.streams if s.shared for end in (s.source, s.target)]
        shared = [end.split(".")[1] for end in ends if end.split(".")[0] == unit.name]
        return Slices(lambda: self._one(unit, config), config.tokens, shared)

    def _one(self, unit: Unit, config: ArchConfig) -> Any:
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
        for o, i in self._streams(m):
            join(m, o, i)
        m.d.comb += self.bc.address.eq(self.ssm.address)
        for name in ("B", "C"):
            for o, i in zip(getattr(self.bc, name), getattr(self.ssm, name), strict=True):
                m.d.comb += Value.cast(i).eq(Value.cast(o))
        with m.If(self.quant_in.command.valid & self.quant_in.command.ready):
            m.d.sync += self.for_head.eq(self.quant_in.command.payload.head)
        working = Cat(self.parts[u].busy | self.parts[u].command.valid for u in COMMANDS)
        m.d.sync += [self.working.eq(working), self.busy.eq(working.any())]
        return m

    def _streams(self, m: Module) -> Iterator[tuple[Any, Any]]:
        """Output and input of every connection, in the order of the graph."""
        for stream in MACHINE.between():
            source, target = self.port(stream.source), self.port(stream.target)
            if stream.target == "bc.i" and self.config.undecided:  # B is recorded, too
                m.submodules.fork_b = fork = Fork(source.payload.shape(), 2)
                yield source, fork.i
                yield fork.o1, self.ssm.i_b
                source = fork.o0
            if stream.queue:
                queue = self.parts[f"{stream.name}_queue"]
                yield source, queue.i
                source = queue.o
            yield source, target

    def count(self, counters: Counters) -> None:
        """Connect everything that the units count; vectors without a token lose nothing."""
        events, losses = dict[str, list[Value]](), dict[str, list[list[Value]]]()
        for counter in MACHINE.counters:
            ports = [self.port(event) for event in counter.events]
            if counter.kind == "loss":
                losses[counter.name] = [list(port) for port in ports]
            else:
                events[counter.name] = ports
        working = Cat(events[c.name] for c in MACHINE.counters if c.kind == "cycle")
        lost = list(self.quant_in.lost_scale)
        events["idle"] = [~working.any()]
        events["ssm_busy"] = [self.ssm.busy & ~self.ssm.waiting]
        losses["in_proj.scale"] = [[Mux(self.for_head, 0, one) for one in lost]]
        losses["head.scale"] = [[Mux(self.for_head, one, 0) for one in lost]]
        for name, added in events.items():
            for event in added:
                counters.count(name, event)
        for name, lists in losses.items():
            for n, one in ((n, one) for vectors in lists for n, one in enumerate(vectors)):
                counters.count(of_vector(name, n), Mux(self.used[n], one, 0))

    def seen(self) -> Iterator[tuple[str, Value, list[Value]]]:
        """Every probe: its name, when it has something to show, and its fields."""
        for unit in MACHINE.units:
            for shown in unit.shows:
                port = self.port(f"{unit.name}.{shown.port}")
                is_stream = hasattr(port, "ready")
                views = port.payload if is_stream else port
                views = [views] if shown.shared else list(views)
                valid = port.valid & port.ready if is_stream else views[0].valid
                yield shown.name, valid, [_field(v, e.name) for e in shown.elements for v in views]


def _field(view: Any, name: str) -> Any:
    """A field of a record, or the value itself where it is a number."""
    return getattr(view, name) if getattr(view.shape(), "members", {}) else view
