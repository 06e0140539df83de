"""The units of the datapath, made and wired as the graph of the machine says."""

from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.stream import Signature

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.hardware import Stream, Unit, cycles
from lightmamba.hardware.machine.counters import of_vector
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl.counters import Counters
from lightmamba.hardware.rtl.layouts import instructed, payload
from lightmamba.hardware.rtl.select import Select
from lightmamba.hardware.rtl.slices import Slices, wide
from lightmamba.hardware.rtl.streams import Fork, StreamQueue, join

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
    commands : {unit: stream}
        Where the commands of each unit come in.
    working : Signal
        Which of them, in the order of the table of commands.

    Raises
    ------
    ValueError
        If a unit says no latency, or another one than the graph does.
    """

    # Those that something else than a stream connects to.
    head: Any
    lanes: Any
    quant_in: Any

    def __init__(self, config: ArchConfig) -> None:
        self.config, self.graph = config, machine(config.kinds)
        self.parts: dict[str, Any] = {}
        for unit in sorted(self.graph.units, key=lambda u: bool(u.reads)):
            self.parts[unit.name] = self._made(unit, config)
        for stream in self.graph.between(config):
            if stream.queue:
                item = payload(stream.payload, config)
                item = item if stream.shared else wide(item, config.tokens)
                self.parts[f"{stream.name}_queue"] = StreamQueue(item, stream.depth(config))
        for name, part in self.parts.items():
            setattr(self, name, part)
        self.commands = {name: self._command(name) for name in self.graph.commands}
        self.busy = Signal()
        self.working = Signal(len(self.graph.commands))
        self.for_head = Signal()  # what quant_in works on is the head's input
        self.used = Signal(config.tokens)  # vectors of the pass that hold a token
        self._check_latencies()

    def _made(self, unit: Unit, config: ArchConfig) -> Any:
        """A unit that takes all tokens of a pass, or a copy of it for each of them."""
        if unit.whole:
            return self._one(unit, config)
        ends = [end for s in self.graph.streams if s.shared for end in (s.source, s.target)]
        shared = [end.split(".")[1] for end in ends if end.split(".")[0] == unit.name]
        return Slices(lambda: self._one(unit, config), config.tokens, shared)

    def _one(self, unit: Unit, config: ArchConfig) -> Any:
        """A unit: made of the build parameters, or of nothing, but for a few."""
        file, name = unit.rtl.split(":")
        kind = getattr(import_module(f"lightmamba.hardware.rtl.{file}"), name)
        if name == "Residual":
            return kind(config.in_channels, self._at_once(unit))
        if name == "Quantizer":
            return kind(config.projection.act, config.head.act, self._at_once(unit))
        if unit.reads:
            return kind(config, *(self.parts[read] for read in unit.reads))
        return kind(config=config) if "config" in signature(kind).parameters else kind()

    def _at_once(self, unit: Unit) -> int:
        """Items that a unit gives in a cycle."""
        given = next(s for s in self.graph.streams if s.source == f"{unit.name}.o")
        return cycles(given.at_once, self.config)

    def _check_latencies(self) -> None:
        """Compare the graph, from which estimates come, with the units that were made.

        A stream ``unit.o_NAME`` of a latency of its own is the unit's attribute ``NAME_latency``.
        """
        said = {unit.name: (unit.latency, "latency") for unit in self.graph.units if unit.latency}
        said |= {
            stream.source: (stream.latency, f"{stream.source.split('.o_')[-1]}_latency")
            for stream in self.graph.between(self.config)
            if stream.latency is not None
        }
        for name, (value, attribute) in said.items():
            part = self.parts[name.split(".")[0]]
            part = getattr(part, "copies", [part])[0]
            found, wanted = getattr(part, attribute, None), cycles(value, self.config)
            if found is None and attribute != "latency":
                continue  # a stream whose latency only the graph says
            if found != wanted:
                raise ValueError(
                    f"{name} has a latency of {found} cycles, but {wanted} in the graph of the "
                    f"machine; set it to {found} there"
                )

    def _command(self, unit: str) -> Any:
        """Where a unit's commands come in: its own port, unless they choose sources too."""
        own, layout = self.parts[unit].command, instructed(unit, self.config)
        if layout == own.payload.shape():
            return own
        return Signature(layout).flip().create(path=(f"command_{unit}",))

    def port(self, end: str) -> Any:
        """A port, ``unit.port``, as the graph names it."""
        unit, port = end.split(".")
        return getattr(self.parts[unit], port)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in dict.fromkeys([*self.graph.commands, *self.parts]):
            m.submodules[name] = self.parts[name]
        for name, command in self.commands.items():
            own = self.parts[name].command
            if command is not own:
                m.d.comb += [
                    own.valid.eq(command.valid),
                    command.ready.eq(own.ready),
                    Value.cast(own.payload).eq(Value.cast(command.payload)),
                ]
        for o, i in self._streams(m):
            join(m, o, i)
        for source, target in self.graph.wires:
            _connect(m, self.port(source), self.port(target))
        quantized = self.commands["quant_in"]
        with m.If(quantized.valid & quantized.ready):
            m.d.sync += self.for_head.eq(_for_head(quantized.payload))
        working = Cat(self.parts[u].busy | self.parts[u].command.valid for u in self.graph.commands)
        m.d.sync += [self.working.eq(working), self.busy.eq(working.any())]
        return m

    def _streams(self, m: Module) -> Iterator[tuple[Any, Any]]:
        """Output and input of every connection, in the order of the graph."""
        streams = self.graph.between(self.config)
        ends = [stream.source for stream in streams]
        outputs: dict[str, list[Any]] = {}
        for stream in streams:
            source, target = self.port(stream.source), self._target(m, stream)
            if (count := ends.count(stream.source)) > 1:
                if stream.source not in outputs:
                    fork = Fork(source.payload.shape(), count)
                    m.submodules[f"fork_{stream.name}"] = fork
                    yield source, fork.i
                    outputs[stream.source] = [getattr(fork, f"o{n}") for n in range(count)]
                source = outputs[stream.source].pop(0)
            if stream.queue:
                queue = self.parts[f"{stream.name}_queue"]
                yield source, queue.i
                source = queue.o
            yield source, target

    def _target(self, m: Module, stream: Stream) -> Any:
        """Input that a stream leads to; a selector's, where several lead there."""
        several = self.graph.choices(stream.target)
        if len(several) == 1:
            return self.port(stream.target)
        name = f"select_{stream.target.replace('.', '_')}"
        if name not in self.parts:
            unit, port = stream.target.split(".")
            target, command = self.port(stream.target), self.commands[unit]
            chosen = Select(target.payload.shape(), len(several))
            m.submodules[name] = self.parts[name] = chosen
            with m.If(command.valid & command.ready):
                m.d.sync += chosen.choice.eq(command.payload[f"{port}_from"])
            join(m, chosen.o, target)
        return getattr(self.parts[name], f"i{several.index(stream)}")

    def count(self, counters: Counters) -> None:
        """Connect everything that the units count; vectors without a token lose nothing."""
        events, losses = dict[str, list[Value]](), dict[str, list[list[Value]]]()
        for counter in self.graph.counters:
            ports = [self.port(event) for event in counter.events]
            if counter.kind == "loss":
                losses[counter.name] = [list(port) for port in ports]
            else:
                events[counter.name] = ports
        working = Cat(events[c.name] for c in self.graph.counters if c.kind == "cycle")
        lost = list(self.quant_in.lost_scale)
        events["idle"] = [~working.any()]
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
        for unit in self.graph.units:
            for shown in unit.shows:
                port = self.port(f"{unit.name}.{shown.port}")
                is_stream = hasattr(port, "ready")
                views = port.payload if is_stream else port
                views = [views] if shown.shared else list(views)
                valid = port.valid & port.ready if is_stream else views[0].valid
                yield shown.name, valid, [_field(v, e.name) for e in shown.elements for v in views]


def _connect(m: Module, source: Any, target: Any) -> None:
    """Connect an output to an input, or arrays of both."""
    if isinstance(source, Value) or hasattr(source, "shape"):
        m.d.comb += Value.cast(target).eq(Value.cast(source))
        return
    for one, other in zip(source, target, strict=True):
        _connect(m, one, other)


def _for_head(command: Any) -> Value:
    """Whether a command is for the LM head; where others are as wide, a field says so."""
    wide = "projection" in command.shape().members
    return command.head & ~command.projection if wide else command.head


def _field(view: Any, name: str) -> Any:
    """A field of a record, or of several next to each other, or what has no such field itself."""
    if isinstance(view.shape(), data.ArrayLayout) and hasattr(view.shape().elem_shape, "members"):
        return Cat(getattr(each, name) for each in view)
    return getattr(view, name) if getattr(view.shape(), "members", {}) else view
